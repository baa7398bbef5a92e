"""
What the database holds after a run: totals, latency, outcomes, scores.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import numpy as np
from numpy.typing import NDArray

_TOTALS = """
SELECT count(*) AS recorded,
       count(*) FILTER (WHERE outcome <> 'approve') AS flagged,
       count(*) FILTER (WHERE cardinality(degraded) > 0) AS degraded,
       extract(epoch FROM max(decided_at) - min(received_at))::float8 AS seconds,
       percentile_cont($1::float8[]) WITHIN GROUP (ORDER BY extract(epoch FROM decided_at - received_at)::float8 * 1000)
           AS latency_ms
FROM decisions
WHERE received_at >= $2
"""
_OUTCOMES = "SELECT outcome, count(*) AS n FROM decisions GROUP BY outcome"
#: What ``stored`` gives the latency of, as shares.
PERCENTILES = (0.5, 0.95, 0.99, 0.999)
_PROBABILITIES = "SELECT transaction_id, model, probability, vector FROM decisions"
_PASSED = """
SELECT transaction_id, model, probability, vector, degraded, outcome,
       extract(epoch FROM received_at)::float8 * 1000 AS received_ms,
       extract(epoch FROM decided_at)::float8 * 1000 AS decided_ms
FROM decisions WHERE received_at >= $1 ORDER BY received_at
"""
_DECIDED = """
SELECT extract(epoch FROM received_at)::float8 * 1000, extract(epoch FROM decided_at)::float8 * 1000, cardinality(degraded) > 0
FROM decisions WHERE received_at >= to_timestamp($1) ORDER BY received_at
"""
_COUNTED = """
SELECT (SELECT count(*) FROM transaction_ledger) AS ids, count(*) AS rows, count(DISTINCT transaction_id) AS transactions,
       count(*) FILTER (WHERE cardinality(degraded) > 0) AS degraded, count(*) FILTER (WHERE outcome <> 'approve') AS flagged
FROM decisions
"""
_SCORES = "SELECT transaction_id, outcome <> 'approve' AS flagged, score FROM decisions"


async def stored(url: str, since: datetime = datetime(1970, 1, 1, tzinfo=UTC)) -> dict[str, Any]:
    """
    Return what the database holds: outcomes, (id, flagged, score) per row, and the totals of what was received ``since``.

    ``latency_ms`` are the percentiles of ``PERCENTILES``, None where nothing was received.
    """
    connection = await asyncpg.connect(url)
    try:
        totals = await connection.fetchrow(_TOTALS, list(PERCENTILES), since)
        outcomes = await connection.fetch(_OUTCOMES)
        scores = await connection.fetch(_SCORES)
    finally:
        await connection.close()
    return {
        **dict(totals),
        "outcomes": {row["outcome"]: row["n"] for row in outcomes},
        "scores": [tuple(row) for row in scores],
    }


async def recorded_scores(url: str) -> dict[str, tuple[str, float | None, bytes]]:
    """
    Return model, probability and vector of every decision on record, by transaction.
    """
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_PROBABILITIES)
    finally:
        await connection.close()
    return {row["transaction_id"]: (row["model"], row["probability"], bytes(row["vector"])) for row in rows}


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """
    One decision as a measurement looks at it; times are milliseconds since 1970 by the clock of Redis.
    """

    transaction_id: str
    model: str
    probability: float | None
    vector: bytes
    degraded: Sequence[str]
    outcome: str
    received_ms: float
    decided_ms: float


async def passed(url: str, since: datetime) -> list[Passed]:
    """
    Return every decision on what was received since, in that order.
    """
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_PASSED, since)
    finally:
        await connection.close()
    return [Passed(**{**row, "vector": bytes(row["vector"])}) for row in rows]


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """
    When each decision's entry came and when it was decided, shape (decisions,), in the order of arrival.

    Times are milliseconds since 1970 by the clock of Redis; ``last_ms`` is the last of them, 0 where there are none.
    """

    received_ms: NDArray[np.float64]
    decided_ms: NDArray[np.float64]
    degraded: int

    @property
    def last_ms(self) -> float:
        """
        When the last one was decided.
        """
        return float(self.decided_ms.max(initial=0.0))


async def decided_since(url: str, since_s: float) -> Decided:
    """
    Return the times of everything that was received since then (seconds since 1970).
    """
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(_DECIDED, since_s)
    finally:
        await connection.close()
    table = np.array([tuple(row) for row in rows], np.float64).reshape(len(rows), 3)
    return Decided(received_ms=table[:, 0], decided_ms=table[:, 1], degraded=int(table[:, 2].sum()))


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything on record: ``ids`` in the ledger, ``rows`` in the tables, the different ``transactions`` among them.
    """

    ids: int
    rows: int
    transactions: int
    degraded: int
    flagged: int


async def counted(url: str) -> Counted:
    """
    Return how much the database holds; nothing is transferred but the counts.
    """
    connection = await asyncpg.connect(url)
    try:
        return Counted(**dict(await connection.fetchrow(_COUNTED)))
    finally:
        await connection.close()


async def rows_of(url: str, table: str) -> int:
    """
    Return how many rows a table holds, none where there is no such table yet.
    """
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("SELECT to_regclass($1)", table) is None:
            return 0
        return int(await connection.fetchval(f'SELECT count(*) FROM "{table}"'))  # noqa: S608 a name of our own
    finally:
        await connection.close()
