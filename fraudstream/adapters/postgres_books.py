"""
What the database holds at the end of a proof: every id of every table, and every vector.
"""

from datetime import datetime

import asyncpg
import msgspec

from fraudstream.adapters.postgres_connection import connect
from fraudstream.adapters.postgres_errors import part_from, translated

_ROWS = """
SELECT transaction_id, outcome, cardinality(degraded) > 0 AS degraded, feature_set, vector, received_at, decided_at
FROM decisions
"""


class Row(msgspec.Struct, frozen=True, gc=False):
    """
    One row of the view over both tables.
    """

    transaction_id: str
    outcome: str
    degraded: bool
    feature_set: str
    vector: bytes
    received_at: datetime
    decided_at: datetime


class Recorded(msgspec.Struct, frozen=True):
    """
    Ids of the ledger with the outcome there, rows of the two tables, and ids of labels.
    """

    ledger: dict[str, str]
    rows: list[Row]
    labels: set[str]


async def recorded(url: str) -> Recorded:
    """
    Read everything that is recorded, over a connection of its own.

    Raises:
        DecisionStoreUnavailable: The database does not answer.
    """
    connection: asyncpg.Connection = await connect(url, statement_timeout_s=None)
    try:
        with translated():
            ledger = await connection.fetch("SELECT transaction_id, outcome FROM transaction_ledger")
            rows = await connection.fetch(_ROWS)
            labels = await connection.fetch("SELECT label_id FROM labels")
    finally:
        await part_from(connection)
    return Recorded(
        ledger={row["transaction_id"]: row["outcome"] for row in ledger},
        rows=[Row(*row) for row in rows],
        labels={row["label_id"] for row in labels},
    )
