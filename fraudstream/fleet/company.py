"""
Who works beside whom in one process, so that the death of a process can be laid at one door.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: How long one that wants to be alone holds up the others while it waits for those at work to finish, in seconds.
_PATIENCE_S = 0.5


class Company:
    """
    All work of one process, whatever its group: as much at once as there is, or one piece alone.

    Args:
        patience_s: How long one that wants to be alone waits for what is at work, while nothing else begins.
    """

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._at_work = 0
        self._turn = asyncio.Lock()
        self._open, self._empty = asyncio.Event(), asyncio.Event()
        self._open.set()
        self._empty.set()

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """
        Work beside others. Never enter it twice at the same time from one task.
        """
        while not self._open.is_set():
            await self._open.wait()
        self._at_work += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """
        Work alone, one after the other; False where what is at work did not end in time: then it is work beside others.
        """
        async with self._turn:
            self._open.clear()
            try:
                if await self._emptied():
                    yield True
                    return
            finally:
                self._open.set()
        async with self.beside():
            yield False

    async def _emptied(self) -> bool:
        try:
            await asyncio.wait_for(self._empty.wait(), self._patience_s)
        except TimeoutError:
            return False
        return True
