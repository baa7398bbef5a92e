"""
Transactions to records: the few bytes of each that are appended to the logs of its entities.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import xxhash
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import PLACE, Entity, FeatureSet
from fraudstream.features.words import places, words


@dataclass(frozen=True, slots=True)
class Records:
    """
    What a batch adds to the states of its entities, one row per transaction in the order of the batch.

    ``hashes``: shape (batch,), of the transaction ids. ``occurred_s``: shape (batch,), whole seconds since 1970. ``amounts``:
    shape (batch,), minor units. ``entities``: per kind the entity's id, None where the transaction lacks it. ``packed``: one
    record per row, the same bytes for each of its logs. ``table``: shape (batch,), the records as columns.
    """

    hashes: NDArray[np.uint64]
    occurred_s: NDArray[np.int64]
    amounts: NDArray[np.float64]
    entities: Mapping[str, list[str | None]]
    packed: list[bytes]
    table: NDArray[np.void]


def records(features: FeatureSet, transactions: Sequence[Transaction]) -> Records:
    """
    Write the record of each transaction; flags are clear, since nothing is known of it yet.
    """
    count = len(transactions)
    digest = xxhash.xxh3_64_intdigest
    table = np.zeros(count, features.record_dtype)
    table["hash"] = np.array([digest(one.transaction_id.encode()) for one in transactions], np.uint64)
    occurred_s = np.array([one.occurred_at_ms for one in transactions], np.int64) // 1_000
    amounts = np.array([one.amount_minor for one in transactions], np.int64)
    table["time"] = occurred_s
    table["amount"] = amounts
    for name in features.hashed:
        table[name] = _places(transactions) if name == PLACE else words(map(attrgetter(name), transactions))
    raw, size = table.tobytes(), features.record_size
    return Records(
        hashes=np.ascontiguousarray(table["hash"]),
        occurred_s=occurred_s,
        amounts=amounts.astype(np.float64),
        entities={entity.kind: _ids(entity, transactions) for entity in features.entities},
        packed=[raw[at : at + size] for at in range(0, count * size, size)],
        table=table,
    )


def _places(transactions: Sequence[Transaction]) -> NDArray[np.uint32]:
    latitudes = np.array([one.latitude for one in transactions], np.float64)
    return places(latitudes, np.array([one.longitude for one in transactions], np.float64))


def _ids(entity: Entity, transactions: Sequence[Transaction]) -> list[str | None]:
    read: Callable[[Transaction], str | None] = attrgetter(entity.fields[0])
    if len(entity.fields) == 1:
        return list(map(read, transactions))
    other: Callable[[Transaction], str | None] = attrgetter(entity.fields[1])
    return [_pair(read(one), other(one)) for one in transactions]


def _pair(first: str | None, second: str | None) -> str | None:
    """
    Join two ids such that no other two give the same text.
    """
    return None if first is None or second is None else f"{len(first)}:{first}:{second}"
