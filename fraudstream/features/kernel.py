"""
The one kernel: transactions and the states of their entities to the feature matrix, online, in replays and in training alike.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.features.aggregates import answer
from fraudstream.features.columns import RowColumns
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.evaluate import number
from fraudstream.features.logs import LogPasts
from fraudstream.features.records import Records, records
from fraudstream.features.rings import RingPasts
from fraudstream.features.states import Standing, States
from fraudstream.features.syntax import Aggregate

__all__ = ["Records", "Standing", "States", "compute", "records"]


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
    batch = len(transactions)
    values: dict[str, NDArray[np.float32]] = {}
    if not batch:
        return np.empty((0, len(features.names)), np.float32)
    matrix = np.empty((len(features.names), batch), np.float32)
    rows = RowColumns(transactions, records, values)
    logs = {
        kind: LogPasts(features, kind, rows, standings, states.logs[kind])
        for kind in features.aggregates
        if kind in states.logs
    }
    rings = {
        kind: RingPasts(features, kind, records, standings, states.rings[kind])
        for kind in features.aggregates
        if kind not in logs
    }
    for column in features.order:
        feature = features.features[column]
        if isinstance(feature.body, Aggregate):
            kind = feature.body.entity
            found, known = answer(logs[kind], feature.body) if kind in logs else rings[kind].answer(feature.body)
        else:
            found = number(feature.body, rows, batch)
            known = ~np.isnan(found)
        values[feature.name] = row = matrix[column]
        row.fill(feature.default)
        np.copyto(row, found, casting="same_kind", where=known)
    return np.ascontiguousarray(matrix.T)
