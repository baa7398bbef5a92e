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
        self._present: Mask = np.array([entity is not None for entity in ids], np.bool_)
        codes: dict[str | None, int] = {}
        code: Ints = np.array([codes.setdefault(entity, len(codes)) for entity in ids], np.int64)
        distinct = dict(zip(ids, rings, strict=True))
        blob = b"".join([distinct[entity].ljust(features.ring_size, b"\0") for entity in codes])
        slots = np.frombuffer(blob, SLOT)
        self._bucket: Ints = slots["bucket"].astype(np.int64)
        # One column each for counts, sums and, where a feature asks, frauds.
        names = ("count", "sum", "frauds") if features.reads_labels else ("count", "sum")
        self._held: list[Floats] = [slots[name].astype(np.float64) for name in names]
        #: Where each row's ring begins among all slots.
        self._start: Ints = code * (features.ring_size // SLOT.itemsize)
        self._takes: tuple[Ints, Ints] = _taken_off(np.where(self._present, code, -1), records, standings)
        self._own: dict[int, _Own] = {}
        self._tables: dict[tuple[int, int, int], tuple[Floats, Floats, Floats]] = {}

    def answer(self, one: Aggregate) -> Answer:
        """
        Return the values of an aggregate: shape (batch,), and where it has anything to say.
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
        width_ms, offset, length = self._features.ring_resolutions[resolution]
        own = self._own.get(resolution)
        if own is None:
            own = self._own[resolution] = self._own_buckets(resolution)
        delay, over = delayed_ms // width_ms, over_ms // width_ms
        last, back = own.bucket - delay, np.arange(over)
        place = (last % length)[:, None] - back
        place += (place < 0) * length
        place += (self._start + offset // SLOT.itemsize)[:, None]
        there = np.flatnonzero(self._bucket[place] == last[:, None] - back)
        # Most buckets of most entities are empty: only those that hold something are added up.
        held, rows = place.ravel()[there], np.repeat(np.arange(len(last)), over)[there]
        found: list[Floats] = [
            np.bincount(rows, column[held], minlength=len(last)).astype(np.float64, copy=False) for column in self._held
        ]
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
        counted = self._bucket[self._start + offset // SLOT.itemsize + bucket % length] == bucket
        row, taken = self._takes
        age = bucket[row] - bucket[taken]
        chosen = np.flatnonzero((age >= 0) & counted[taken])
        return _Own(bucket, row[chosen], taken[chosen], age[chosen])


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
    touched = np.array([standing is Standing.TOUCHED for standing in standings], np.bool_)
    rank, again = _ranks(records.hashes, touched, standings)
    row, other = _same(code)
    off = touched[other] & (other >= rank[row])
    earlier = again[row] & (row == other)
    chosen = off | earlier
    return row[chosen], other[chosen]


def _ranks(hashes: NDArray[np.uint64], touched: Mask, standings: Sequence[Standing]) -> tuple[Ints, Mask]:
    """
    Return the place of each row in the order of this call's touches, and which rows an earlier call has touched.

    A second delivery within the call stands where the first one stands; one that an earlier call has touched, before all.
    """
    rank = np.arange(len(hashes), dtype=np.int64)
    again = np.array([standing is Standing.SEEN for standing in standings], np.bool_)
    if not again.any():
        return rank, again
    first = {int(hashes[place]): int(place) for place in np.flatnonzero(touched)[::-1]}
    for place in np.flatnonzero(again):
        there = first.get(int(hashes[place]))
        rank[place] = -1 if there is None else there
        again[place] = there is None
    return rank, again


def _same(code: Ints) -> tuple[Ints, Ints]:
    """
    Return every pair of rows that share a code of 0 or more, as two columns.
    """
    order = np.argsort(code, kind="stable")
    order = order[code[order] >= 0]
    if not len(order):
        return order, order
    ordered = code[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sizes = np.diff(np.append(starts, len(ordered)))
    size, start = np.repeat(sizes, sizes), np.repeat(starts, sizes)
    row = np.repeat(order, size)
    within = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)
    return row, order[np.repeat(start, size) + within]
