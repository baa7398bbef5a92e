"""
Tasks that wait for the next piece of news, or for so long.
"""

import asyncio


class Waiters:
    """
    Everybody who waits for the same thing. Used on one event loop.
    """

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """
        Let everybody go on who waits now.
        """
        for waiting in self._waiting:
            _wake(waiting)

    async def until(self, until_s: float) -> None:
        """
        Wait for the next ``wake``, or until this time of the loop.
        """
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        late = loop.call_at(until_s, _wake, mine)
        self._waiting.add(mine)
        try:
            await mine
        finally:
            self._waiting.discard(mine)
            late.cancel()


def _wake(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
