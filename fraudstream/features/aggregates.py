"""
The aggregates over event logs, each as a few whole-array steps over the events of its window.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.definitions import PLACE
from fraudstream.features.logs import PLACE_BITS, Floats, Ints, LogPasts, Mask, Window
from fraudstream.features.syntax import Aggregate
from fraudstream.features.words import position

#: The values of one feature, and where there are any.
Answer = tuple[Floats, Mask]

#: Mean radius of the earth in kilometres (IUGG 1980).
_EARTH_KM = 6_371.0088
#: Shortest time between two places, in seconds: places are cells of some hundred metres, neighbours prove nothing.
_SHORTEST_S = 60.0


def answer(pasts: LogPasts, one: Aggregate) -> Answer:
    """
    Return the values of an aggregate: shape (batch,), and where it has anything to say.
    """
    return _ANSWERS[one.function](pasts.window(one), one)


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
    own = window.pasts.current.words[one.argument] != 0
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
    own = window.pasts.current.words[PLACE]
    known = (newest >= 0) & (own != 0)
    place = np.where(known, newest & (1 << PLACE_BITS) - 1, 0)
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
    place = np.where(newest >= 0, newest & (1 << PLACE_BITS) - 1, 0)
    return window.pasts.fraud[place].astype(np.float64), window.known


def _time_since_fraud(window: Window, _: Aggregate) -> Answer:
    newest = window.newest(window.inside & window.pasts.fraud)
    return (window.pasts.now - (newest >> PLACE_BITS)).astype(np.float64), newest >= 0


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
