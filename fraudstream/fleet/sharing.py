"""
A worker's share of the partitions of its group: taken up when they are free, handed over between two batches when others come.

Nothing of what is promised hangs on it: two workers on one partition at once are two consumers of its group, and the protocol
holds. It only sees to it that every partition is served, and by one worker where one is enough.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Protocol

import msgspec

from fraudstream.domain.errors import TransientError
from fraudstream.fleet.ports import FleetReport


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a worker should have, as a number, and what it has: partition to fencing number, which rises with every owner.
    """

    size: int
    held: Mapping[int, int]


class Leases(Protocol):
    """
    The agreement of all workers of a group on who serves which partition.
    """

    async def renew(self, given_back: Collection[int]) -> Share:
        """
        Give a sign of life, give some partitions back, take free ones up to our share, and return what is ours now.

        Calling again with the same partitions is harmless.

        Raises:
            StreamUnavailable: Nothing may be assumed; call again.
        """
        ...

    async def leave(self) -> None:
        """
        Give everything back, and be no worker of the group any more.
        """
        ...


class Post(Protocol):
    """
    All the work of one group on one partition.
    """

    async def run(self) -> None:
        """
        Work until ``stop``, then finish what is in hand.
        """
        ...

    def stop(self) -> None:
        """
        Ask for the end; returns at once.
        """
        ...


class _Manned(msgspec.Struct, eq=False):
    """
    A post at work under a fencing number; ``leaving`` once it was asked to end.
    """

    post: Post
    task: "asyncio.Task[None]"
    number: int
    leaving: bool = False


class Sharing:
    """
    Man the posts of this worker's share, as long as it runs.

    Args:
        leases: The agreement.
        man: Makes the post of a partition.
        every_s: Pause between two signs of life.
        report: Told of servers that are away.
        changed: Told which partitions are served, whenever that changes.
    """

    def __init__(
        self,
        leases: Leases,
        man: Callable[[int], Awaitable[Post]],
        *,
        every_s: float,
        report: FleetReport,
        changed: Callable[[Collection[int]], None],
    ) -> None:
        self._leases = leases
        self._man = man
        self._every_s = every_s
        self._report = report
        self._changed = changed
        self._stop = asyncio.Event()
        self._posts: dict[int, _Manned] = {}

    def stop(self) -> None:
        """
        Ask for the end; returns at once.
        """
        self._stop.set()

    async def run(self) -> None:
        """
        Serve our share until ``stop``, then drain every post and leave.

        Raises:
            Exception: Whatever ended a post that nobody had asked to end.
        """
        try:
            while not self._stop.is_set():
                await self._turn()
                await self._rest()
        finally:
            for manned in self._posts.values():
                self._relieve(manned)
            ends = await asyncio.gather(*(manned.task for manned in self._posts.values()), return_exceptions=True)
            try:
                await self._leases.leave()
            except TransientError as exc:
                # Others take over when our life runs out.
                self._report.retried("unavailable", repr(exc), entries=0, pause_s=0.0)
        for end in ends:
            if end is not None:
                raise end

    async def _turn(self) -> None:
        """
        Renew once, and follow what came of it.
        """
        over = {partition for partition, manned in self._posts.items() if manned.task.done()}
        for partition in over:
            self._posts[partition].task.result()
        try:
            share = await self._leases.renew(over)
        except TransientError as exc:
            # Whoever cannot renew goes on: others may take the same partitions, which costs time and nothing else.
            self._report.retried("unavailable", repr(exc), entries=0, pause_s=self._every_s)
            return
        for partition in over:
            del self._posts[partition]
        kept = sorted(share.held)[: share.size]
        for partition, manned in self._posts.items():
            if partition not in kept or share.held[partition] != manned.number:
                self._relieve(manned)
        fresh = [partition for partition in kept if partition not in self._posts]
        for partition in fresh:
            try:
                post = await self._man(partition)
            except TransientError as exc:
                self._report.retried("unavailable", repr(exc), entries=0, pause_s=self._every_s)
                break  # it is ours still, and the next turn tries again
            self._posts[partition] = _Manned(post, asyncio.create_task(post.run()), share.held[partition])
        if fresh or over:
            self._changed(sorted(self._posts))

    def _relieve(self, manned: _Manned) -> None:
        if not manned.leaving:
            manned.leaving = True
            manned.post.stop()

    async def _rest(self) -> None:
        """
        Wait for the next turn, for the stop, or for a post that is over: what it leaves is wanted.
        """
        tasks = {manned.task for manned in self._posts.values()}
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopping, *tasks}, timeout=self._every_s, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
