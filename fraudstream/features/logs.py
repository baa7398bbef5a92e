"""
Aggregates over event logs: exact windows, for a whole batch at once.

The pasts of the batch's rows are laid out one after the other, each followed by the row's own record. Every event falls into
a class by its age (the classes lie between the edges of all windows of that entity), so that a window is two comparisons of
bytes. Sums of amounts are sums of integers below 2^53 and therefore exact in any order.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.columns import EventColumns, RowColumns
from fraudstream.features.definitions import FRAUD_FLAG, FeatureSet
from fraudstream.features.evaluate import holds
from fraudstream.features.layout import IDENTITY_BYTES, amounts, place_in
from fraudstream.features.records import Records
from fraudstream.features.states import Standing
from fraudstream.features.syntax import Aggregate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

#: Bits of an event's place, an amount and a class in packed sort keys; a batch holds far fewer than 2^24 events.
PLACE_BITS, _AMOUNT_BITS, _CLASS_BITS = 24, 40, 8


def _with_own(log: bytes, record: bytes, standing: Standing, size: int) -> bytes:
    """
    Return a transaction's past and, behind it, its own record as it was written: without what became known since.

    Own record not there: nothing that is still there came before it. A late transaction has none, all of it is past.
    """
    late = standing is Standing.LATE
    before = len(log) // size * size if late else place_in(log, record[:IDENTITY_BYTES], size)
    return log[: max(before, 0)] + record


class LogPasts:
    """
    The pasts of one kind of entity, for every row of a batch.
    """

    def __init__(
        self, features: FeatureSet, kind: str, rows: RowColumns, standings: Sequence[Standing], logs: Sequence[bytes]
    ) -> None:
        records = rows.records
        layout = features.layouts[kind]
        size = layout.size
        # Mostly the own record is the last one, and the log as it stands is the past with the transaction behind it.
        pieces = [
            log if log.endswith(record) else _with_own(log, record, standing, size)
            for log, record, standing in zip(logs, records.packed[kind], standings, strict=True)
        ]
        lengths = np.array(list(map(len, pieces)), np.int64) // size
        self.table: NDArray[np.void] = layout.table(b"".join(pieces))
        self.rows = len(logs)
        self.lengths: Ints = lengths
        self.own: Ints = np.cumsum(lengths) - 1
        self.starts: Ints = self.own - lengths + 1
        self.row: Ints = np.repeat(np.arange(self.rows), lengths)
        self.events = EventColumns(self.table, self.row, rows)
        self.present: Mask = np.array([entity is not None for entity in records.entities[kind]], np.bool_)
        self.now: Ints = records.occurred_s
        self.current: Records = records
        self.edges = sorted(
            {0, *(edge for _, one in features.aggregates[kind] for edge in (one.delayed_s, _end(one)) if edge is not None)}
        )
        self._selections: dict[object, Selection] = {}

    @cached_property
    def time(self) -> Ints:
        """
        Event time of each event, seconds.
        """
        return self.table["time"].astype(np.int64)

    @cached_property
    def minor(self) -> Ints:
        """
        Amount of each event, minor units.
        """
        return amounts(self.table)

    @cached_property
    def amount(self) -> Floats:
        """
        Amount of each event, minor units.
        """
        return self.minor.astype(np.float64)

    @cached_property
    def by_amount(self) -> Ints:
        """
        A number per event that grows with its row, then with its amount.
        """
        return self.row << _AMOUNT_BITS | self.minor

    @cached_property
    def fraud(self) -> Mask:
        """
        Whether each event has been labelled fraud.
        """
        return np.asarray((self.table["flags"] & FRAUD_FLAG) != 0)

    @cached_property
    def order(self) -> Ints:
        """
        A number per event that grows with event time, then with arrival.
        """
        return self.time << PLACE_BITS | np.arange(len(self.table))

    @cached_property
    def classes(self) -> NDArray[np.uint8]:
        """
        Class of each event's age: c means edges[c - 1] <= age < edges[c]; 0 means later than the transaction itself.
        """
        age = np.repeat(self.now, self.lengths) - self.time
        found = (age >= 0).astype(np.uint8)
        for edge in self.edges[1:]:
            found += age >= edge
        return found

    def selection(self, one: Aggregate) -> "Selection":
        """
        Return the events that an aggregate looks at, whatever its window; aggregates that look at the same ones share it.
        """
        found = self._selections.get(one.selection)
        if found is None:
            found = self._selections[one.selection] = Selection.under(self, one)
        return found

    def window(self, one: Aggregate) -> "Window":
        """
        Return the events in an aggregate's window.
        """
        return self.selection(one).window(self.edges.index(one.delayed_s), self._end_class(one), one.newest)

    def release(self) -> None:
        """
        Let go of what was shared between aggregates: it refers back to the pasts, and would keep a batch's states until the
        collector of cycles comes by.
        """
        for selection in self._selections.values():
            selection.release()
        self._selections.clear()

    def _end_class(self, one: Aggregate) -> int:
        end = _end(one)
        return len(self.edges) if end is None else self.edges.index(end)


def _end(one: Aggregate) -> int | None:
    return None if one.over_s is None else one.delayed_s + one.over_s


class Selection:
    """
    Some of the events, by class; class 0 holds what is left out.
    """

    def __init__(self, pasts: LogPasts, classes: NDArray[np.uint8]) -> None:
        self.pasts = pasts
        self.classes = classes
        self._windows: dict[tuple[int, int, int | None], Window] = {}
        self._youngest: dict[tuple[str, int], tuple[Ints, NDArray[np.uint8]]] = {}

    @classmethod
    def under(cls, pasts: LogPasts, one: Aggregate) -> "Selection":
        """
        Return the events under an aggregate's condition, with or without the transaction itself.
        """
        classes = pasts.classes.copy()
        if one.including_current:
            classes[pasts.own[~pasts.present]] = 0
        else:
            classes[pasts.own] = 0
        if one.where is not None:
            classes *= holds(one.where, pasts.events, len(classes))
        for name in one.same:
            theirs, ours = pasts.events.field(name, current=False), pasts.events.field(name, current=True)
            classes *= (theirs == ours) & (theirs != 0)
        return cls(pasts, classes)

    def window(self, start: int, end: int, newest: int | None = None) -> "Window":
        """
        Return the events between two edges, or the newest of them; features over the same window share it.
        """
        found = self._windows.get((start, end, newest))
        if found is None:
            found = Window(self if newest is None else self._cut(start, end, newest), start, end)
            self._windows[start, end, newest] = found
        return found

    def _cut(self, start: int, end: int, newest: int) -> "Selection":
        """
        Return a selection of only the newest events between two edges; of equal times the later arrival is newer.
        """
        chosen = np.flatnonzero((self.classes > start) & (self.classes <= end))
        row = self.pasts.row[chosen]
        ordered = chosen[np.lexsort((self.pasts.order[chosen], row))]
        ends = np.cumsum(np.bincount(row, minlength=self.pasts.rows))
        kept = ordered[ends[row] - np.arange(len(ordered)) <= newest]
        classes = np.zeros_like(self.classes)
        classes[kept] = self.classes[kept]
        return Selection(self.pasts, classes)

    def release(self) -> None:
        """
        Let go of the windows, which refer back to their selection.
        """
        self._windows.clear()

    def youngest(self, name: str, start: int) -> tuple[Ints, NDArray[np.uint8]]:
        """
        Return row and class of the youngest event of each value of a field, beyond class ``start``.
        """
        key = (name, start)
        if key not in self._youngest:
            word = self.pasts.events.field(name, current=False).astype(np.int64, copy=False)
            chosen = np.flatnonzero((self.classes > start) & (word != 0))
            packed = (
                self.pasts.row[chosen] << (32 + _CLASS_BITS)
                | word[chosen] << _CLASS_BITS
                | self.classes[chosen].astype(np.int64)
            )
            packed.sort()
            value = packed >> _CLASS_BITS
            first = packed[np.concatenate(([True], value[1:] != value[:-1]))] if len(packed) else packed
            self._youngest[key] = first >> (32 + _CLASS_BITS), (first & (1 << _CLASS_BITS) - 1).astype(np.uint8)
        return self._youngest[key]


class Window:
    """
    The events of a selection whose age lies between two edges.
    """

    def __init__(self, selection: Selection, start: int, end: int) -> None:
        self.selection = selection
        self.pasts = selection.pasts
        self.start = start
        self.end = end

    @cached_property
    def inside(self) -> Mask:
        """
        Whether each event is in the window.
        """
        return np.asarray((self.selection.classes > self.start) & (self.selection.classes <= self.end))

    @cached_property
    def count(self) -> Floats:
        """
        Events in the window, per row.
        """
        return self.counted(self.inside)

    @cached_property
    def known(self) -> Mask:
        """
        Whether there is any event in the window, per row.
        """
        return np.asarray(self.count > 0)

    @cached_property
    def sum(self) -> Floats:
        """
        Amounts of the window in minor units, per row.
        """
        return np.asarray(np.add.reduceat(np.where(self.inside, self.pasts.amount, 0.0), self.pasts.starts))

    @cached_property
    def median(self) -> Floats:
        """
        Middle amount of the window, or the mean of the two middle ones; without meaning where there is none.
        """
        chosen = np.flatnonzero(self.inside)
        packed = self.pasts.by_amount[chosen]
        packed.sort()
        count = self.count.astype(np.int64)
        starts = np.cumsum(count) - count
        # The zero behind the last amount is for rows at the end that have no event of their own to read.
        amounts = np.append(packed & (1 << _AMOUNT_BITS) - 1, 0).astype(np.float64)
        low, high = np.maximum(count - 1, 0) // 2, count // 2
        return np.asarray((amounts[starts + low] + amounts[starts + high]) / 2.0)

    @cached_property
    def frauds(self) -> Floats:
        """
        Events of the window labelled fraud, per row.
        """
        return self.counted(self.inside & self.pasts.fraud)

    def counted(self, mask: Mask) -> Floats:
        """
        Count events under a mask, per row.
        """
        return np.add.reduceat(mask, self.pasts.starts, dtype=np.int64).astype(np.float64)

    def shared(self, part: Floats) -> Floats:
        """
        Divide by the number of events; without meaning where there is none.
        """
        return np.asarray(part / np.maximum(self.count, 1.0))

    def newest(self, mask: Mask) -> Ints:
        """
        Return per row the order of the newest event under a mask, -1 where there is none.
        """
        return np.maximum.reduceat(np.where(mask, self.pasts.order, -1), self.pasts.starts)
