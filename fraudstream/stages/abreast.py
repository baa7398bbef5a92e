"""
The group that goes first waits for the one that follows: a verdict sets the clock of the other one's deadline.

Where payments come faster than both groups are through with them, the first would note one verdict after the other, the second
come to them a quarter of a second later, and its halves of the decisions be given up. While verdicts are noted no faster than
they are joined, payments wait where no deadline runs, in the stream. Nothing depends on it: without it decisions come degraded.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from fraudstream.domain.errors import TransientError

#: The entry ids from which to which some verdicts are, in the order of the stream.
Span = tuple[bytes, bytes]
#: The part of the deadline that verdicts may wait for the other group before no more are noted.
_PATIENCE = 0.4
#: Seconds between two looks, and how long nobody is waited for who was waited for in vain.
_LOOK_S, _REST_S = 0.005, 2.0


class _Noted(NamedTuple):
    """
    Whose verdicts were noted, and when.
    """

    span: Span
    at_s: float


class Abreast:
    """
    Holds first verdicts back while earlier ones wait for the other group.

    One that is through with later ones has left a straggler behind, which others look after. A group that lets a whole deadline
    pass is taken for absent: others step in for it, and nobody waits for a while.

    Args:
        joined: Says of each span whether the other group is through with it.
        deadline_s: How long the other group has for its half of a decision.
    """

    def __init__(
        self,
        joined: Callable[[Sequence[Span]], Awaitable[list[bool]]],
        *,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._joined = joined
        self._deadline_s = deadline_s
        self._clock = clock
        self._noted: list[_Noted] = []
        self._looking = asyncio.Lock()  # or one batch would drop what another one's answer was about
        self._rests_until_s = 0.0

    def noted(self, span: Span) -> None:
        """
        Note that first verdicts are there for the other group to join.
        """
        if self._clock() >= self._rests_until_s:
            self._noted.append(_Noted(span, self._clock()))

    async def come_close(self) -> None:
        """
        Return when no verdict waits for the other group for long, or waiting is of no use.
        """
        async with self._looking:
            await self._come_close()

    async def _come_close(self) -> None:
        while self._oldest_s() >= self._deadline_s * _PATIENCE:
            try:
                joined = await self._joined([one.span for one in self._noted])
            except TransientError:
                return  # who completes meets it again, and is told of it
            if True in joined:
                del self._noted[: len(joined) - joined[::-1].index(True)]
            if self._oldest_s() >= self._deadline_s:
                self._noted.clear()
                self._rests_until_s = self._clock() + _REST_S
            elif self._oldest_s() >= self._deadline_s * _PATIENCE:
                await asyncio.sleep(_LOOK_S)

    def _oldest_s(self) -> float:
        """
        Return for how long the oldest verdicts that may be open have been there.
        """
        return self._clock() - self._noted[0].at_s if self._noted else 0.0
