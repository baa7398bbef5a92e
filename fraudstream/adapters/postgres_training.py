"""
Recorded decisions with their labels, as training reads them: the lean columns only, in the order of event time.
"""

from collections.abc import AsyncIterator
from datetime import datetime

from fraudstream.adapters.postgres_connection import OneConnection
from fraudstream.adapters.postgres_errors import translated
from fraudstream.domain.decision import LabelValue, Outcome
from fraudstream.training.recorded import RecordedDecision

#: Rows of one trip to the server.
_PREFETCH = 5000
#: Of several labels of a transaction the one labelled last counts; of the same moment, the higher id.
_ROWS = """
SELECT d.occurred_at, coalesce(d.card_id, d.user_id) AS holder, d.vector, d.outcome, l.label
FROM decisions d
LEFT JOIN (
    SELECT DISTINCT ON (transaction_id) transaction_id, label
    FROM labels ORDER BY transaction_id, labelled_at DESC, label_id DESC
) l USING (transaction_id)
WHERE d.feature_set = $1 AND d.occurred_at >= $2 AND d.occurred_at < $3
ORDER BY d.occurred_at, d.transaction_id COLLATE "C"
"""
_SETS = "SELECT feature_set, count(*) AS decisions FROM decisions GROUP BY feature_set ORDER BY decisions DESC LIMIT 5"


class RecordedDecisions(OneConnection):
    """
    Reads for training, over one connection; nothing is changed.

    Every method raises ``DecisionStoreUnavailable`` when the database does not answer.
    """

    #: A long read has no time limit of ours.
    statement_timeout_s = None

    async def rows(self, feature_set: str, since: datetime, until: datetime) -> AsyncIterator[RecordedDecision]:
        """
        Yield the decisions of a span of event time (its end exclusive) that were made by these definitions, oldest first.
        """
        with translated():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                async for row in self._connection.cursor(_ROWS, feature_set, since, until, prefetch=_PREFETCH):
                    yield RecordedDecision(
                        occurred_ms=round(row["occurred_at"].timestamp() * 1000),
                        holder=row["holder"],
                        vector=row["vector"],
                        blocked=row["outcome"] == Outcome.BLOCK.value,
                        label=None if row["label"] is None else LabelValue(row["label"]),
                    )

    async def feature_sets(self) -> dict[str, int]:
        """
        Return how many decisions each set of definitions made, the five most frequent.
        """
        with translated():
            return {row["feature_set"]: row["decisions"] for row in await self._connection.fetch(_SETS)}
