"""
A look at a whole system every second: memory of the server and of each worker, what lies in the streams, what waits.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec
import numpy as np

from fraudstream.adapters.redis_account import appended, sizes, waiting
from fraudstream.adapters.redis_client import connected
from fraudstream.app.connections import address
from fraudstream.app.local_system import DEMO_GROUPS, LocalSystem
from fraudstream.app.processes import rss_mb
from fraudstream.domain.errors import FraudstreamError

#: Redis as it counts itself, what of that is data, and the resident process; the other names are those of the workers.
REDIS, REDIS_DATA, REDIS_RESIDENT = "redis", "redis data", "redis resident"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """
    One look, ``at_s`` seconds after the first. ``memory_mb`` is by process; ``streams`` are entries, ``waiting`` those that a
    group has not finished, ``appended`` all that the raw stream ever got. While Redis is away the last three are empty.
    """

    at_s: float
    memory_mb: dict[str, float]
    streams: dict[str, int] = {}
    waiting: dict[str, int] = {}
    appended: int = 0


class Sampler:
    """
    Looks at a system for as long as it is entered; ``samples`` are there afterwards.

    Args:
        system: What is looked at; its processes may come and go.
        every_s: Seconds from one look to the next.
        told: Called after each look.
    """

    def __init__(self, system: LocalSystem, *, every_s: float = 1.0, told: Callable[[Sample], None] = lambda _: None) -> None:
        self._system = system
        self._every_s = every_s
        self._told = told
        self._stop = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self.samples: list[Sample] = []

    async def __aenter__(self) -> Self:
        """
        Begin to look.
        """
        self._looking = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Look no more.
        """
        self._stop.set()
        if self._looking is not None:
            await self._looking

    async def _look(self) -> None:
        began = time.monotonic()
        async with connected(address(self._system.settings()), connections=1) as client:
            while not self._stop.is_set():
                at_s = round(time.monotonic() - began, 2)
                memory = await asyncio.to_thread(self._memory)
                try:
                    held, open_entries = await sizes(client), await waiting(client, DEMO_GROUPS)
                    memory[REDIS], memory[REDIS_DATA] = round(held.used_bytes / 1e6, 2), round(held.data_bytes / 1e6, 2)
                    sample = Sample(
                        at_s=at_s, memory_mb=memory, streams=held.streams, waiting=open_entries, appended=await appended(client)
                    )
                except (FraudstreamError, OSError):  # away: that is a finding too
                    sample = Sample(at_s=at_s, memory_mb=memory)
                self.samples.append(sample)
                self._told(sample)
                try:
                    await asyncio.wait_for(self._stop.wait(), self._every_s)
                except TimeoutError:
                    continue

    def _memory(self) -> dict[str, float]:
        found = {f"{worker.groups} {number}": worker for number, worker in enumerate(self._system.workers, 1)}
        memory = {name: rss_mb(worker.pid) for name, worker in found.items() if worker.running}
        if self._system.valkey.running:
            memory[REDIS_RESIDENT] = rss_mb(self._system.valkey.pid)
        return memory


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """
    One curve: its first, last and highest value, and the straight line through its second half (least squares).

    ``growth`` is what that line rises from its beginning to its end; ``flat`` says whether that is within ``bound``.
    """

    name: str
    unit: str
    first: float
    last: float
    highest: float
    slope_per_minute: float
    growth: float
    bound: float
    flat: bool


def as_if_even(samples: Sequence[Sample], remembered_s: float) -> list[tuple[float, float]]:
    """
    Return the data in Redis, as (seconds, MB), as if as many payments had always been remembered as in the end.

    A payment is remembered for some time, so that what Redis holds goes with the rate of that time, and that with the speed of
    the machine. What one takes is what was there when the first was forgotten, divided by all that had come; what Redis takes
    for each for ever is in it once, and goes on growing.

    Args:
        samples: In order, from a system that remembered next to nothing at first; those without Redis are left out. Of a time
            in which nothing was forgotten the memory is returned as it is.
        remembered_s: For how long.
    """
    there = [one for one in samples if REDIS_DATA in one.memory_mb and one.appended]
    at_s = np.array([one.at_s for one in there])
    if at_s[-1] - at_s[0] < remembered_s:
        return [(one.at_s, one.memory_mb[REDIS_DATA]) for one in there]
    memory = np.array([one.memory_mb[REDIS_DATA] for one in there])
    came = np.array([one.appended for one in there], np.float64)
    remembered = came - np.interp(at_s - remembered_s, at_s, came, left=came[0])
    full = int(np.searchsorted(at_s, at_s[0] + remembered_s).clip(max=len(there) - 1))
    each = (memory[full] - memory[0]) / max(1.0, remembered[full])
    return list(zip(at_s.tolist(), (memory - each * (remembered - remembered[-1])).tolist(), strict=True))


def trend(
    name: str,
    unit: str,
    points: Sequence[tuple[float, float]],
    *,
    share: float,
    least: float,
    even: Sequence[tuple[float, float]] | None = None,
) -> Trend:
    """
    Fit the second half of a curve.

    Args:
        name: What it is of.
        unit: Of its values.
        points: At least two, as (seconds, value) in order.
        share: By what part of its mean it may grow over that time.
        least: What it may grow by in any case.
        even: What the line is fitted to instead, where something that may change has been taken out of it.
    """
    table = np.array(points, np.float64)
    fitted = table if even is None else np.array(even, np.float64)
    late = fitted[len(fitted) // 2 :] if len(fitted) >= 4 else fitted
    slope, _ = np.polyfit(late[:, 0], late[:, 1], 1)
    growth = float(slope * (late[-1, 0] - late[0, 0]))
    bound = max(share * float(late[:, 1].mean()), least)
    return Trend(
        name=name, unit=unit, first=float(table[0, 1]), last=float(table[-1, 1]), highest=float(table[:, 1].max()),
        slope_per_minute=round(float(slope) * 60, 3), growth=round(growth, 3), bound=round(bound, 3), flat=growth <= bound,
    )  # fmt: skip
