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
from fraudstream.features.compiled import LIBRARY, CompiledBatch, Library
from fraudstream.features.compiled_plans import ByArrays, CompiledPlan, Expressions, LogColumns, RingColumns
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
    features: FeatureSet,
    transactions: Sequence[Transaction],
    records: Records,
    standings: Sequence[Standing],
    states: States,
    *,
    library: Library | None = LIBRARY,
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
        library: The compiled kernel; None works everything out by arrays. The values are the same to the bit.

    Returns:
        Shape (batch, features), float32, columns in the order of ``features.names``. NaN means unknown.
    """
    if not transactions:
        return np.empty((0, len(features.names)), np.float32)
    batch = _Batch(features, transactions, records, standings, states)
    if library is None:
        batch.by_arrays()
    else:
        batch.compiled(library, features.compiled_plan)
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
        self._asks: dict[str, Ask] = {}
        self.matrix = np.empty((len(features.names), len(transactions)), np.float32)
        self.matrix[:] = features.defaults[:, None]
        self.rows = RowColumns(transactions, records, dict(zip(features.names, self.matrix, strict=True)))

    def by_arrays(self) -> None:
        """
        Fill all columns.
        """
        features, asks = self._features, dict[str, Ask]()
        for kind, columns in features.aggregates.items():
            # One kind after the other: the past of a batch is some megabytes, and the next one fits where it lay.
            ask = self._past(kind)
            for column, one in columns:
                if column in features.alone:
                    self._fill(column, ask(column, one))
            if not features.alone.issuperset(column for column, _ in columns):
                asks[kind] = ask  # somebody else will ask for it
        self._columns([column for column in features.order if column not in features.alone], asks)

    def compiled(self, library: Library, plan: CompiledPlan) -> None:
        """
        Fill all columns, those that the compiled kernel does not know by arrays.
        """
        compiled = CompiledBatch(
            library, features=self._features, plan=plan, rows=self.rows, standings=self._standings, matrix=self.matrix
        )
        for step in plan.steps:
            match step:
                case LogColumns(kind):  # its speeds come later, with those of the other kinds
                    compiled.logs(step, self._states.logs[kind])
                case RingColumns(kind):
                    compiled.rings(step, self._states.rings[kind])
                case Expressions():
                    compiled.speeds()
                    compiled.expressions(step)
                case ByArrays(columns):
                    compiled.speeds()
                    self._columns(columns, {})
        compiled.speeds()

    def _columns(self, columns: Sequence[int], asks: dict[str, Ask]) -> None:
        """
        Compute columns one after the other, over pasts that are there or laid out now.
        """
        for column in columns:
            body = self._features.features[column].body
            if isinstance(body, Aggregate):
                if body.entity not in asks:
                    asks[body.entity] = self._past(body.entity)
                self._fill(column, asks[body.entity](column, body))
            else:
                found = number(body, self.rows, self.matrix.shape[1])
                self._fill(column, (found, ~np.isnan(found)))

    def _fill(self, column: int, found: Answer) -> None:
        """
        Take the values of a feature; where it has nothing to say its default stays.
        """
        values, known = found
        np.copyto(self.matrix[column], values, casting="same_kind", where=known)

    def _past(self, kind: str) -> Ask:
        if kind in self._states.logs:
            return partial(answer, LogPasts(self._features, kind, self.rows, self._standings, self._states.logs[kind]))
        return RingPasts(self._features, kind, self._records, self._standings, self._states.rings[kind]).answer
