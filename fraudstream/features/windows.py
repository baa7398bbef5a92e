"""
Runs of events: those that aggregates look at (selections), and of them those in a window.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.past import Floats, Ints, Mask, Past

#: Bits of the narrower numbers.
_NARROW_BITS = 32
#: A table may be so many times as large as what is in it.
_WASTE = 4
#: Below this whole numbers are computed with as they are: half of what 64 bits hold.
_EXACT_BELOW = 2.0**62


class Selection:
    """
    Some of the events of a past, in its order: all, or those at the places ``chosen``.
    """

    def __init__(self, past: Past, chosen: Ints | None) -> None:
        self.past = past
        self._chosen = chosen
        self._alike: dict[str, Ints] = {}

    def windows(self, low: Ints, high: Ints, newest: Ints | None) -> "list[Window]":
        """
        Return runs of events between two places of the past, per window and row: shape (windows, batch); or the newest of them.
        """
        if self._chosen is not None:
            low, high = np.searchsorted(self._chosen, low), np.searchsorted(self._chosen, high)
        high = np.maximum(low, high)
        if newest is not None:
            low = np.maximum(low, high - newest)
        sizes = high - low
        parts = zip(low, high, sizes, sizes.astype(np.float64), sizes > 0, strict=True)
        return [Window(self, *part) for part in parts]

    def of(self, column: NDArray[Any]) -> NDArray[Any]:
        """
        Return the selected events' part of a column of the past.
        """
        return column if self._chosen is None else column[self._chosen]

    @cached_property
    def minor(self) -> Ints:
        """
        Amount of each event, minor units.
        """
        return self.of(self.past.minor)

    @cached_property
    def amounts_until(self) -> Ints:
        """
        Sum of the amounts before each event, and of all of them. It may overflow: differences of two are right all the same.
        """
        sums = np.zeros(len(self.minor) + 1, np.int64)
        np.cumsum(self.minor, out=sums[1:])
        return sums

    @cached_property
    def squares_until(self) -> Ints:
        """
        Sum of the squares of the amounts before each event, and of all of them; it overflows as the sum of the amounts may.
        """
        sums = np.zeros(len(self.minor) + 1, np.int64)
        np.cumsum(self.minor * self.minor, out=sums[1:])
        return sums

    @cached_property
    def frauds(self) -> Ints:
        """
        Places of the events labelled fraud.
        """
        return np.flatnonzero(self.of(self.past.fraud))

    @cached_property
    def not_frauds(self) -> Ints:
        """
        Places of the other events.
        """
        return np.flatnonzero(~self.of(self.past.fraud))

    def alike(self, name: str) -> Ints:
        """
        Return the places of the events in which a field is that of the transaction whose past they are.
        """
        if name not in self._alike:
            self._alike[name] = np.flatnonzero(self.of(self.past.like_current(name)))
        return self._alike[name]


@dataclass(eq=False)
class Window:
    """
    A run of a selection's events for each row: those at the places from ``low`` to before ``high``.

    ``count``: how many they are. ``known``: whether there is any.
    """

    selection: Selection
    low: Ints
    high: Ints
    _sizes: Ints
    count: Floats
    known: Mask

    @cached_property
    def past(self) -> Past:
        """
        The past that they are of.
        """
        return self.selection.past

    @cached_property
    def newest(self) -> Ints:
        """
        Place of the newest event, per row; any place where there is none.
        """
        return np.maximum(self.high - 1, 0)

    @cached_property
    def sum(self) -> Floats:
        """
        Amounts of the window in minor units, per row.
        """
        until = self.selection.amounts_until
        return (until[self.high] - until[self.low]).astype(np.float64)

    @cached_property
    def rows(self) -> Ints:
        """
        The row of each event in the window, one row after the other.
        """
        return np.repeat(np.arange(self.past.rows), self._sizes)

    @cached_property
    def places(self) -> Ints:
        """
        The place of each event in the window, one row after the other.
        """
        before = np.cumsum(self._sizes) - self._sizes
        places = np.repeat(self.low - before, self._sizes)
        places += np.arange(len(places))
        return places

    def at(self, column: NDArray[Any], places: Ints) -> NDArray[Any]:
        """
        Return a column of the past at places of the selection.
        """
        chosen = self.selection.of(column)
        return chosen[places] if len(chosen) else np.zeros(len(places), column.dtype)

    def extreme(self, function: np.ufunc) -> Floats:
        """
        Return the smallest or largest amount, per row; without meaning where there is none.
        """
        found = np.zeros(self.past.rows)
        known = self.known
        runs = np.empty(2 * np.count_nonzero(known), np.int64)
        runs[::2], runs[1::2] = self.low[known], self.high[known]
        if len(runs):
            # Behind the last event there is nothing to end at.
            runs = runs[:-1] if runs[-1] == len(self.selection.minor) else runs
            found[known] = function.reduceat(self.selection.minor, runs)[::2]
        return found

    @cached_property
    def median(self) -> Floats:
        """
        Middle amount of the window, or the mean of the two middle ones; without meaning where there is none.
        """
        amounts, widest = self.selection.minor, int(self._sizes.max(initial=0))
        if not widest:
            return np.zeros(self.past.rows)
        # Half as wide numbers are sorted in half the time.
        top = int(amounts.max())
        narrow: NDArray[Any] = amounts.astype(np.uint32) if top < 1 << _NARROW_BITS else amounts
        lower, upper = np.maximum(self._sizes - 1, 0) // 2, np.minimum(self._sizes // 2, widest - 1)
        middle = self._side_by_side(narrow, widest, top) if self._even(widest) else self._row_after_row(narrow, top)
        return np.asarray((middle(lower).astype(np.float64) + middle(upper)) / 2.0)

    def _even(self, widest: int) -> bool:
        """
        Say whether the windows are so much alike in size that a table as wide as the widest wastes little.
        """
        return self.past.rows * widest <= _WASTE * int(self._sizes.sum())

    def _side_by_side(self, amounts: NDArray[Any], widest: int, top: int) -> Callable[[Ints], NDArray[Any]]:
        """
        Sort the amounts of the windows in a table with a row each, filled up with the largest amount that there is.
        """
        steps = np.arange(widest)
        table = amounts.take(self.low[:, None] + steps, mode="clip")
        np.copyto(table, amounts.dtype.type(top), where=steps >= self._sizes[:, None])
        table.sort(axis=1)
        rows = np.arange(self.past.rows)
        return lambda place: table[rows, place]

    def _row_after_row(self, amounts: NDArray[Any], top: int) -> Callable[[Ints], NDArray[Any]]:
        """
        Sort the amounts of the windows one behind the other, in the low bits of numbers that grow with the row.
        """
        bits = top.bit_length()
        width = np.uint32 if bits + self.past.rows.bit_length() <= _NARROW_BITS else np.int64
        packed: NDArray[Any] = amounts.astype(width, copy=False)[self.places]
        packed |= np.repeat((np.arange(self.past.rows) << bits).astype(width), self._sizes)
        packed.sort()
        starts = np.cumsum(self._sizes) - self._sizes
        # Rows that have no event read another's.
        return lambda place: packed[np.minimum(starts + place, len(packed) - 1)] & (1 << bits) - 1

    @cached_property
    def spread(self) -> tuple[Floats, Mask]:
        """
        Standard deviation of the amounts as a population, per row, and where it may be used: where n times the sum of squares,
        less the square of the sum, fits whole numbers. Those have no order in which they must be added.
        """
        until, squares = self.selection.amounts_until, self.selection.squares_until
        total = until[self.high] - until[self.low]
        rest = self._sizes * (squares[self.high] - squares[self.low]) - total * total
        # No amount is negative, so n times the square of their sum is more than either side.
        exact = self.count * total.astype(np.float64) ** 2 < _EXACT_BELOW
        return np.sqrt(np.where(exact, rest, 0)) / np.maximum(self.count, 1.0), exact

    @cached_property
    def frauds(self) -> Floats:
        """
        Events of the window labelled fraud, per row.
        """
        return self.among(self.selection.frauds)

    def among(self, places: Ints) -> Floats:
        """
        Count the events that stand at some places of the selection, per row; the places rise.
        """
        return (np.searchsorted(places, self.high) - np.searchsorted(places, self.low)).astype(np.float64)

    def last_of(self, places: Ints) -> Ints:
        """
        Return the newest of some places of the selection that lies in the window, per row, -1 where none does.
        """
        if not len(places):
            return np.full(self.past.rows, -1, np.int64)
        place = places[np.maximum(np.searchsorted(places, self.high) - 1, 0)]
        return np.where((place >= self.low) & (place < self.high), place, -1)

    def counted(self, mask: Mask) -> Floats:
        """
        Count the window's events under a mask over them, per row.
        """
        return np.bincount(self.rows[mask], minlength=self.past.rows).astype(np.float64)

    def shared(self, part: Floats) -> Floats:
        """
        Divide by the number of events; without meaning where there is none.
        """
        return np.asarray(part / np.maximum(self.count, 1.0))

    def in_arrival(self) -> Ints:
        """
        Return the places of the window's events, row after row, each row's in the order of arrival.
        """
        arrival = self.past.arrival
        return self.places if arrival is None else self.places[np.argsort(self.selection.of(arrival)[self.places])]
