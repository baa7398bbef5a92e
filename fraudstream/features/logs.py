"""
Aggregates over event logs: exact windows, for a whole batch at once.

The pasts of the batch's rows are laid out one after the other, each followed by the row's own record. Every event falls into
a class by its age (the classes lie between the edges of all windows of that entity), so that a window is two comparisons of
bytes. Sums of amounts are sums of integers below 2^53 and therefore exact in any order.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.columns import EventColumns, RowColumns
from fraudstream.features.definitions import FRAUD_FLAG, PLACE, FeatureSet
from fraudstream.features.evaluate import holds
from fraudstream.features.records import Records
from fraudstream.features.states import Standing
from fraudstream.features.syntax import Aggregate
from fraudstream.features.words import position

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
#: The values of one feature, and where there are any.
Answer = tuple[Floats, Mask]

_HASH_BYTES = 8
#: Bits of an event's place, an amount and a class in packed sort keys; a batch holds far fewer than 2^24 events.
_PLACE_BITS, _AMOUNT_BITS, _CLASS_BITS = 24, 40, 8
#: Mean radius of the earth in kilometres (IUGG 1980).
_EARTH_KM = 6_371.0088
#: Shortest time between two places, in seconds: places are cells of some hundred metres, neighbours prove nothing.
_SHORTEST_S = 60.0


def prefix_bytes(log: bytes, record_hash: bytes, size: int) -> int:
    """
    Return how many bytes of a log stand before a transaction's own record, -1 when it is not (or no longer) there.
    """
    place = log.rfind(record_hash)
    while place > 0 and place % size:
        place = log.rfind(record_hash, 0, place + _HASH_BYTES - 1)
    return place


class LogPasts:
    """
    The pasts of one kind of entity, for every row of a batch.
    """

    def __init__(
        self,
        features: FeatureSet,
        kind: str,
        aggregates: Sequence[Aggregate],
        records: Records,
        standings: Sequence[Standing],
        logs: Sequence[bytes],
        rows: RowColumns,
    ) -> None:
        size = features.record_size
        # Own record not there: nothing that is still there came before it. A late transaction has none, all of it is past.
        before = [
            len(log) if standing is Standing.LATE else max(prefix_bytes(log, record[:_HASH_BYTES], size), 0)
            for log, record, standing in zip(logs, records.packed, standings, strict=True)
        ]
        pieces = [piece for log, end, record in zip(logs, before, records.packed, strict=True) for piece in (log[:end], record)]
        lengths = np.array(before, np.int64) // size + 1
        self.table: NDArray[np.void] = np.frombuffer(b"".join(pieces), features.record_dtype)
        self.rows = len(logs)
        self.lengths: Ints = lengths
        self.own: Ints = np.cumsum(lengths) - 1
        self.starts: Ints = self.own - lengths + 1
        self.row: Ints = np.repeat(np.arange(self.rows), lengths)
        self.events = EventColumns(self.table, self.row, rows)
        self.present: Mask = np.array([entity is not None for entity in records.entities[kind]], np.bool_)
        self.now: Ints = records.occurred_s
        self.current: Records = records
        self.edges = sorted({0, *(edge for one in aggregates for edge in (one.delayed_s, _end(one)) if edge is not None)})
        self._selections: dict[object, Selection] = {}

    @cached_property
    def time(self) -> Ints:
        """
        Event time of each event, seconds.
        """
        return self.table["time"].astype(np.int64)

    @cached_property
    def amount(self) -> Floats:
        """
        Amount of each event, minor units.
        """
        return self.table["amount"].astype(np.float64)

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
        return self.time << _PLACE_BITS | np.arange(len(self.table))

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
            found = self._selections[one.selection] = Selection(self, one)
        return found

    def answer(self, one: Aggregate) -> Answer:
        """
        Return the values of an aggregate: shape (batch,), and where it has anything to say.
        """
        selection = self.selection(one)
        window = selection.window(self.edges.index(one.delayed_s), self._end_class(one))
        return _ANSWERS[one.function](window, one)

    def _end_class(self, one: Aggregate) -> int:
        end = _end(one)
        return len(self.edges) if end is None else self.edges.index(end)


def _end(one: Aggregate) -> int | None:
    return None if one.over_s is None else one.delayed_s + one.over_s


class Selection:
    """
    Some of the events: those under a condition, with or without the transaction itself. Class 0 holds what is left out.
    """

    def __init__(self, pasts: LogPasts, one: Aggregate) -> None:
        self.pasts = pasts
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
        self.classes = classes
        self._windows: dict[tuple[int, int], Window] = {}
        self._youngest: dict[tuple[str, int], tuple[Ints, NDArray[np.uint8]]] = {}

    def window(self, start: int, end: int) -> "Window":
        """
        Return the events between two edges; features over the same window share it.
        """
        found = self._windows.get((start, end))
        if found is None:
            found = self._windows[start, end] = Window(self, start, end)
        return found

    def youngest(self, name: str, start: int) -> tuple[Ints, NDArray[np.uint8]]:
        """
        Return row and class of the youngest event of each value of a field, beyond class ``start``.
        """
        key = (name, start)
        if key not in self._youngest:
            word = self.pasts.events.field(name, current=False).astype(np.int64)
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
        packed = self.pasts.row[chosen] << _AMOUNT_BITS | self.pasts.table["amount"].astype(np.int64)[chosen]
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


def _count(window: Window, _: Aggregate) -> Answer:
    return window.count, window.known


def _sum(window: Window, _: Aggregate) -> Answer:
    return window.sum, window.known


def _avg(window: Window, _: Aggregate) -> Answer:
    return window.shared(window.sum), window.known


def _min(window: Window, _: Aggregate) -> Answer:
    masked = np.where(window.inside, window.pasts.amount, np.inf)
    return np.minimum.reduceat(masked, window.pasts.starts), window.known


def _max(window: Window, _: Aggregate) -> Answer:
    masked = np.where(window.inside, window.pasts.amount, -np.inf)
    return np.maximum.reduceat(masked, window.pasts.starts), window.known


def _stddev(window: Window, _: Aggregate) -> Answer:
    """
    Return the standard deviation of the population, in two passes: the mean first, then the squares of what is left.
    """
    mean = window.shared(window.sum)
    chosen = np.flatnonzero(window.inside)
    row = window.pasts.row[chosen]
    left = window.pasts.amount[chosen] - mean[row]
    # One by one in the order of arrival, whatever else is in the batch: the last bit depends on it.
    squares = np.bincount(row, left * left, minlength=window.pasts.rows)
    return np.sqrt(window.shared(squares.astype(np.float64))), window.known


def _median(window: Window, _: Aggregate) -> Answer:
    return window.median, window.known


def _ratio_to_baseline(window: Window, _: Aggregate) -> Answer:
    usable = window.known & (window.median > 0)
    return window.pasts.current.amounts / np.where(usable, window.median, 1.0), usable


def _rank(window: Window, _: Aggregate) -> Answer:
    """
    Return the share of the window's amounts that are smaller than the transaction's own.
    """
    smaller = window.pasts.amount < np.repeat(window.pasts.current.amounts, window.pasts.lengths)
    return window.shared(window.counted(window.inside & smaller)), window.known


def _distinct(window: Window, one: Aggregate) -> Answer:
    row, classes = window.selection.youngest(one.argument, window.start)
    return np.bincount(row[classes <= window.end], minlength=window.pasts.rows).astype(np.float64), window.known


def _is_new(window: Window, one: Aggregate) -> Answer:
    theirs = window.pasts.events.field(one.argument, current=False)
    ours = window.pasts.events.field(one.argument, current=True)
    before = window.counted(window.inside & (theirs == ours))
    own = window.pasts.current.table[one.argument] != 0
    return (before == 0).astype(np.float64), own & window.known


def _time_since_last(window: Window, _: Aggregate) -> Answer:
    newest = np.maximum.reduceat(np.where(window.inside, window.pasts.time, -1), window.pasts.starts)
    return (window.pasts.now - newest).astype(np.float64), window.known


def _first_seen(window: Window, _: Aggregate) -> Answer:
    oldest = np.minimum.reduceat(np.where(window.inside, window.pasts.time, np.iinfo(np.int64).max), window.pasts.starts)
    known = window.known
    return np.where(known, window.pasts.now - oldest, 0).astype(np.float64), known


def _speed_kmh(window: Window, _: Aggregate) -> Answer:
    """
    Return the speed from the newest known place to the transaction's own, by the haversine formula.

    References:
        Sinnott 1984, "Virtues of the haversine", Sky and Telescope 68.
    """
    cells = window.pasts.table[PLACE]
    newest = window.newest(window.inside & (cells != 0))
    own = window.pasts.current.table[PLACE]
    known = (newest >= 0) & (own != 0)
    place = np.where(known, newest & (1 << _PLACE_BITS) - 1, 0)
    distance = haversine_km(np.ascontiguousarray(cells[place]), np.ascontiguousarray(own))
    elapsed = np.maximum((window.pasts.now - window.pasts.time[place]).astype(np.float64), _SHORTEST_S)
    return distance / (elapsed / 3_600.0), known


def haversine_km(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> Floats:
    """
    Return the distance between the centres of cells in kilometres.
    """
    north, east = position(one)
    own_north, own_east = position(other)
    half = np.sin((own_north - north) / 2) ** 2 + np.cos(north) * np.cos(own_north) * np.sin((own_east - east) / 2) ** 2
    return np.asarray(2 * _EARTH_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0))))


def _fraud_count(window: Window, _: Aggregate) -> Answer:
    return window.frauds, window.known


def _fraud_rate(window: Window, _: Aggregate) -> Answer:
    return window.shared(window.frauds), window.known


def _last_label(window: Window, _: Aggregate) -> Answer:
    newest = window.newest(window.inside)
    place = np.where(newest >= 0, newest & (1 << _PLACE_BITS) - 1, 0)
    return window.pasts.fraud[place].astype(np.float64), window.known


def _time_since_fraud(window: Window, _: Aggregate) -> Answer:
    newest = window.newest(window.inside & window.pasts.fraud)
    return (window.pasts.now - (newest >> _PLACE_BITS)).astype(np.float64), newest >= 0


def _since(window: Window, order: Ints) -> Floats:
    """
    Count the window's events that are newer than an order, per row.
    """
    newer = window.inside & (window.pasts.order > order[window.pasts.row])
    return np.bincount(window.pasts.row[newer], minlength=window.pasts.rows).astype(np.float64)


def _clean_since_fraud(window: Window, _: Aggregate) -> Answer:
    newest = window.newest(window.inside & window.pasts.fraud)
    return _since(window, newest), newest >= 0


def _run_length(window: Window, one: Aggregate) -> Answer:
    label, known = _last_label(window, one)
    other = window.pasts.fraud != (label[window.pasts.row] != 0)
    return _since(window, window.newest(window.inside & other)), known


_ANSWERS: dict[str, Callable[[Window, Aggregate], Answer]] = {
    "count": _count,
    "sum": _sum,
    "avg": _avg,
    "min": _min,
    "max": _max,
    "stddev": _stddev,
    "median": _median,
    "distinct": _distinct,
    "is_new": _is_new,
    "first_seen": _first_seen,
    "last_seen": _time_since_last,
    "time_since_last": _time_since_last,
    "ratio_to_baseline": _ratio_to_baseline,
    "rank": _rank,
    "speed_kmh": _speed_kmh,
    "fraud_count": _fraud_count,
    "fraud_rate": _fraud_rate,
    "last_label": _last_label,
    "time_since_fraud": _time_since_fraud,
    "clean_since_fraud": _clean_since_fraud,
    "run_length": _run_length,
}
