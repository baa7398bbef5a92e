"""
Work through a made-up batch before the first real one, so that no payment pays for what is set up at first use.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import compute
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.records import records

#: Rows of one made-up batch, and how many: enough for every branch and cache to have been used.
_ROWS, _ROUNDS = 32, 3


def warm_up(features: FeatureSet, judge: Callable[[Sequence[Transaction], NDArray[np.float32]], object]) -> None:
    """
    Compute features and judge them, over a store in memory; nothing of it is kept or counted.
    """
    store = MemoryEntityStore(features)
    for turn in range(_ROUNDS):
        batch = [_made_up(turn * _ROWS + row) for row in range(_ROWS)]
        prepared = records(features, batch)
        standings, states = store.touch(prepared), store.states(prepared)
        judge(batch, compute(features, batch, prepared, standings, states))


def _made_up(number: int) -> Transaction:
    return Transaction(
        transaction_id=f"warm-up-{number}",
        amount_minor=100 + number,
        currency="USD",
        occurred_at_ms=1_700_000_000_000 + 60_000 * number,
        user_id=f"user-{number % 5}",
        card_id=f"card-{number % 7}",
        merchant=f"merchant-{number % 3}",
        merchant_category="grocery",
        device_id=f"device-{number % 6}",
        ip=f"192.0.2.{number % 9}",
        email=f"nobody{number}@example.com",
        country="US",
        latitude=40.0 + number % 11,
        longitude=-74.0,
        channel="web",
        type="payment",
    )
