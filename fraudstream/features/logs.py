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
from fraudstream.features.plans import Windows
from fraudstream.features.states import Standing
from fraudstream.features.windows import Selection, Window


class LogPasts:
    """
    The pasts of one kind of entity, for every row of a batch.
    """

    def __init__(
        self, features: FeatureSet, kind: str, rows: RowColumns, standings: Sequence[Standing], logs: Sequence[bytes]
    ) -> None:
        self._past = Past(features.layouts[kind], kind, rows, standings, logs)
        self._plan = features.log_plans[kind]
        self._windows: list[list[Window] | None] = [None] * len(self._plan.windows)

    def window(self, column: int) -> Window:
        """
        Return the events in the window of a column's aggregate; aggregates that look at the same ones share it.
        """
        which, place = self._plan.places[column]
        found = self._windows[which]
        if found is None:
            found = self._windows[which] = self._found(self._plan.windows[which])
        return found[place]

    @cached_property
    def _bounds(self) -> Ints:
        """
        The places that windows can begin and end at: shape (edges + 1, batch).
        """
        return np.vstack([self._past.first_after(self._plan.edges), self._past.starts])

    def _found(self, windows: Windows) -> list[Window]:
        """
        Find all windows under one condition at once, per row, with or without the transaction itself.
        """
        past, bounds = self._past, self._bounds
        low, high = bounds[windows.low], bounds[windows.high]
        # Of its own second the transaction came last: what stands before it is its past, what stands behind it is later.
        without = np.minimum(high, past.own)
        high = without if windows.current is None else np.where(windows.current & past.present, high, without)
        return Selection(past, self._chosen(windows)).windows(low, high, windows.newest)

    def _chosen(self, one: Windows) -> Ints | None:
        """
        Return the places of the events under a condition, None for all.
        """
        if one.where is None and not one.same:
            return None
        columns, size = self._past.columns, len(self._past.table)
        mask: Mask = np.ones(size, np.bool_) if one.where is None else holds(one.where, columns, size)
        for name in one.same:
            mask = mask & self._past.like_current(name) & (self._past.word(name) != 0)
        return np.flatnonzero(mask)
