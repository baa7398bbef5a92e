"""
Overview: is anything on fire? The objectives come first.
"""

from fraudstream.dashboards import limits
from fraudstream.dashboards.panels import (
    TARGETS,
    Board,
    Panel,
    Step,
    by,
    largest,
    mean,
    of,
    quantile,
    quantiles,
    quiet,
    rate,
    share,
    stat,
    table,
)

RAW = 'stream=~"transactions:raw.*"'
BY_FRAUD_CHECK = 'group="fraud-check"'
_FAILED = rate("events_processed_total", f'{RAW},outcome=~"failed|dead_lettered"')
_FINISHED = rate("events_processed_total", f"{RAW},{BY_FRAUD_CHECK}")
DECIDED = f"sum({rate('decisions_total')})"
_FIRING = 'sort_desc(count by (alertname, severity, component) (ALERTS{alertstate="firing",alertname=~"Fraudstream.+"}))'
_BURN = "FraudstreamErrorBudgetBurn"

_DEGRADED = f"sum({rate('decisions_degraded_total')})"

NOW = [
    stat("Decisions", "Decisions made per second by all workers.", "eps", DECIDED, base="text"),
    stat(
        "Latency p99", "Time from XADD to decision. The objective is 250 ms.", "s", quantile(0.99, "decision_latency_seconds"),
        steps=[Step(0.15, "yellow", why="on the way to the objective"), Step(limits.LATENCY_S, "red", _BURN)],
    ),
    stat(
        "Oldest unread", "Age of the oldest transaction that a deciding group has not read.", "s",
        f"max({of('group_oldest_unread_age_seconds', RAW)})",
        steps=[Step(5, "yellow", why="on the way to the alert"), Step(limits.UNREAD_S, "red", "FraudstreamBacklogHigh")],
    ),
    stat(
        "Failed", "Share of transactions that failed or were dead-lettered in either group.", "percentunit",
        share(f"sum({_FAILED})", f"sum({_FINISHED})"),
        steps=[Step(limits.FAILED, "red", _BURN)],
    ),
    stat(
        "Degraded", "Share of decisions that were made without the opinion of a group.", "percentunit",
        f"clamp_max({share(_DEGRADED, DECIDED)}, 1)",
        steps=[Step(limits.DEGRADED, "red", "FraudstreamModelFallback")],
    ),
    stat(
        "Workers", "Processes with a loop that answer scrapes.", "short",
        f"count({of('worker_heartbeat_timestamp_seconds')}) or vector(0)", base="red",
        steps=[Step(1, "green", "FraudstreamDown")],
    ),
]  # fmt: skip

OVERVIEW = Board(
    "overview.json",
    "fraudstream-overview",
    "Fraudstream / Overview",
    "Start here. Is the pipeline deciding payments fast enough, and is anything on fire?",
    [
        ("Service level objectives, 30 days", [
            stat(
                "Error budget left", "Share of the budget of 30 days that is not spent, per objective.", "percentunit",
                "slo:error_budget_remaining:ratio", width=8, height=6, base="red",
                steps=[Step(0, "orange", why="spent"), Step(0.5, "green", why="half is left")],
            )._replace(queries=[("slo:error_budget_remaining:ratio", "{{slo}}")]),
            Panel(
                "Burn rate, 1 h", "1 spends the budget in exactly 30 days; 14.4 pages at once, 6 after 15 minutes.", "none",
                [("slo:sli_error:ratio_rate1h / on (slo) (1 - slo:objective:ratio)", "{{slo}}")], width=16, height=6,
                steps=[Step(limits.PAGE_SLOW, "orange", _BURN), Step(limits.PAGE_FAST, "red", _BURN)],
            ),
        ]),
        ("Now", NOW),
        ("Firing alerts", [
            table("Firing alerts", "Alerts firing now. Each has a runbook of its name in docs/runbooks.", [(_FIRING, "")],
                  width=24, height=8),
        ]),
        ("Rate, errors, duration", [
            Panel("In and out", "Entries read by fraud-check against decisions. A lasting gap is a join that waits, or duplicates.",
                  "eps", [(f"sum({rate('read_batch_events_sum', BY_FRAUD_CHECK)})", "read"), (DECIDED, "decided")]),
            Panel("Entries not scored", "Finished entries that were not scored, by group and outcome.", "eps",
                  quiet([(by("group, outcome", rate("events_processed_total", 'outcome!="scored"')), "{{group}} {{outcome}}")])),
            Panel("Decision latency", "XADD to decision. Red: beyond the objective. Dots: slow transactions, by id.", "s",
                  quantiles("decision_latency_seconds"), steps=[Step(limits.LATENCY_S, "red", _BURN)], exemplars=True),
        ]),
        ("Backlog", [
            Panel("Entries not read", "Lag of each group, counted where Redis cannot tell it.", "short",
                  [(largest("group", "group_lag_entries"), "{{group}}")]),
            Panel("Oldest entry in work", "Age of the oldest entry read and not acknowledged. Red: nothing finishes it.", "s",
                  [(largest("group", "group_oldest_pending_age_seconds"), "{{group}}")],
                  steps=[Step(limits.PENDING_S, "red", "FraudstreamPendingTooOld")]),
            Panel("Workers with a heartbeat", "Consumers of each group that gave a sign of life. At 0 nobody serves the group.",
                  "short", [(largest("group", "group_consumers", 'state="active"'), "{{group}}")]),
        ]),
        ("What came of it", [
            Panel("Outcomes", "Decisions per second, by outcome.", "eps", [(by("outcome", rate("decisions_total")), "{{outcome}}")]),
            Panel("Degraded, by reason", "Decisions made with a fallback verdict.", "eps",
                  quiet([(by("reason", rate("decisions_degraded_total")), "{{reason}}")])),
            Panel("Where the time goes", "Mean seconds per batch in each step.", "s",
                  [(mean("stage_duration_seconds", "stage"), "{{stage}}")]),
        ]),
        ("Records, alerts, dead letters", [
            Panel("Rows stored", "New rows per second, by table.", "rowsps", [(by("table", rate("sink_rows_total")), "{{table}}")]),
            Panel("Notifications", "Alerts that reached an end, by channel and outcome.", "eps",
                  quiet([(by("channel, outcome", rate("notifications_total")), "{{channel}} {{outcome}}")])),
            Panel("Dead letters, by reason", "Entries given up per second.", "eps",
                  quiet([(by("reason", rate("dlq_events_total")), "{{reason}}")])),
        ]),
    ],
    TARGETS,
)  # fmt: skip
