"""
Recorded payments that the speed of a backtest is measured on; always the same for the same numbers.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fraudstream.rules.workload import CATEGORIES, COUNTRIES, FEATURES, FIRST_MS, address
from fraudstream.training.payments import FRAUD, LEGITIMATE, RecordedTable

#: Name of the feature set of the workload.
FEATURE_SET = "workload"


def recorded_workload(rows: int, *, list_entries: int, seed: int = 7) -> RecordedTable:
    """
    Return rows as ``decisions export`` writes them, strings with a dictionary, of the kind that ``build_workload`` has.

    Each payment is one of four times as many people as a list has entries; one in a hundred is fraud; features are even
    between 0 and 1000, 3% of them missing.
    """
    random = np.random.default_rng(seed)
    people = 4 * list_entries
    who = random.integers(0, people, rows).astype(np.int32)
    matrix = random.uniform(0.0, 1000.0, (rows, len(FEATURES))).astype(np.float32)
    matrix[random.random(matrix.shape) < 0.03] = np.nan
    names = range(people)
    columns = {
        "transaction_id": pa.array([f"txn_{number}" for number in range(rows)]),
        "amount_minor": pa.array(random.integers(1, 200_000, rows)),
        "currency": _coded(random.choice(2, rows, p=(0.9, 0.1)), ("USD", "EUR")),
        "occurred_at": pa.array(FIRST_MS + np.arange(rows) * 1000, pa.timestamp("ms", tz="UTC")),
        "card_id": _coded(who, [f"card_{number}" for number in names]),
        "ip": _coded(who, [address(number) for number in names]),
        "email": _coded(who, [f"user_{number}@example.com" for number in names]),
        "device_id": _coded(who, [f"device_{number}" for number in names], random.random(rows) < 0.1),
        "country": _coded(random.integers(0, len(COUNTRIES), rows), COUNTRIES),
        "merchant_category": _coded(random.integers(0, len(CATEGORIES), rows), CATEGORIES),
        "channel": _coded(random.integers(0, 3, rows), ("web", "app", "pos")),
        "outcome": _coded(np.zeros(rows, np.int32), ("approve",)),
        "probability": pa.array(random.random(rows) * 0.4),
        "vector": _vectors(matrix),
    }
    truth = np.where(random.random(rows) < 0.01, FRAUD, LEGITIMATE).astype(np.int8)
    return RecordedTable(pa.table(columns), truth)


def _coded(codes: NDArray[Any], words: Iterable[str], missing: NDArray[np.bool_] | None = None) -> Any:
    indices: Any = pa.array(codes.astype(np.int32), mask=missing)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(words)))


def _vectors(matrix: NDArray[np.float32]) -> Any:
    width = 4 * matrix.shape[1]
    offsets = pa.array(np.arange(len(matrix) + 1, dtype=np.int32) * width).buffers()[1]
    return pa.Array.from_buffers(pa.binary(), len(matrix), [None, offsets, pa.py_buffer(matrix.tobytes())])
