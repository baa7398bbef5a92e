"""
History through the kernel: what training, backtests and the golden check read is what the workers compute.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import compute, records
from fraudstream.features.memory import MemoryEntityStore


def replay(
    features: FeatureSet, batches: Iterable[Sequence[Transaction]], *, store: MemoryEntityStore | None = None
) -> Iterator[NDArray[np.float32]]:
    """
    Yield the feature matrix of each batch, in order; a transaction that was seen before moves nothing.

    Args:
        features: What to compute.
        batches: The history, in the order in which it arrived.
        store: Where the states are kept; a new one by default. Whoever feeds outcomes or labels between batches holds it.
    """
    kept = MemoryEntityStore(features) if store is None else store
    for batch in batches:
        rows = records(features, batch)
        standings = kept.touch(rows)
        yield compute(features, batch, rows, standings, kept.states(rows))
