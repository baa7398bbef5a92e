"""
Long steps of several batches on one event loop: one in each round of it, and between two of them whatever else is ready.
"""

import asyncio
from collections import deque

#: Steps that took so long together make a round long enough, in seconds: what is left waits for the next.
LONG_S = 0.002


class Turns:
    """
    Who is next among those that share an event loop. Used on that loop only.

    A loop runs everything that is ready before it looks at its sockets and timers again. The batches in hand of all groups
    of a process are often ready at the same moment, each for several milliseconds of arithmetic: together they keep
    replies, timers and what others wait for from their turn for as long as all of them take. Here the first goes on at once
    and each of the others in a round of its own, in the order of asking.
    """

    def __init__(self) -> None:
        self._spent_s = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._counting = False

    @property
    def over(self) -> bool:
        """
        Whether this round has been long enough: whoever has something to do should wait for ``another``.
        """
        return self._spent_s >= LONG_S

    def took(self, seconds: float) -> None:
        """
        Say that a step of so many seconds was made in this round.
        """
        self._spent_s += seconds
        self._count()

    async def another(self) -> None:
        """
        Wait for a round with nobody's step in it.
        """
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._count()
        await mine

    def _count(self) -> None:
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._next_round)

    def _next_round(self) -> None:
        """
        Begin a round: it belongs to the first that waits, or to anybody.
        """
        self._spent_s, self._counting = 0.0, False
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                self.took(LONG_S)  # it is woken in this round, and nobody else is
                return
