"""
The aggregates over event logs, each as a few whole-array steps over the events of its window.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.definitions import PLACE
from fraudstream.features.logs import LogPasts
from fraudstream.features.past import Floats, Ints, Mask
from fraudstream.features.syntax import Aggregate
from fraudstream.features.windows import Window
from fraudstream.features.words import position

#: The values of one feature, and where there are any.
Answer = tuple[Floats, Mask]

#: Mean radius of the earth in kilometres (IUGG 1980).
_EARTH_KM = 6_371.0088
#: Shortest time between two places, in seconds: places are cells of some hundred metres, neighbours prove nothing.
_SHORTEST_S = 60.0


def answer(pasts: LogPasts, column: int, one: Aggregate) -> Answer:
    """
    Return the values of a column's aggregate: shape (batch,), and where it has anything to say.
    """
    return _ANSWERS[one.function](pasts.window(column), one)


def _count(window: Window, _: Aggregate) -> Answer:
    return window.count, window.known


def _sum(window: Window, _: Aggregate) -> Answer:
    return window.sum, window.known


def _avg(window: Window, _: Aggregate) -> Answer:
    return window.shared(window.sum), window.known


def _min(window: Window, _: Aggregate) -> Answer:
    return window.extreme(np.minimum), window.known


def _max(window: Window, _: Aggregate) -> Answer:
    return window.extreme(np.maximum), window.known


def _stddev(window: Window, _: Aggregate) -> Answer:
    """
    Return the standard deviation of the population, from whole numbers where those are small enough.
    """
    spread, exact = window.spread
    return (spread if exact.all() else np.where(exact, spread, _two_passes(window))), window.known


def _two_passes(window: Window) -> Floats:
    """
    Return the standard deviation of the population, in two passes: the mean first, then the squares of what is left.
    """
    mean = window.shared(window.sum)
    left = window.selection.minor[window.in_arrival()] - mean[window.rows]
    # One by one in the order of arrival, whatever else is in the batch: the last bit depends on it.
    squares = np.bincount(window.rows, left * left, minlength=window.past.rows)
    return np.sqrt(window.shared(squares.astype(np.float64)))


def _median(window: Window, _: Aggregate) -> Answer:
    return window.median, window.known


def _ratio_to_baseline(window: Window, _: Aggregate) -> Answer:
    usable = window.known & (window.median > 0)
    return window.past.current.amounts / np.where(usable, window.median, 1.0), usable


def _rank(window: Window, _: Aggregate) -> Answer:
    """
    Return the share of the window's amounts that are smaller than the transaction's own.
    """
    smaller = window.selection.minor[window.places] < window.past.current.amounts[window.rows]
    return window.shared(window.counted(smaller)), window.known


def _distinct(window: Window, one: Aggregate) -> Answer:
    word = window.at(window.past.word(one.argument), window.places)
    seen = (window.rows << 32 | word)[word != 0]
    seen.sort()
    first = np.concatenate(([True], seen[1:] != seen[:-1])) if len(seen) else np.empty(0, np.bool_)
    return np.bincount(seen[first] >> 32, minlength=window.past.rows).astype(np.float64), window.known


def _is_new(window: Window, one: Aggregate) -> Answer:
    before = window.last_of(window.selection.alike(one.argument))
    own = window.past.current.words[one.argument] != 0
    return (before < 0).astype(np.float64), own & window.known


def _age(window: Window, place: Ints) -> Floats:
    """
    Return how many seconds before the transaction an event took place, per row.
    """
    age = window.past.current.occurred_s - window.at(window.past.time, place)
    return np.asarray(age, np.float64)


def _time_since_last(window: Window, _: Aggregate) -> Answer:
    return _age(window, window.newest), window.known


def _first_seen(window: Window, _: Aggregate) -> Answer:
    known = window.known
    return np.where(known, _age(window, np.where(known, window.low, 0)), 0.0), known


def _speed_kmh(window: Window, _: Aggregate) -> Answer:
    """
    Return the speed from the newest known place to the transaction's own, by the haversine formula.
    """
    cells, newest = window.past.table[PLACE], window.newest
    if (window.at(cells, newest) == 0).any():
        newest = window.last_of(np.flatnonzero(window.selection.of(cells)))
    newest = np.where(window.known, newest, -1)
    own = window.past.current.words[PLACE]
    known = (newest >= 0) & (own != 0)
    place = np.where(known, newest, 0)
    return _per_hour(haversine_km(window.at(cells, place), own), _age(window, place)), known


def speeds_kmh(cells: NDArray[np.uint32], ages: Floats, own: NDArray[np.uint32]) -> Answer:
    """
    Return the speeds from earlier places to the transactions' own, and where there are any: shape (speeds, batch).

    Args:
        cells: Shape (speeds, batch), where each was, 0 where that is unknown.
        ages: Shape (speeds, batch), how many seconds before.
        own: Shape (batch,), where each transaction took place; known wherever ``cells`` is.
    """
    return _per_hour(haversine_km(cells, own), ages), np.asarray(cells != 0)


def _per_hour(distance_km: Floats, age_s: Floats) -> Floats:
    return np.asarray(distance_km / (np.maximum(age_s, _SHORTEST_S) / 3_600.0))


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
    return window.at(window.past.fraud, window.newest).astype(np.float64), window.known


def _time_since_fraud(window: Window, _: Aggregate) -> Answer:
    fraud = window.last_of(window.selection.frauds)
    return _age(window, np.maximum(fraud, 0)), fraud >= 0


def _clean_since_fraud(window: Window, _: Aggregate) -> Answer:
    fraud = window.last_of(window.selection.frauds)
    return (window.high - 1 - fraud).astype(np.float64), fraud >= 0


def _run_length(window: Window, one: Aggregate) -> Answer:
    label, known = _last_label(window, one)
    selection = window.selection
    other = np.where(label != 0, window.last_of(selection.not_frauds), window.last_of(selection.frauds))
    return (window.high - 1 - np.maximum(other, window.low - 1)).astype(np.float64), known


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
