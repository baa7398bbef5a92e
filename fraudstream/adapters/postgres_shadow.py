"""
What rules in shadow would have done, with what people have said of those payments since.
"""

from datetime import datetime

import asyncpg
import msgspec

from fraudstream.adapters.postgres_connection import connect
from fraudstream.adapters.postgres_errors import part_from, translated

#: Of several labels of a transaction the one labelled last counts; of the same moment, the higher id.
_SUMS = """
SELECT s.rule_id, count(*) AS hits, min(s.decided_at) AS first, max(s.decided_at) AS last,
    count(*) FILTER (WHERE d.outcome <> 'approve') AS flagged,
    count(*) FILTER (WHERE l.label = 'fraud') AS frauds,
    count(*) FILTER (WHERE l.label = 'legitimate') AS legitimate
FROM rule_shadow_hits s
LEFT JOIN transaction_ledger d USING (transaction_id)
LEFT JOIN (
    SELECT DISTINCT ON (transaction_id) transaction_id, label
    FROM labels ORDER BY transaction_id, labelled_at DESC, label_id DESC
) l USING (transaction_id)
WHERE $1::text IS NULL OR s.rule_id = $1
GROUP BY s.rule_id ORDER BY hits DESC, s.rule_id
"""
_NEWEST = """
SELECT s.transaction_id, s.decided_at, d.outcome, s.hit ->> 'explanation' AS explanation
FROM rule_shadow_hits s LEFT JOIN transaction_ledger d USING (transaction_id)
WHERE s.rule_id = $1 ORDER BY s.decided_at DESC, s.transaction_id LIMIT $2
"""


class ShadowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    The hits of one rule while it was in shadow: how many, when, how many of those payments were flagged anyway, and how many
    have turned out to be fraud, or honest.
    """

    rule_id: str
    hits: int
    first: datetime
    last: datetime
    flagged: int
    frauds: int
    legitimate: int


class ShadowHit(msgspec.Struct, frozen=True, kw_only=True):
    """
    One payment that a rule in shadow fired on; ``outcome`` is what was decided without it.
    """

    transaction_id: str
    decided_at: datetime
    outcome: str | None
    explanation: str | None


async def shadow_records(
    url: str, rule_id: str | None = None, *, newest: int = 0
) -> tuple[list[ShadowRecord], list[ShadowHit]]:
    """
    Return what each rule did in shadow, or one rule with its newest hits.

    Raises:
        InvalidSettings: The address is malformed.
        DecisionStoreUnavailable: The database does not answer.
    """
    connection: asyncpg.Connection = await connect(url)
    try:
        with translated():
            rows = await connection.fetch(_SUMS, rule_id)
            hits = await connection.fetch(_NEWEST, rule_id, newest) if rule_id is not None and newest else []
    finally:
        await part_from(connection)
    return [ShadowRecord(**row) for row in rows], [ShadowHit(**row) for row in hits]
