"""
A source read ahead in a thread of its own, so that a slow file or an idle pipe never holds up the event loop.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from fraudstream.producers.labelled import Labelled

#: How long a batch that is not full waits for more, in seconds: enough for a file, hardly felt at a pipe.
_LINGER_S = 0.05
#: Batches that are read ahead.
_AHEAD = 4
#: More rows than there ever are: nobody waits.
_NEVER = float("inf")


class Feed:
    """
    Batches of a source, full ones while it is fast, smaller ones while it is slow.

    An error of the source comes out of ``take`` once everything read before it was taken. Leaving the block stops the reading
    at the next transaction; a source that blocks for ever keeps its thread until the process ends.
    """

    def __init__(self, source: Iterable[Labelled | bytes], *, batch: int) -> None:
        self._source = source
        self._batch = batch
        self._rows: deque[Labelled | bytes] = deque()
        self._room = threading.Condition()
        self._ended = False
        self._left = False
        self._error: BaseException | None = None
        self._awaited = _NEVER
        self._loop = asyncio.get_running_loop()
        self._enough = asyncio.Event()

    async def __aenter__(self) -> Self:
        threading.Thread(target=self._read, name="producer-feed", daemon=True).start()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with self._room:
            self._left = True
            self._room.notify()

    async def take(self) -> list[Labelled | bytes]:
        """
        Return up to a batch of transactions; none at all means that the source has ended.
        """
        if not self._ready(self._batch):
            await self._until(1)
            with contextlib.suppress(TimeoutError):  # what came in that time is the batch
                await asyncio.wait_for(self._until(self._batch), _LINGER_S)
        with self._room:
            taken = [self._rows.popleft() for _ in range(min(self._batch, len(self._rows)))]
            if self._has_room():
                self._room.notify()
        if not taken and self._error is not None:
            raise self._error
        return taken

    async def _until(self, count: int) -> None:
        """
        Wait until so many transactions lie ready, or no more will come.
        """
        while not self._ready(count):  # a wake-up that was meant for an earlier wait may still come
            await self._enough.wait()

    def _ready(self, count: int) -> bool:
        """
        Say whether so many lie ready, or no more will come; else the reader wakes us up.
        """
        with self._room:
            self._enough.clear()
            # First what is waited for, then a look: the reader adds a row first and then looks at what is waited for.
            self._awaited = count
            ready = self._ended or len(self._rows) >= count
            if ready:
                self._awaited = _NEVER
            return ready

    def _read(self) -> None:
        full = _AHEAD * self._batch
        try:
            for row in self._source:
                if self._left:
                    return
                # One thread adds and one takes: no row needs the lock, which would cost more than the row.
                self._rows.append(row)
                if len(self._rows) >= self._awaited or len(self._rows) >= full:
                    self._pause()
        except BaseException as error:  # noqa: BLE001 (whatever ends the source is raised where it is awaited)
            self._error = error
        finally:
            with self._room:
                self._ended = True
                self._wake()

    def _pause(self) -> None:
        """
        Wake who waits for what is there now, and wait while it is too much.
        """
        with self._room:
            if len(self._rows) >= self._awaited:
                self._wake()
            self._room.wait_for(self._has_room)

    def _has_room(self) -> bool:
        # Not at once when there is room for one: a thread that wakes up costs as much as some hundred rows.
        return self._left or len(self._rows) <= _AHEAD * self._batch // 2

    def _wake(self) -> None:
        self._awaited = _NEVER
        if not self._left:
            self._loop.call_soon_threadsafe(self._enough.set)
