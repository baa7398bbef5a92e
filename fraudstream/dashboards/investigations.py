# ruff: noqa: S608 -- the parts put together are constants of this module
"""
Investigations, for fraud analysts: what was stopped, where and why. It reads the database, not Prometheus.

Only what role ``fraudstream_dashboards`` may read is asked for: aggregates, and no column that says whose a payment is.
"""

from fraudstream.dashboards.panels import Board, Panel, table

_HOURS = "$__timeFilter(bucket)"
_DECIDED = "$__timeFilter(decided_at)"


def _sql(title: str, description: str, unit: str, query: str, **more: object) -> Panel:
    return Panel(title, description, unit, [(query, "")])._replace(**more)  # type: ignore[arg-type]  # fields of Panel


INVESTIGATIONS = Board(
    "investigations.json",
    "fraudstream-investigations",
    "Fraudstream / Investigations",
    "What was stopped, where, by which rule, and was it right?",
    [
        ("In the selected range", [
            _sql("Decisions made", "All decisions.", "short", f"SELECT sum(decisions) AS decisions FROM decisions_by_hour WHERE {_HOURS}",
                 kind="stat", width=6, height=4, base="text"),
            _sql("Flagged", "Share that was challenged, reviewed or blocked.", "percentunit",
                 f"SELECT sum(flagged)::float / nullif(sum(decisions), 0) AS flagged FROM fraud_rate_by_hour WHERE {_HOURS}",
                 kind="stat", width=6, height=4, base="text"),
            _sql("Blocked", "Decisions that blocked.", "short",
                 f"SELECT sum(blocked) AS blocked FROM fraud_rate_by_hour WHERE {_HOURS}", kind="stat", width=6, height=4, base="text"),
            _sql("Flagged, later legitimate", "Share of labelled flagged payments that turned out to be good: what it costs customers.",
                 "percentunit",
                 "SELECT (sum(transactions) FILTER (WHERE label = 'legitimate'))::float / nullif(sum(transactions), 0) AS legitimate "
                 f"FROM labelled_by_day WHERE outcome <> 'approve' AND {_HOURS}", kind="stat", width=6, height=4, base="text"),
        ]),
        ("Over time", [
            _sql("Decisions by outcome", "Per hour.", "short",
                 f"SELECT bucket AS time, outcome AS metric, sum(decisions)::float AS decisions FROM decisions_by_hour WHERE {_HOURS} "
                 "AND outcome <> 'approve' GROUP BY 1, 2 ORDER BY 1, 2"),
            _sql("Value stopped", "Blocked amount per hour, in minor units of each currency.", "short",
                 "SELECT bucket AS time, currency AS metric, sum(blocked_amount_minor)::float AS minor_units FROM fraud_rate_by_hour "
                 f"WHERE {_HOURS} GROUP BY 1, 2 ORDER BY 1, 2"),
            _sql("Latency p99, hours", "From the entry to the decision, as recorded.", "s",
                 f"SELECT bucket AS time, 'p99' AS metric, p99_s FROM latency_by_hour WHERE {_HOURS} ORDER BY 1"),
        ]),
        ("Why", [
            table("Rules", "Hits by rule and action, shadow rules too, with the value that they touched.",
                  [(("SELECT rule_id, action, shadow, sum(hits) AS hits, sum(amount_minor) AS amount_minor FROM rule_hits_by_hour "
                    f"WHERE {_HOURS} GROUP BY 1, 2, 3 ORDER BY hits DESC LIMIT 20"), "")], width=12),
            table("Where", "Merchants, countries and channels with most blocked decisions.",
                  [(("SELECT merchant, country, channel, count(*) AS blocked, sum(amount_minor) AS amount_minor FROM decisions "
                    f"WHERE outcome = 'block' AND {_DECIDED} GROUP BY 1, 2, 3 ORDER BY blocked DESC LIMIT 20"), "")], width=12),
            table("Latest blocks", "Look one up with fraudstream decisions show ID; explain it with decisions explain ID.",
                  [(("SELECT decided_at AS time, transaction_id, amount_minor, currency, merchant, country, channel, "
                    "round(score::numeric, 3) AS score, array_to_string(degraded, ' ') AS degraded FROM decisions "
                    f"WHERE outcome = 'block' AND {_DECIDED} ORDER BY decided_at DESC LIMIT 50"), "")], width=24, height=10),
        ]),
        ("Was it right", [
            table("Labels by outcome", "What became known of decisions, by the outcome they had.",
                  [(("SELECT outcome, label, sum(transactions) AS transactions FROM labelled_by_day "
                    f"WHERE {_HOURS} GROUP BY 1, 2 ORDER BY 1, 2"), "")], width=8),
            table("Scores", "Decisions by band of the score and outcome.",
                  [(("SELECT score_from, score_to, outcome, sum(decisions) AS decisions FROM scores_by_hour "
                    f"WHERE {_HOURS} GROUP BY 1, 2, 3 ORDER BY 1, 3"), "")], width=8),
            table("Alerts told", "What became of the alerts, by channel.",
                  [(("SELECT channel, outcome, count(*) AS alerts FROM alerts WHERE $__timeFilter(settled_at) "
                    "GROUP BY 1, 2 ORDER BY 1, 2"), "")], width=8),
        ]),
    ],
    source="postgres",
)  # fmt: skip
