"""
One group lets the other go first: features are computed once, and both verdicts rest on the same vector from the start.

Without it both groups, neck and neck, would read the same states and compute the same features. Nothing depends on it: a
group that finds nothing to follow in time computes for itself.
"""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

#: How long what is judged waits for the rest of its batch.
_LONG_AGO_S = 0.04


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long a batch waits for the other group's verdicts.

    It looks again after ``look_s``, later after a quarter of what it has waited, for ``longest_s`` in all. After ``misses``
    batches in a row that found nothing the group that leads is taken for absent, and nobody waits for ``rest_s``.
    """

    longest_s: float = 0.15
    look_s: float = 0.002
    misses: int = 3
    rest_s: float = 1.0


class Look(NamedTuple):
    """
    One look of a batch: the seconds to wait for it, and whether it is the last.
    """

    pause_s: float
    last: bool


class Begun:
    """
    Since when the first of a batch is seen to be judged: its deadline runs while the others are waited for.

    ``told`` is how much of the news the last look knew.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.told = -1
        self._clock = clock
        self._first: object = None
        self._since_s = 0.0

    def long_ago(self, first: object, *, judged: bool) -> bool:
        """
        Say whether the first has been judged for so long that the others are not waited for.
        """
        if not judged:
            return False
        if self._first is not first:
            self._first, self._since_s = first, self._clock()
        return self._clock() - self._since_s >= _LONG_AGO_S


class Following:
    """
    When to look for the other group's verdicts: it learns how long they take.
    """

    def __init__(self, patience: Patience | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience or Patience()
        self._clock = clock
        self._expected_s = self._patience.look_s
        self._missed = 0
        self._rests_until_s = 0.0

    def looks(self) -> Iterator[Look]:
        """
        Yield the looks of one batch; ends when waiting is over.

        Stop the iteration once everything was found. A first look that finds nothing makes later batches begin later.
        """
        longest_s, began = self._patience.longest_s, self._clock()
        if began < self._rests_until_s:
            yield Look(0.0, last=True)
            return
        pause_s, waited_s = self._expected_s, 0.0
        while waited_s < longest_s:
            # Whoever found everything at the first look never comes to the second: sooner might have done.
            if waited_s:
                self._expected_s += (min(waited_s, longest_s / 2) - self._expected_s) / 8
                pause_s = min(max(self._patience.look_s, waited_s / 4), longest_s - waited_s)
            yield Look(pause_s, last=waited_s + pause_s >= longest_s)
            waited_s = max(self._clock() - began, waited_s + pause_s)

    def found(self, transactions: int) -> None:
        """
        Note how many of a batch's transactions could be followed.
        """
        if transactions:
            self._missed = 0
            self._expected_s = max(self._patience.look_s / 4, self._expected_s * 0.97)
            return
        self._missed += 1
        if self._missed >= self._patience.misses:
            self._rests_until_s = self._clock() + self._patience.rest_s
