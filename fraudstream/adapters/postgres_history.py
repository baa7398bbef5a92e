"""
The decisions on record in the order in which they came, and the labels in the order in which they were told.
"""

from collections.abc import AsyncIterator
from datetime import datetime

import msgspec

from fraudstream.adapters.postgres_connection import OneConnection
from fraudstream.adapters.postgres_errors import translated
from fraudstream.adapters.postgres_rows import COLUMNS, decision_of
from fraudstream.domain.decision import Decision, LabelValue

#: Rows of one trip to the server.
_PREFETCH = 2000
_DECISIONS = f'SELECT {", ".join(COLUMNS)} FROM decisions ORDER BY received_at, occurred_at, transaction_id COLLATE "C"'  # noqa: S608 names of our own
_LABELS = """SELECT transaction_id, label_id, label, labelled_at, recorded_at FROM labels
WHERE label <> 'unsure' ORDER BY labelled_at, label_id"""


class ToldLabel(msgspec.Struct, frozen=True):
    """
    A label, when it was given, and when it was stored: a moment later the entity states were told.
    """

    label_id: str
    fraud: bool
    labelled_at: datetime
    recorded_at: datetime


class DecisionHistory(OneConnection):
    """
    Reads of everything on record, over one connection; nothing is changed.

    Every method raises ``DecisionStoreUnavailable`` when the database does not answer.
    """

    #: A long read has no time limit of ours.
    statement_timeout_s = None

    async def decisions(self) -> AsyncIterator[Decision]:
        """
        Yield all decisions, the first received first, those of one millisecond by event time and id; shadow hits are left out.
        """
        with translated():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                async for row in self._connection.cursor(_DECISIONS, prefetch=_PREFETCH):
                    yield decision_of(row)

    async def labels(self) -> dict[str, list[ToldLabel]]:
        """
        Return the labels of each transaction, the oldest by its own time first; ``unsure`` ones are left out.
        """
        found: dict[str, list[ToldLabel]] = {}
        with translated():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                async for row in self._connection.cursor(_LABELS, prefetch=_PREFETCH):
                    label = ToldLabel(
                        row["label_id"], row["label"] == LabelValue.FRAUD.value, row["labelled_at"], row["recorded_at"]
                    )
                    found.setdefault(row["transaction_id"], []).append(label)
        return found
