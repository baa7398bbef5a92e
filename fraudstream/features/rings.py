"""
Aggregates over rings of buckets: counts, sums and frauds at a declared resolution, however hot the entity.

A ring holds the present and not the past of each row, so what this very call added at or after a row is taken off again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.aggregates import Answer
from fraudstream.features.definitions import SLOT, FeatureSet
from fraudstream.features.past import Floats, Ints, Mask
from fraudstream.features.records import Records
from fraudstream.features.states import Standing
from fraudstream.features.syntax import Aggregate

#: Bits of a bucket's number, or of a row, in a number that grows with something else first.
_BUCKET_BITS = 32


class RingPasts:
    """
    The buckets of one kind of entity, for every row of a batch.
    """

    def __init__(
        self, features: FeatureSet, kind: str, records: Records, standings: Sequence[Standing], rings: Sequence[bytes]
    ) -> None:
        self._features = features
        self._records = records
        ids = records.entities[kind]
        self._present: Mask = records.present(kind)
        codes: dict[str | None, int] = {}
        self._code: Ints = np.array([codes.setdefault(entity, len(codes)) for entity in ids], np.int64)
        distinct = dict(zip(ids, rings, strict=True))
        blob = b"".join([distinct[entity].ljust(features.ring_size, b"\0") for entity in codes])
        self._slots = np.frombuffer(blob, SLOT)
        self._length = features.ring_size // SLOT.itemsize
        self._held = _Held(features, self._slots, int(records.occurred_s.min()) * 1_000)
        self._takes: tuple[Ints, Ints] = _taken_off(np.where(self._present, self._code, -1), records, standings)
        self._own: dict[int, _Own] = {}
        self._tables: dict[tuple[int, int, int], tuple[Floats, Floats, Floats]] = {}

    def answer(self, _column: int, one: Aggregate) -> Answer:
        """
        Return the values of a column's aggregate: shape (batch,), and where it has anything to say.
        """
        count, total, frauds = self._window(one)
        if one.including_current:
            count = count + self._present
            total = total + np.where(self._present, self._records.amounts, 0.0)
        known = count > 0
        divisor = np.where(known, count, 1.0)
        match one.function:
            case "count":
                return count, known
            case "sum":
                return total, known
            case "avg":
                return total / divisor, known
            case "fraud_count":
                return frauds, known
            case _:
                return frauds / divisor, known

    def _window(self, one: Aggregate) -> tuple[Floats, Floats, Floats]:
        """
        Return count, sum and frauds of a window, per row; aggregates over one window share them.
        """
        resolution, over_s = one.resolution, one.over_s
        if resolution is None or over_s is None:
            raise ValueError("the checker gives every aggregate on buckets a window and a resolution")
        key = (resolution, over_s, one.delayed_s)
        if key not in self._tables:
            self._tables[key] = self._computed(resolution, over_s * 1_000, one.delayed_s * 1_000)
        return self._tables[key]

    def _computed(self, resolution: int, over_ms: int, delayed_ms: int) -> tuple[Floats, Floats, Floats]:
        width_ms = self._features.ring_resolutions[resolution][0]
        own = self._own.get(resolution)
        if own is None:
            own = self._own[resolution] = self._own_buckets(resolution)
        delay, over = delayed_ms // width_ms, over_ms // width_ms
        found = self._held.between(self._code, resolution, own.bucket - delay - over, own.bucket - delay)
        inside = (own.age >= delay) & (own.age < delay + over)
        row, taken = own.row[inside], own.taken[inside]
        if len(row):
            found[0] -= np.bincount(row, minlength=len(found[0]))
            found[1] -= np.bincount(row, self._records.amounts[taken], minlength=len(found[1]))
        return found[0], found[1], found[-1]

    def _own_buckets(self, resolution: int) -> "_Own":
        """
        Return each row's bucket, and what has to be taken off of buckets up to it: a newer one is in no window of the row.
        """
        width_ms, offset, length = self._features.ring_resolutions[resolution]
        bucket = self._records.occurred_s * 1_000 // width_ms
        place = self._code * self._length + (offset // SLOT.itemsize + bucket % length)
        counted = self._slots["bucket"][place] == bucket
        row, taken = self._takes
        age = bucket[row] - bucket[taken]
        chosen = np.flatnonzero((age >= 0) & counted[taken])
        return _Own(bucket, row[chosen], taken[chosen], age[chosen])


class _Held:
    """
    The buckets that hold anything, most do not: sorted by entity, resolution and number, with running sums over them.

    A window is a run of them, found by two searches. Sums are of whole minor units, so that the difference of two is exact.
    """

    def __init__(self, features: FeatureSet, slots: NDArray[np.void], since_ms: int) -> None:
        self._resolutions = len(features.ring_resolutions)
        length = features.ring_size // SLOT.itemsize
        # What is older than any window of the batch is as good as empty.
        oldest = np.empty(length, np.uint32)
        for (width_ms, offset, count), reach in zip(features.ring_resolutions, features.ring_reach, strict=True):
            begin = offset // SLOT.itemsize
            oldest[begin : begin + count] = max(0, since_ms // width_ms - reach)
        held = np.flatnonzero(slots["bucket"].reshape(-1, length) >= oldest)
        entity, place = np.divmod(held, length)
        begins = [offset // SLOT.itemsize for _, offset, _ in features.ring_resolutions[1:]]
        line = entity * self._resolutions + np.searchsorted(begins, place, side="right")
        keys = line << _BUCKET_BITS | slots["bucket"][held]
        order = np.argsort(keys)
        self._keys: Ints = keys[order]
        held = held[order]
        # One row each for counts, sums and, where a feature asks, frauds.
        names = ("count", "sum", "frauds") if features.reads_labels else ("count", "sum")
        self._until = np.zeros((len(names), len(held) + 1), np.int64)
        for until, name in zip(self._until, names, strict=True):
            np.cumsum(slots[name][held].astype(np.int64), out=until[1:])

    def between(self, entity: Ints, resolution: int, after: Ints, last: Ints) -> NDArray[np.float64]:
        """
        Return what an entity's buckets from behind one number to another hold, per row: counts, sums, perhaps frauds.
        """
        line = entity * self._resolutions + resolution << _BUCKET_BITS
        low, high = np.searchsorted(self._keys, line + np.maximum([after, last], -1), side="right")
        found: Floats = (self._until[:, high] - self._until[:, low]).astype(np.float64)
        return found


@dataclass(frozen=True, slots=True)
class _Own:
    """
    ``bucket``: of each row. ``row``, ``taken``, ``age``: pairs of a row and another one that is to be taken off, so many
    buckets before the row's.
    """

    bucket: Ints
    row: Ints
    taken: Ints
    age: Ints


def _taken_off(code: Ints, records: Records, standings: Sequence[Standing]) -> tuple[Ints, Ints]:
    """
    Return pairs (row, other row): the other one is of the same entity, is in its ring by now, and is no part of the row's past.

    That is every row touched by this call at or after the row, and a row's own transaction if an earlier call has touched it.
    """
    first, seen = Standing.TOUCHED, Standing.SEEN
    touched = np.array([standing is first for standing in standings], np.bool_)
    rank, again = ranks(records.hashes, touched, np.array([standing is seen for standing in standings], np.bool_))
    there = np.flatnonzero(touched & (code >= 0))
    keys = code[there] << _BUCKET_BITS | there
    order = np.argsort(keys)
    keys, there = keys[order], there[order]
    begin = np.searchsorted(keys, (code << _BUCKET_BITS) + rank)
    sizes = np.where(code >= 0, np.searchsorted(keys, code + 1 << _BUCKET_BITS) - begin, 0)
    row = np.repeat(np.arange(len(code)), sizes)
    other = there[np.arange(len(row)) + np.repeat(begin - (np.cumsum(sizes) - sizes), sizes)]
    earlier = np.flatnonzero(again & (code >= 0))
    return np.concatenate([row, earlier]), np.concatenate([other, earlier])


def ranks(hashes: NDArray[np.uint64], touched: Mask, again: Mask) -> tuple[Ints, Mask]:
    """
    Return the place of each row in the order of this call's touches, and which rows an earlier call has touched.

    A second delivery within the call stands where the first one stands; one that an earlier call has touched, before all.
    """
    rank = np.arange(len(hashes), dtype=np.int64)
    if not (again.any() and touched.any()):
        return rank, again
    first = {int(hashes[place]): int(place) for place in np.flatnonzero(touched)[::-1]}
    for place in np.flatnonzero(again):
        there = first.get(int(hashes[place]))
        rank[place] = -1 if there is None else there
        again[place] = there is None
    return rank, again
