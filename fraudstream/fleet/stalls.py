"""
How long the loop of a worker is held up, and whether a change that was taken over meanwhile can be the reason.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

#: Pause between two looks, in seconds: no stall of twice that length is missed.
FEEL_EVERY_S = 0.02
#: How long a thread may go on while another one waits for the interpreter, in seconds. Python's own 5 ms are paid each time
#: that the loop comes back from a call to the system, a dozen times per batch, while a thread builds rules or reads a list.
SWITCH_EVERY_S = 0.0005
#: What is built between the batches gets a slice of half the time that passed since the slice before, at least and at most so
#: many seconds of CPU, and leaves the loop alone for a moment after it. A batch goes round the loop some twenty times: one
#: that met two milliseconds of building in each round came forty later, at a rate at which nothing else waited.
_SHARE, _SHORTEST_S, SLICE_S, _REST_S = 1 / 2, 0.0005, 0.004, 0.002


class Spent(NamedTuple):
    """
    What the loop's thread spent so far, in seconds: by the clock, and of it waiting for a core that others had.
    """

    clock_s: float
    queued_s: float


class Stall(NamedTuple):
    """
    One look at the loop.

    ``late_s`` is how much later than asked it woke us up; ``own_s`` what is left of that when its waiting for a core is taken
    off: what a machine with a free core would have seen. ``change_s`` is the most of it that a change can have caused: the time
    that the loop worked for one. ``changing`` says that a change was under way at some moment since the look before.
    """

    late_s: float
    own_s: float
    change_s: float
    changing: bool


class Changes:
    """
    What is being taken over beside the batches, so that a stall can be told to have met it.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._open = 0
        self.cpu_s = 0.0

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """
        Take something over.
        """
        self._begun += 1
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """
        Work for a change on the loop; its CPU is added to ``cpu_s``.
        """
        began_s = time.thread_time()
        try:
            yield
        finally:
            self.cpu_s += time.thread_time() - began_s

    def over(self) -> int:
        """
        Return how many are over: the mark that ``since`` wants.
        """
        return self._begun - self._open

    def since(self, mark: int) -> bool:
        """
        Say whether any was under way at some moment since a mark.
        """
        return self._begun != mark


def share_the_interpreter() -> None:
    """
    Let threads that build something hold the loop up as little as can be.
    """
    sys.setswitchinterval(SWITCH_EVERY_S)


async def in_slices(steps: Generator[None, None, _T], changes: Changes) -> _T:
    """
    Take small steps between the batches, and return what they come to: one second of CPU takes three by the clock.

    Not in a thread: it would ask for the interpreter all the time, and where the machine takes the core from it while it has
    it, the loop waits as well, for as long as others want that core.

    Args:
        steps: The work.
        changes: Told of the CPU that each slice takes.
    """
    others_s = 0.0
    while True:
        try:
            with changes.at_work():
                until_s = time.thread_time() + min(max(others_s * _SHARE, _SHORTEST_S), SLICE_S)
                while time.thread_time() < until_s:
                    next(steps)
        except StopIteration as end:
            value: _T = end.value
            return value
        ended_s = time.monotonic()
        await asyncio.sleep(_REST_S)
        others_s = time.monotonic() - ended_s


async def feel_stalls(
    stop: asyncio.Event,
    told: Callable[[Stall], None],
    *,
    spent: Callable[[], Spent],
    changes: Changes,
    every_s: float = FEEL_EVERY_S,
) -> None:
    """
    Tell, again and again until told to stop, how much too late the loop woke us up.

    Args:
        stop: Ends it.
        told: Given each look.
        spent: What was spent so far; called on the loop.
        changes: What is taken over meanwhile.
        every_s: Pause between two looks.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    before, change_s, mark = spent(), changes.cpu_s, changes.over()

    def look() -> None:
        nonlocal before, change_s, mark
        now = spent()
        late_s = max(0.0, now.clock_s - before.clock_s - every_s)
        own_s = max(0.0, late_s - (now.queued_s - before.queued_s))
        told(Stall(late_s, own_s, min(late_s, changes.cpu_s - change_s), changes.since(mark)))
        before, change_s, mark = now, changes.cpu_s, changes.over()
        if stop.is_set():
            ended.set_result(None)
        else:
            loop.call_later(every_s, look)

    # A task that sleeps would cost three times as much, fifty times a second in every worker.
    loop.call_later(every_s, look)
    await ended
