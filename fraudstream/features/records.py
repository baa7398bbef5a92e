"""
Transactions to records: the few bytes of each that are appended to the logs of its entities.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import PLACE, Entity, FeatureSet
from fraudstream.features.layout import HASH_BYTES, IDENTITY_BYTES, RecordLayout, write_amounts
from fraudstream.features.words import hashes, places, words


@dataclass(frozen=True, slots=True)
class Records:
    """
    What a batch adds to the states of its entities, one row per transaction in the order of the batch.

    ``hashes``: shape (batch,), of the transaction ids. ``occurred_s``: shape (batch,), whole seconds since 1970. ``amounts``:
    shape (batch,), minor units. ``entities``: per kind the entity's id, None where the transaction lacks it. ``words``: per
    field that any record keeps, its words, shape (batch,). ``packed``: per kind of log one record per row.
    """

    hashes: NDArray[np.uint64]
    occurred_s: NDArray[np.int64]
    amounts: NDArray[np.float64]
    entities: Mapping[str, list[str | None]]
    words: Mapping[str, NDArray[np.uint32]]
    packed: Mapping[str, list[bytes]]

    def present(self, kind: str) -> NDArray[np.bool_]:
        """
        Say of each row whether it has an entity of this kind: shape (batch,).
        """
        entities = self.entities[kind]
        if all(entities):
            return np.ones(len(entities), np.bool_)
        return np.array([entity is not None for entity in entities], np.bool_)

    def identity(self, row: int) -> bytes:
        """
        Return the bytes by which a transaction is found in its logs, whatever their kind; empty where there are no logs.
        """
        return next((column[row][:IDENTITY_BYTES] for column in self.packed.values()), b"")


def records(features: FeatureSet, transactions: Sequence[Transaction]) -> Records:
    """
    Write the records of each transaction; flags are clear, since nothing is known of it yet.
    """
    digests = hashes([one.transaction_id for one in transactions])
    occurred_s = np.array([one.occurred_at_ms for one in transactions], np.int64) // 1_000
    minor = np.array([one.amount_minor for one in transactions], np.int64)
    coded = {name: _words(name, transactions) for name in features.hashed}
    return Records(
        hashes=digests,
        occurred_s=occurred_s,
        amounts=minor.astype(np.float64),
        entities={entity.kind: _ids(entity, transactions) for entity in features.entities},
        words=coded,
        packed={kind: _packed(layout, digests, occurred_s, minor, coded) for kind, layout in features.layouts.items()},
    )


def _packed(
    layout: RecordLayout,
    digests: NDArray[np.uint64],
    occurred_s: NDArray[np.int64],
    minor: NDArray[np.int64],
    coded: Mapping[str, NDArray[np.uint32]],
) -> list[bytes]:
    table = np.zeros(len(digests), layout.dtype)
    table["hash"] = digests.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :HASH_BYTES]
    table["time"] = occurred_s
    write_amounts(table, minor)
    for name in layout.words:
        table[name] = coded[name]
    raw, size = table.tobytes(), layout.size
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def _words(name: str, transactions: Sequence[Transaction]) -> NDArray[np.uint32]:
    if name == PLACE:
        return _places(transactions)
    return words(list(map(attrgetter(name), transactions)))


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
