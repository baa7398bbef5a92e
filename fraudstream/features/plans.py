"""
What the aggregates over one kind of log look at, worked out once for a set of features: which share events, and which a window.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.syntax import Aggregate, Expression

#: Stands for no bound on the newest events of a window.
ALL = 1 << 40


@dataclass(frozen=True)
class Windows:
    """
    The windows over events that share a condition, as indices into the bounds of a plan: where each begins and where it ends.

    ``where`` and ``same`` are the condition. ``current`` says which windows include the transaction itself, ``newest`` how many
    events each keeps at most; both are None where it is the same of all: no, and all of them. Shapes (windows,), (windows, 1).
    """

    where: Expression | None
    same: tuple[str, ...]
    low: NDArray[np.intp]
    high: NDArray[np.intp]
    current: NDArray[np.bool_] | None
    newest: NDArray[np.int64] | None


@dataclass(frozen=True)
class LogPlan:
    """
    ``edges``: how many seconds before the transaction anything begins or ends, falling. Bounds are those, then the first event.

    ``windows``: by condition. ``places``: per column which of these, and which window in it.
    """

    edges: tuple[int, ...]
    windows: tuple[Windows, ...]
    places: Mapping[int, tuple[int, int]]


def log_plan(columns: Iterable[tuple[int, Aggregate]]) -> LogPlan:
    """
    Return the plan for aggregates over one kind of log, given with their columns.
    """
    pairs = list(columns)
    edges = sorted({edge for _, one in pairs for edge in (one.delayed_s, _end(one)) if edge is not None}, reverse=True)
    conditions: dict[object, tuple[Aggregate, dict[tuple[int, int, bool, int], int]]] = {}
    places: dict[int, tuple[int, int]] = {}
    for column, one in pairs:
        # With or without the transaction itself: that is where the window ends, and no condition.
        _, runs = conditions.setdefault(one.selection[:-1], (one, {}))
        end = _end(one)
        low = len(edges) if end is None else edges.index(end)
        run = (low, edges.index(one.delayed_s), one.including_current, ALL if one.newest is None else one.newest)
        places[column] = list(conditions).index(one.selection[:-1]), runs.setdefault(run, len(runs))
    return LogPlan(tuple(edges), tuple(_windows(one, list(runs)) for one, runs in conditions.values()), places)


def _windows(one: Aggregate, runs: list[tuple[int, int, bool, int]]) -> Windows:
    low, high, current, newest = zip(*runs, strict=True)
    return Windows(
        where=one.where,
        same=one.same,
        low=np.array(low, np.intp),
        high=np.array(high, np.intp),
        current=np.array(current, np.bool_)[:, None] if any(current) else None,
        newest=np.array(newest, np.int64)[:, None] if min(newest) < ALL else None,
    )


def _end(one: Aggregate) -> int | None:
    return None if one.over_s is None else one.delayed_s + one.over_s
