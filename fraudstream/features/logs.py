"""
Aggregates over event logs: exact windows, for a whole batch at once.

The pasts of the batch's rows are laid out one after the other, each followed by the row's own record. Every event falls into a
class by its age (the classes lie between the edges of all windows of that entity), so that one pass per selection counts it for
all windows together. Sums of amounts are sums of integers below 2^53 and therefore exact in any order.
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
#: Bits of a row's number, an event's place and an amount in packed sort keys: a batch holds far fewer events than 2^24.
_PLACE_BITS, _AMOUNT_BITS, _CLASS_BITS = 24, 40, 8
#: Mean radius of the earth in kilometres (IUGG 1980).
_EARTH_KM = 6_371.0088
#: Shortest time between two places, in seconds: places are cells of some hundred metres, and two of them in one second prove nothing.
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
        pieces: list[bytes] = []
        for log, record, standing in zip(logs, records.packed, standings, strict=True):
            # Own record not there: nothing that is still there came before it. A late transaction has none, all of it is past.
            before = len(log) if standing is Standing.LATE else prefix_bytes(log, record[:_HASH_BYTES], size)
            pieces.append(log[:before] if before > 0 else b"")
            pieces.append(record)
        lengths = np.array([len(piece) for piece in pieces[::2]], np.int64) // size + 1
        self.table: NDArray[np.void] = np.frombuffer(b"".join(pieces), features.record_dtype)
        self.rows = len(logs)
        self.starts: Ints = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64)
        self.own: Ints = self.starts + lengths - 1
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
        age = np.repeat(self.now, np.diff(np.append(self.starts, len(self.table)))) - self.time
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
        window = Window(selection, self.edges.index(one.delayed_s), self._end_class(one))
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
            classes[~holds(one.where, pasts.events, len(classes))] = 0
        for name in one.same:
            theirs, ours = pasts.events.field(name, current=False), pasts.events.field(name, current=True)
            classes[(theirs != ours) | (theirs == 0)] = 0
        self.classes = classes
        self.width = len(pasts.edges) + 1
        self.code: Ints = pasts.row * self.width + classes
        self._distinct: dict[tuple[str, int], Ints] = {}

    @cached_property
    def counts(self) -> Floats:
        """
        Events up to and including each class: shape (batch, classes).
        """
        return self._table(None)

    @cached_property
    def sums(self) -> Floats:
        """
        Amounts up to and including each class, minor units.
        """
        return self._table(self.pasts.amount)

    @cached_property
    def frauds(self) -> Floats:
        """
        Events labelled fraud up to and including each class.
        """
        return self._table(self.pasts.fraud.astype(np.float64))

    def counted(self, mask: Mask) -> Floats:
        """
        Count only the events under a mask.
        """
        return self._table(mask.astype(np.float64))

    def distinct(self, name: str, start: int) -> Floats:
        """
        Return how many values of a field occur from class ``start`` up to and including each class.
        """
        key = (name, start)
        if key not in self._distinct:
            word = self.pasts.events.field(name, current=False).astype(np.int64)
            chosen = np.flatnonzero((self.classes > start) & (word != 0))
            packed = self.pasts.row[chosen] << (32 + _CLASS_BITS) | word[chosen] << _CLASS_BITS | self.classes[chosen]
            packed.sort()
            # The first of each value is its youngest: it is in every window that reaches so far back.
            pair = packed >> _CLASS_BITS
            first = packed[np.concatenate(([True], pair[1:] != pair[:-1]))] if len(packed) else packed
            code = (first >> (32 + _CLASS_BITS)) * self.width + (first & (1 << _CLASS_BITS) - 1)
            self._distinct[key] = np.cumsum(self._shaped(np.bincount(code, minlength=self.pasts.rows * self.width)), axis=1)
        return self._distinct[key].astype(np.float64)

    def _table(self, weights: Floats | None) -> Floats:
        counted = np.bincount(self.code, weights, minlength=self.pasts.rows * self.width)
        return np.cumsum(self._shaped(counted).astype(np.float64), axis=1)

    def _shaped(self, counted: NDArray[np.intp] | Floats) -> NDArray[np.intp] | Floats:
        return counted.reshape(self.pasts.rows, self.width)


class Window:
    """
    The events of a selection whose age lies between two edges.
    """

    def __init__(self, selection: Selection, start: int, end: int) -> None:
        self.selection = selection
        self.pasts = selection.pasts
        self.start = start
        self.end = end

    def part(self, table: Floats) -> Floats:
        """
        Return what a table of the selection holds between the edges, per row.
        """
        return np.asarray(table[:, self.end] - table[:, self.start])

    @cached_property
    def count(self) -> Floats:
        """
        Events in the window, per row.
        """
        return self.part(self.selection.counts)

    @cached_property
    def inside(self) -> Mask:
        """
        Whether each event is in the window.
        """
        return (self.selection.classes > self.start) & (self.selection.classes <= self.end)

    def newest(self, mask: Mask) -> Ints:
        """
        Return per row the order of the newest event under a mask, -1 where there is none.
        """
        return np.maximum.reduceat(np.where(mask, self.pasts.order, -1), self.pasts.starts)


def _count(window: Window, _: Aggregate) -> Answer:
    return window.count, window.count > 0


def _sum(window: Window, _: Aggregate) -> Answer:
    return window.part(window.selection.sums), window.count > 0


def _avg(window: Window, _: Aggregate) -> Answer:
    known = window.count > 0
    return window.part(window.selection.sums) / np.where(known, window.count, 1.0), known


def _min(window: Window, _: Aggregate) -> Answer:
    masked = np.where(window.inside, window.pasts.amount, np.inf)
    return np.minimum.reduceat(masked, window.pasts.starts), window.count > 0


def _max(window: Window, _: Aggregate) -> Answer:
    masked = np.where(window.inside, window.pasts.amount, -np.inf)
    return np.maximum.reduceat(masked, window.pasts.starts), window.count > 0


def _stddev(window: Window, one: Aggregate) -> Answer:
    """
    Return the standard deviation of the population, in two passes: the mean first, then the squares of what is left.
    """
    mean, known = _avg(window, one)
    chosen = np.flatnonzero(window.inside)
    row = window.pasts.row[chosen]
    left = window.pasts.amount[chosen] - mean[row]
    squares = np.bincount(row, left * left, minlength=window.pasts.rows)
    return np.sqrt(squares / np.where(known, window.count, 1.0)), known


def _median(window: Window, _: Aggregate) -> Answer:
    known = window.count > 0
    chosen = np.flatnonzero(window.inside)
    packed = window.pasts.row[chosen] << _AMOUNT_BITS | window.pasts.table["amount"][chosen]
    packed.sort()
    count = window.count.astype(np.int64)
    starts = np.cumsum(count) - count
    # A row without events reads some other row's amount here, and is masked by ``known``.
    amounts = np.append(packed & (1 << _AMOUNT_BITS) - 1, 0).astype(np.float64)
    low = amounts[np.minimum(starts + np.maximum(count - 1, 0) // 2, len(packed))]
    high = amounts[np.minimum(starts + count // 2, len(packed))]
    return (low + high) / 2.0, known


def _ratio_to_baseline(window: Window, one: Aggregate) -> Answer:
    centre, known = _median(window, one)
    usable = known & (centre > 0)
    return window.pasts.current.amounts / np.where(usable, centre, 1.0), usable


def _rank(window: Window, _: Aggregate) -> Answer:
    """
    Return the share of the window's amounts that are smaller than the transaction's own.
    """
    smaller = window.selection.counted(window.pasts.amount < window.pasts.current.amounts[window.pasts.row])
    known = window.count > 0
    return window.part(smaller) / np.where(known, window.count, 1.0), known


def _distinct(window: Window, one: Aggregate) -> Answer:
    values = window.selection.distinct(one.argument, window.start)
    return values[:, window.end] - values[:, 0], window.count > 0


def _is_new(window: Window, one: Aggregate) -> Answer:
    theirs = window.pasts.events.field(one.argument, current=False)
    ours = window.pasts.events.field(one.argument, current=True)
    before = window.part(window.selection.counted(theirs == ours))
    own = window.pasts.current.table[one.argument] != 0
    return (before == 0).astype(np.float64), own & (window.count > 0)


def _time_since_last(window: Window, _: Aggregate) -> Answer:
    newest = np.maximum.reduceat(np.where(window.inside, window.pasts.time, -1), window.pasts.starts)
    return (window.pasts.now - newest).astype(np.float64), window.count > 0


def _first_seen(window: Window, _: Aggregate) -> Answer:
    oldest = np.minimum.reduceat(np.where(window.inside, window.pasts.time, np.iinfo(np.int64).max), window.pasts.starts)
    known = window.count > 0
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
    return window.part(window.selection.frauds), window.count > 0


def _fraud_rate(window: Window, _: Aggregate) -> Answer:
    known = window.count > 0
    return window.part(window.selection.frauds) / np.where(known, window.count, 1.0), known


def _last_label(window: Window, _: Aggregate) -> Answer:
    newest = window.newest(window.inside)
    place = np.where(newest >= 0, newest & (1 << _PLACE_BITS) - 1, 0)
    return window.pasts.fraud[place].astype(np.float64), window.count > 0


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
