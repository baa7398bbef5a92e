"""
What became of decisions once their truth was known: how many flags were right, and how many frauds were flagged, by model.
"""

from collections.abc import Mapping, Sequence

import msgspec

from fraudstream.adapters.postgres_connection import OneConnection
from fraudstream.adapters.postgres_errors import translated

#: The ledger says when to look for a decision: without that every chunk of the last month would be searched for every label.
_MATURED = """
WITH told AS (
    SELECT DISTINCT ON (transaction_id) transaction_id, label FROM labels
    WHERE labelled_at >= now() - make_interval(secs => $1)
    ORDER BY transaction_id, labelled_at DESC, label_id DESC
)
SELECT d.model,
       count(*) FILTER (WHERE told.label = 'fraud') AS frauds,
       count(*) FILTER (WHERE told.label = 'legitimate') AS legitimate,
       count(*) FILTER (WHERE told.label = 'fraud' AND d.outcome <> 'approve') AS decision_right,
       count(*) FILTER (WHERE told.label = 'legitimate' AND d.outcome <> 'approve') AS decision_wrong,
       count(*) FILTER (WHERE told.label = 'fraud' AND d.probability >= $2) AS model_right,
       count(*) FILTER (WHERE told.label = 'legitimate' AND d.probability >= $2) AS model_wrong
FROM told
JOIN transaction_ledger l USING (transaction_id)
JOIN decisions d ON d.transaction_id = l.transaction_id AND d.decided_at = l.decided_at
WHERE told.label <> 'unsure' AND l.decided_at >= now() - make_interval(secs => $1) AND d.model <> ''
GROUP BY d.model
"""
_LABELS_OF = """
SELECT DISTINCT ON (transaction_id) transaction_id, label = 'fraud' AS fraud FROM labels
WHERE transaction_id = ANY($1) AND label <> 'unsure' ORDER BY transaction_id, labelled_at DESC, label_id DESC
"""
#: Transactions of one question.
_AT_ONCE = 10_000


class Matured(msgspec.Struct, frozen=True, kw_only=True):
    """
    Decisions of one model whose truth is known: ``frauds`` and ``legitimate``, and of them those that were flagged.

    ``decision_right`` and ``decision_wrong`` were flagged by the decision, rules included; ``model_right`` and ``model_wrong``
    have a probability of at least the mildest band.
    """

    model: str
    frauds: int
    legitimate: int
    decision_right: int
    decision_wrong: int
    model_right: int
    model_wrong: int


class MaturedDecisions(OneConnection):
    """
    Reads over one connection; nothing is changed. Every method raises ``DecisionStoreUnavailable`` when there is no answer.
    """

    async def matured(self, *, span_s: float, flagged_from: float) -> list[Matured]:
        """
        Count the decisions of the last while by model, where a label came in the same while; the youngest label counts.

        Args:
            span_s: How far back, in seconds.
            flagged_from: Probability from which on the model itself asks for more than approval.
        """
        with translated():
            rows = await self._connection.fetch(_MATURED, span_s, flagged_from)
        return [Matured(**dict(row)) for row in rows]

    async def frauds(self, transaction_ids: Sequence[str]) -> Mapping[str, bool]:
        """
        Return by transaction whether it was fraud, where that is known.
        """
        found: dict[str, bool] = {}
        for at in range(0, len(transaction_ids), _AT_ONCE):
            with translated():
                rows = await self._connection.fetch(_LABELS_OF, transaction_ids[at : at + _AT_ONCE])
            found |= {row["transaction_id"]: row["fraud"] for row in rows}
        return found
