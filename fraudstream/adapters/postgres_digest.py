"""
What a day amounts to, asked from the aggregates: sums by hour, rules, merchants, labels, alerts.
"""

from datetime import date, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import asyncpg
import msgspec

from fraudstream.adapters.postgres_connection import connect
from fraudstream.adapters.postgres_errors import part_from, translated

_T = TypeVar("_T")
_TOTALS = """
SELECT (bucket AT TIME ZONE $3)::date AS day, outcome, currency, sum(decisions)::bigint AS decisions,
       sum(degraded)::bigint AS degraded, sum(amount_minor)::bigint AS amount_minor
FROM decisions_by_hour WHERE bucket >= $1 AND bucket < $2
GROUP BY 1, 2, 3
"""
_RULES = """
SELECT (bucket AT TIME ZONE $3)::date AS day, rule_id, action, shadow, sum(hits)::bigint AS hits
FROM rule_hits_by_hour WHERE bucket >= $1 AND bucket < $2
GROUP BY 1, 2, 3, 4
"""
_MERCHANTS = """
SELECT (decided_at AT TIME ZONE $3)::date AS day, coalesce(merchant, 'not named') AS merchant, currency, count(*) AS flagged,
       count(*) FILTER (WHERE outcome = 'block') AS blocked, sum(amount_minor)::bigint AS amount_minor
FROM fraud_transactions WHERE decided_at >= $1 AND decided_at < $2
GROUP BY 1, 2, 3
"""
_LATENCY = """
SELECT day, decisions::bigint AS decisions, latency_quantile(0.5, decisions, longest, counts) AS p50_s,
       latency_quantile(0.99, decisions, longest, counts) AS p99_s
FROM (
    SELECT (bucket AT TIME ZONE $3)::date AS day, sum(decisions) AS decisions, max(latency_max_s) AS longest,
           ARRAY[sum(within_10ms), sum(within_25ms), sum(within_50ms), sum(within_100ms), sum(within_250ms), sum(within_500ms),
                 sum(within_1s), sum(within_5s)] AS counts
    FROM (SELECT * FROM approved_by_hour UNION ALL SELECT * FROM flagged_by_hour) AS both_tables
    WHERE bucket >= $1 AND bucket < $2
    GROUP BY 1
) AS days
"""
_LABELS = """
SELECT (told.labelled_at AT TIME ZONE $3)::date AS day, told.label, ledger.outcome, count(*) AS transactions
FROM (SELECT DISTINCT ON (transaction_id) transaction_id, label, labelled_at FROM labels
      WHERE labelled_at >= $1 AND labelled_at < $2 ORDER BY transaction_id, labelled_at DESC, label_id) AS told
JOIN transaction_ledger AS ledger USING (transaction_id)
GROUP BY 1, 2, 3
"""
_ALERTS = """
SELECT (settled_at AT TIME ZONE $3)::date AS day, channel, outcome, count(*) AS alerts
FROM alerts WHERE settled_at >= $1 AND settled_at < $2
GROUP BY 1, 2, 3
"""


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """
    Decisions of one day, outcome and currency.
    """

    day: date
    outcome: str
    currency: str
    decisions: int
    degraded: int
    amount_minor: int


class RuleTotal(msgspec.Struct, frozen=True, kw_only=True):
    """
    How often a rule fired on one day; in ``shadow`` it had no say.
    """

    day: date
    rule_id: str
    action: str
    shadow: bool
    hits: int


class MerchantTotal(msgspec.Struct, frozen=True, kw_only=True):
    """
    Flagged decisions of one merchant on one day.
    """

    day: date
    merchant: str
    currency: str
    flagged: int
    blocked: int
    amount_minor: int


class DayLatency(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long decisions of a day took, in seconds, estimated from a histogram.
    """

    day: date
    decisions: int
    p50_s: float | None
    p99_s: float | None


class LabelTotal(msgspec.Struct, frozen=True, kw_only=True):
    """
    Labels that were told on one day, by what had been decided.
    """

    day: date
    label: str
    outcome: str
    transactions: int


class AlertTotal(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of the alerts of one day on one channel.
    """

    day: date
    channel: str
    outcome: str
    alerts: int


class Days(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that a digest is made from: one day and the seven before it.
    """

    totals: tuple[Total, ...]
    rules: tuple[RuleTotal, ...]
    merchants: tuple[MerchantTotal, ...]
    latency: tuple[DayLatency, ...]
    labels: tuple[LabelTotal, ...]
    alerts: tuple[AlertTotal, ...]


async def days(url: str, day: date, zone: ZoneInfo) -> Days:
    """
    Return the figures of a day and of the seven days before it, days as they are in a time zone.

    Raises:
        DecisionStoreUnavailable: PostgreSQL did not answer, or the aggregates are missing.
    """
    since = datetime.combine(day - timedelta(days=7), datetime.min.time(), zone)
    until = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone)
    connection = await connect(url)
    try:
        with translated():
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                asked = (connection, since, until, zone.key)
                return Days(
                    totals=await _fetch(Total, _TOTALS, *asked),
                    rules=await _fetch(RuleTotal, _RULES, *asked),
                    merchants=await _fetch(MerchantTotal, _MERCHANTS, *asked),
                    latency=await _fetch(DayLatency, _LATENCY, *asked),
                    labels=await _fetch(LabelTotal, _LABELS, *asked),
                    alerts=await _fetch(AlertTotal, _ALERTS, *asked),
                )
    finally:
        await part_from(connection)


async def _fetch(kind: type[_T], sql: str, connection: asyncpg.Connection, *asked: object) -> tuple[_T, ...]:
    return tuple(kind(**dict(row)) for row in await connection.fetch(sql, *asked))
