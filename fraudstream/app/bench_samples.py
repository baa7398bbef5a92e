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

from fraudstream.adapters.redis_account import sizes, waiting
from fraudstream.adapters.redis_client import connected
from fraudstream.app.connections import address
from fraudstream.app.local_system import DEMO_GROUPS, LocalSystem
from fraudstream.app.processes import rss_mb
from fraudstream.domain.errors import FraudstreamError

#: Redis as a resident process and as it counts itself; the other names are those of the workers.
REDIS, REDIS_RESIDENT = "redis", "redis resident"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """
    One look, ``at_s`` seconds after the first. ``memory_mb`` is by process; ``streams`` are entries, ``waiting`` those that a
    group has not finished. While Redis is away the last two are empty.
    """

    at_s: float
    memory_mb: dict[str, float]
    streams: dict[str, int] = {}
    waiting: dict[str, int] = {}


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
                    memory[REDIS] = round(held.used_bytes / 1e6, 2)
                    sample = Sample(at_s=at_s, memory_mb=memory, streams=held.streams, waiting=open_entries)
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


def trend(name: str, unit: str, points: Sequence[tuple[float, float]], *, share: float, least: float) -> Trend:
    """
    Fit the second half of a curve.

    Args:
        name: What it is of.
        unit: Of its values.
        points: At least two, as (seconds, value) in order.
        share: By what part of its mean it may grow over that time.
        least: What it may grow by in any case.
    """
    table = np.array(points, np.float64)
    late = table[len(table) // 2 :] if len(table) >= 4 else table
    slope, _ = np.polyfit(late[:, 0], late[:, 1], 1)
    growth = float(slope * (late[-1, 0] - late[0, 0]))
    bound = max(share * float(late[:, 1].mean()), least)
    return Trend(
        name=name, unit=unit, first=float(table[0, 1]), last=float(table[-1, 1]), highest=float(table[:, 1].max()),
        slope_per_minute=round(float(slope) * 60, 3), growth=round(growth, 3), bound=round(bound, 3), flat=growth <= bound,
    )  # fmt: skip
