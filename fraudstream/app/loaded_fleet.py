"""
Deciding workers of our own, kept busy: what a change does to a fleet is seen only while the fleet has no time for it.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from math import isfinite
from pathlib import Path

import msgspec

from fraudstream.adapters.redis_busy import RedisBusy
from fraudstream.adapters.redis_client import connected
from fraudstream.app.connections import address, intake
from fraudstream.app.local_system import LocalSystem

#: Both deciding groups in each of as many processes as have a core of their own: Redis and who feeds the fleet have one. With
#: more of them a loop stands still because somebody else has its core, and nobody can say what a change did to it.
GROUPS = ("fraud-check,ml-scoring",) * max(1, (os.cpu_count() or 1) - 1)
#: Entries that wait at any time while the fleet is kept busy, and how many are sent at once.
_BACKLOG, _AT_ONCE = 4_000, 500
_BUCKET = re.compile(r'^fraudstream_(\w+)_seconds_bucket\{le="([^"]+)"\} (\S+)$', re.MULTILINE)
#: Names of the histograms: every look at a loop, those that met a takeover, what that can have caused of them; every look
#: without waiting for a core, and the CPU of takeovers.
EVERY_LOOK, IN_TAKEOVERS, BY_TAKEOVERS = "event_loop_stall", "takeover_stall", "takeover_held"
OWN, TAKEOVER_CPU = "event_loop_own_stall", "takeover_cpu"


#: How many looks were at most so many seconds late, by the bounds of the histogram.
Looks = Counter[float]


class Stalls(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long the loops of the workers were held up, all of them together. ``longest_ms`` is an upper bound: the end of the
    longest one's bucket, None beyond the last. ``over`` counts stalls longer than 20, 50 and 100 ms.
    """

    looks: int
    longest_ms: float | None
    over: dict[str, int]


class LoadedFleet:
    """
    A fleet that is kept busy for as long as it is asked to.
    """

    def __init__(self, system: LocalSystem, redis: RedisBusy, bodies: Iterator[bytes]) -> None:
        self.system = system
        self.redis = redis
        self._bodies = bodies
        self.sent = 0

    async def busy(self, stop: asyncio.Event) -> None:
        """
        Keep a backlog in front of the fleet until told to stop.
        """
        async with intake(self.system.settings()) as target:
            while not stop.is_set():
                room = _BACKLOG - await self.redis.backlog()
                for _ in range(max(0, room) // _AT_ONCE):
                    batch = list(islice(self._bodies, _AT_ONCE))
                    await target.append(batch)
                    self.sent += len(batch)
                await asyncio.sleep(0.02)

    async def done(self) -> None:
        """
        Return when everything that was sent is decided.
        """
        while await self.redis.backlog():  # noqa: ASYNC110 - what is waited for is in Redis
            await asyncio.sleep(0.05)

    async def pages(self) -> list[str]:
        """
        Return what each worker shows of itself.
        """
        return [await asyncio.to_thread(worker.metrics) for worker in self.system.workers]


@asynccontextmanager
async def loaded_fleet(
    bodies: Iterator[bytes],
    *,
    inherited: Mapping[str, str],
    groups: tuple[str, ...] = GROUPS,
    prepare: Callable[[Path], Mapping[str, str]] | None = None,
    deadline_ms: int = 0,
) -> AsyncIterator[LoadedFleet]:
    """
    Lend a fleet of our own; it is idle until ``busy`` is started.

    Args:
        bodies: Payments, as many as anybody may ask for.
        inherited: What the processes need of our environment.
        groups: One entry per process.
        prepare: Writes files into the folder of the system, and returns the settings of the workers that name them.
        deadline_ms: Decision deadline; 0 is off.
    """
    with LocalSystem(inherited=inherited, deadline_ms=deadline_ms, horizon_s=0, groups=groups) as system:
        if prepare is not None:
            system.set(**prepare(system.folder))
        await asyncio.to_thread(system.start_workers)
        async with connected(address(system.settings()), connections=4) as client:
            yield LoadedFleet(system, RedisBusy(client), bodies)


def looks_between(before: Iterable[str], after: Iterable[str], name: str = EVERY_LOOK) -> Looks:
    """
    Return what was felt between two looks at the pages of the workers; counts of several stretches add up.

    Args:
        before: The pages as they were.
        after: The pages as they are.
        name: Which histogram of theirs.
    """
    counts: Looks = Counter()
    for sign, pages in ((-1, before), (1, after)):
        for page in pages:
            for told, bound, count in _BUCKET.findall(page):
                if told == name:
                    counts[float(bound)] += sign * int(float(count))
    return counts


def stalls_in(counts: Looks) -> Stalls:
    """
    Return how long these looks were late.
    """
    bounds = sorted(counts)
    looks = counts[bounds[-1]] if bounds else 0
    longest = next((bound for bound in bounds if counts[bound] == looks), 0.0)
    over = {f"{bound * 1000:.0f}_ms": looks - counts.get(bound, looks) for bound in (0.02, 0.05, 0.1)}
    return Stalls(looks=looks, longest_ms=round(longest * 1000, 1) if isfinite(longest) else None, over=over)
