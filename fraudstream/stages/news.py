"""
What is heard of first verdicts, so that whoever follows them need not look again and again: a look costs a round trip.

It is a hint and nothing rests on it. Whoever hears nothing looks now and then as without it, and who then finds what nobody
told of takes the teller for gone.
"""

import asyncio

from fraudstream.stages.waiters import Waiters

#: Where an entry stands in the stream.
Order = tuple[int, int]
#: After so many finds that nobody told of, with nothing heard between them, nobody is expected to tell.
_GONE = 3


class News:
    """
    Up to where in the stream first verdicts were noted, as far as it was heard. Used on one event loop.

    ``listening`` says whether there is anybody who would tell. ``told`` counts what was heard.
    """

    def __init__(self) -> None:
        self.listening = False
        self.told = 0
        self.latest: Order = (0, 0)
        self._waiting = Waiters()
        self._untold = 0

    def heard(self, order: Order) -> None:
        """
        Note that first verdicts are there, the last of them on this entry.
        """
        self.told += 1
        self._untold = 0
        self.latest = max(self.latest, order)
        self._waiting.wake()

    def untold(self, order: Order) -> None:
        """
        Note that a verdict was found on this entry. One that was not heard of may still be on its way; of several in a row
        there is nobody who tells.
        """
        if order > self.latest:
            self._untold += 1
            if self._untold >= _GONE:
                self.listening = False

    async def beyond(self, order: Order, told: int, within_s: float) -> bool:
        """
        Wait until something is heard that was not among the first ``told``, and verdicts are known of this entry or one behind.

        Returns:
            Whether that is so; False when so many seconds are over.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + within_s
        while self.told <= told or self.latest < order:
            if loop.time() >= until_s:
                return False
            await self._waiting.until(until_s)
        return True
