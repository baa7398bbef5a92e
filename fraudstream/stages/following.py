"""
One group lets the other go first: features are computed once, and both verdicts rest on the same vector from the start.

Without it both groups, neck and neck, would read the same states and compute the same features. Nothing depends on it: a
group that finds nothing to follow in time computes for itself.
"""

import time
from collections.abc import Callable, Iterator

import msgspec


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long a batch waits for the other group's verdicts.

    It looks again every ``look_s``, for ``longest_s`` in all. After ``misses`` batches in a row that found nothing the group
    that leads is taken for absent, and nobody waits for ``rest_s``.
    """

    longest_s: float = 0.04
    look_s: float = 0.002
    misses: int = 3
    rest_s: float = 1.0


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

    def looks(self) -> Iterator[float]:
        """
        Yield, before each look of one batch, how many seconds to wait for it; ends when waiting is over.

        Stop the iteration once everything was found. A first look that finds nothing makes later batches begin later.
        """
        began = self._clock()
        if began < self._rests_until_s:
            yield 0.0
            return
        yield self._expected_s
        # Whoever found everything at the first look never comes here: sooner might have done.
        while (waited_s := self._clock() - began) < self._patience.longest_s:
            yield self._patience.look_s
            self._expected_s += (min(waited_s, self._patience.longest_s / 2) - self._expected_s) / 8

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
