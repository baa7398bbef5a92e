"""
Windows over event logs, for a whole batch at once: which events an aggregate looks at.

A past stands in the order of time, so every window of a row is one run of events, found by two searches, and what adds up over
it is a difference of two running sums. Sums of amounts are sums of integers below 2^53 and therefore exact in any order.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from fraudstream.features.columns import RowColumns
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.evaluate import holds
from fraudstream.features.past import Ints, Mask, Past
from fraudstream.features.states import Standing
from fraudstream.features.syntax import Aggregate
from fraudstream.features.windows import Selection, Window


class LogPasts:
    """
    The pasts of one kind of entity, for every row of a batch.
    """

    def __init__(
        self, features: FeatureSet, kind: str, rows: RowColumns, standings: Sequence[Standing], logs: Sequence[bytes]
    ) -> None:
        self._past = Past(features.layouts[kind], kind, rows, standings, logs)
        edges = {edge for _, one in features.aggregates[kind] for edge in (one.delayed_s, _end(one)) if edge is not None}
        self._edges = sorted(edges, reverse=True)
        self._selections: dict[object, Selection] = {}
        self._windows: dict[object, Window] = {}

    def window(self, one: Aggregate) -> Window:
        """
        Return the events in an aggregate's window; aggregates that look at the same ones share it.
        """
        key = (one.selection, one.delayed_s, one.over_s, one.newest)
        found = self._windows.get(key)
        if found is None:
            found = self._windows[key] = self._selection(one).window(*self._between(one), one.newest)
        return found

    def _selection(self, one: Aggregate) -> Selection:
        # With or without the transaction itself: that is where the window ends, and no condition.
        key = one.selection[:-1]
        found = self._selections.get(key)
        if found is None:
            found = self._selections[key] = Selection(self._past, self._chosen(one))
        return found

    @cached_property
    def _places(self) -> dict[int, Ints]:
        return dict(zip(self._edges, self._past.first_after(self._edges), strict=True))

    def _between(self, one: Aggregate) -> tuple[Ints, Ints]:
        """
        Return where the window of an aggregate begins and ends, per row, with or without the transaction itself.
        """
        past, end = self._past, _end(one)
        low = past.starts if end is None else self._places[end]
        high = self._places[one.delayed_s]
        # Of its own second the transaction came last: what stands before it is its past, what stands behind it is later.
        without = np.minimum(high, past.own)
        return low, np.where(past.present, high, without) if one.including_current else without

    def _chosen(self, one: Aggregate) -> Ints | None:
        """
        Return the places of the events under an aggregate's condition, None for all.
        """
        if one.where is None and not one.same:
            return None
        columns, size = self._past.columns, len(self._past.table)
        mask: Mask = np.ones(size, np.bool_) if one.where is None else holds(one.where, columns, size)
        for name in one.same:
            mask = mask & self._past.like_current(name) & (self._past.word(name) != 0)
        return np.flatnonzero(mask)


def _end(one: Aggregate) -> int | None:
    return None if one.over_s is None else one.delayed_s + one.over_s
