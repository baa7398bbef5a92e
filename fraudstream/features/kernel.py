"""
The one kernel: transactions and the states of their entities to the feature matrix, online, in replays and in training alike.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.features.aggregates import Answer, answer
from fraudstream.features.columns import RowColumns
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.evaluate import number
from fraudstream.features.logs import LogPasts
from fraudstream.features.records import Records, records
from fraudstream.features.rings import RingPasts
from fraudstream.features.states import Standing, States
from fraudstream.features.syntax import Aggregate

__all__ = ["Records", "Standing", "States", "compute", "records"]

#: Answers the aggregates over one kind of entity.
Ask = Callable[[int, Aggregate], Answer]


def compute(
    features: FeatureSet, transactions: Sequence[Transaction], records: Records, standings: Sequence[Standing], states: States
) -> NDArray[np.float32]:
    """
    Compute the features of a batch from states that were read after the batch's touch.

    In a log the past of a transaction is what stands before its own record (for a late one every record); of a transaction
    whose record is gone nothing is known. A ring gives its present, less the own transaction and what this call added after it.

    Args:
        features: What to compute.
        transactions: The batch, in the order of its touch.
        records: What ``records`` returned for it.
        standings: How each one stands after the touch.
        states: Per kind one state per row.

    Returns:
        Shape (batch, features), float32, columns in the order of ``features.names``. NaN means unknown.
    """
    if not transactions:
        return np.empty((0, len(features.names)), np.float32)
    batch = _Batch(features, transactions, records, standings, states)
    pasts = {kind: past for kind in features.aggregates if (past := batch.alone(kind)) is not None}
    for column in features.order:
        body = features.features[column].body
        if isinstance(body, Aggregate):
            if column not in features.alone:
                batch.fill(column, pasts[body.entity](column, body))
        else:
            found = number(body, batch.rows, len(transactions))
            batch.fill(column, (found, ~np.isnan(found)))
    return np.ascontiguousarray(batch.matrix.T)


class _Batch:
    """
    One batch on its way: ``matrix`` has a row per feature, ``rows`` sees those that are filled.
    """

    def __init__(
        self,
        features: FeatureSet,
        transactions: Sequence[Transaction],
        records: Records,
        standings: Sequence[Standing],
        states: States,
    ) -> None:
        self._features = features
        self._records = records
        self._standings = standings
        self._states = states
        self._values: dict[str, NDArray[np.float32]] = {}
        self.matrix = np.empty((len(features.names), len(transactions)), np.float32)
        self.matrix[:] = features.defaults[:, None]
        self.rows = RowColumns(transactions, records, self._values)

    def fill(self, column: int, found: Answer) -> None:
        """
        Take the values of a feature; where it has nothing to say its default stays.
        """
        values, known = found
        self._values[self._features.names[column]] = row = self.matrix[column]
        np.copyto(row, values, casting="same_kind", where=known)

    def alone(self, kind: str) -> Ask | None:
        """
        Compute what looks at one kind of entity and at no other feature, and return its past if somebody else will ask for it.

        One kind after the other: the past of a batch is some megabytes, and the next one fits where it lay, near the processor.
        """
        ask, features = self._past(kind), self._features
        asked = 0
        for column, one in features.aggregates[kind]:
            if column in features.alone:
                self.fill(column, ask(column, one))
                asked += 1
        return ask if asked < len(features.aggregates[kind]) else None

    def _past(self, kind: str) -> Ask:
        if kind in self._states.logs:
            return partial(answer, LogPasts(self._features, kind, self.rows, self._standings, self._states.logs[kind]))
        return RingPasts(self._features, kind, self._records, self._standings, self._states.rings[kind]).answer
