"""
Workers share the partitions of a group: equal shares, handed over when somebody comes, taken over when somebody dies.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from contextlib import AsyncExitStack

import pytest

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_leases import RedisLeases, agree_on_count
from fraudstream.app.connections import intake
from fraudstream.domain.errors import InvalidSettings, StreamUnavailable
from fraudstream.fleet.sharing import Share, Sharing
from fraudstream.local import LocalValkey
from fraudstream.settings import Settings
from tests.support.fleet import RememberingReport
from tests.support.wait import wait_until

GROUP = "fraud-check"


class Posts:
    """
    Who is at which partition, for all workers of a test; a post ends ``after`` turns of the loop once it was asked to.
    """

    def __init__(self) -> None:
        self.manned: Counter[tuple[str, int]] = Counter()
        self.failing: set[str] = set()

    def of(self, worker: str) -> set[int]:
        return {partition for (one, partition), count in self.manned.items() if one == worker and count}

    def served(self) -> list[int]:
        return sorted(partition for (_, partition), count in self.manned.items() for _ in range(count))


class APost:
    def __init__(self, posts: Posts, worker: str, partition: int) -> None:
        self._posts, self._at, self._stop = posts, (worker, partition), asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        self._posts.manned[self._at] += 1
        try:
            await self._stop.wait()
            await asyncio.sleep(0)
            if self._at[0] in self._posts.failing:
                raise RuntimeError("the post failed")
        finally:
            self._posts.manned[self._at] -= 1


class Worker:
    """
    One process that shares partitions over real leases.
    """

    def __init__(self, url: str, name: str, posts: Posts, *, partitions: int, life_s: float, stack: AsyncExitStack) -> None:
        self.name, self.posts, self.report = name, posts, RememberingReport()
        self._address, self._partitions, self._life_s, self._stack = RedisAddress(url=url), partitions, life_s, stack

    async def start(self) -> "Worker":
        client = await self._stack.enter_async_context(connected(self._address, 1))
        leases = RedisLeases(client, group=GROUP, worker=self.name, partitions=self._partitions, life_s=self._life_s)

        async def man(partition: int) -> APost:
            return APost(self.posts, self.name, partition)

        self.sharing = Sharing(leases, man, every_s=0.01, report=self.report, changed=lambda _: None)
        self.task = asyncio.create_task(self.sharing.run())
        self._stack.push_async_callback(self.stop)
        return self

    async def stop(self) -> None:
        self.sharing.stop()
        await asyncio.gather(self.task, return_exceptions=True)

    async def die(self) -> None:
        """
        Be gone without a word.
        """
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_partitions_are_shared_anew_when_workers_come_and_go(valkey: LocalValkey) -> None:
    posts = Posts()
    async with AsyncExitStack() as stack:
        workers = [Worker(valkey.url, name, posts, partitions=7, life_s=60.0, stack=stack) for name in "abc"]

        def shares() -> list[int]:
            return sorted(len(posts.of(name)) for name in "abc")

        await workers[0].start()
        await wait_until(lambda: shares() == [0, 0, 7], "one worker to serve everything")
        await workers[1].start()
        await wait_until(lambda: shares() == [0, 3, 4], "two to share")
        await workers[2].start()
        await wait_until(lambda: shares() == [2, 2, 3] and posts.served() == list(range(7)), "three to share")
        await workers[1].stop()
        await wait_until(lambda: shares() == [0, 3, 4] and posts.served() == list(range(7)), "the rest to take over")

    assert posts.served() == []


async def test_who_dies_is_replaced_when_its_life_is_over(valkey: LocalValkey) -> None:
    posts = Posts()
    async with AsyncExitStack() as stack, connected(RedisAddress(url=valkey.url), 1) as client:
        dead = RedisLeases(client, group=GROUP, worker="dead", partitions=4, life_s=0.3)
        held = (await dead.renew(())).held
        alive = await Worker(valkey.url, "alive", posts, partitions=4, life_s=60.0, stack=stack).start()

        await wait_until(lambda: posts.of("alive") == {0, 1, 2, 3}, "the partitions of the dead to be served")
        after = await RedisLeases(client, group=GROUP, worker="dead", partitions=4, life_s=60.0).renew(())

    assert set(held) == {0, 1, 2, 3}
    assert after == Share(size=2, held={}), "who comes back has lost what others took"
    assert alive.report.retries == []


async def test_every_owner_of_a_partition_has_a_higher_number(valkey: LocalValkey) -> None:
    numbers = []
    async with connected(RedisAddress(url=valkey.url), 1) as client:
        for name in ("a", "b", "a"):
            leases = RedisLeases(client, group=GROUP, worker=name, partitions=1, life_s=60.0)
            numbers.append((await leases.renew(())).held[0])
            await leases.leave()

    assert numbers == [1, 2, 3]


async def test_a_partition_that_others_took_meanwhile_is_left(valkey: LocalValkey) -> None:
    posts = Posts()
    async with AsyncExitStack() as stack, connected(RedisAddress(url=valkey.url), 1) as client:
        worker = await Worker(valkey.url, "paused", posts, partitions=2, life_s=60.0, stack=stack).start()
        await wait_until(lambda: posts.of("paused") == {0, 1}, "both to be served")

        await RedisLeases(client, group=GROUP, worker="paused", partitions=2, life_s=60.0).leave()
        other = RedisLeases(client, group=GROUP, worker="other", partitions=2, life_s=60.0)
        taken = (await other.renew(())).held

        await wait_until(lambda: posts.served() == sorted({0, 1} - set(taken)), "what was taken to be left")
        assert worker.task.done() is False


async def test_a_post_that_fails_ends_the_worker(valkey: LocalValkey) -> None:
    posts = Posts()
    async with AsyncExitStack() as stack:
        worker = await Worker(valkey.url, "a", posts, partitions=2, life_s=60.0, stack=stack).start()
        await wait_until(lambda: posts.of("a") == {0, 1}, "both to be served")
        posts.failing.add("a")
        worker.sharing.stop()

        with pytest.raises(RuntimeError, match="the post failed"):
            await worker.task


class Away:
    """
    Leases of a server that is away.
    """

    async def renew(self, given_back: Collection[int]) -> Share:
        raise StreamUnavailable("away")

    async def leave(self) -> None:
        raise StreamUnavailable("away")


async def test_while_redis_is_away_nothing_is_given_up() -> None:
    report = RememberingReport()

    async def nobody(partition: int) -> APost:
        raise AssertionError(partition)

    sharing = Sharing(Away(), nobody, every_s=0.001, report=report, changed=lambda _: None)
    running = asyncio.create_task(sharing.run())
    await wait_until(lambda: len(report.retries) > 3, "some tries")
    sharing.stop()

    await running


async def test_another_number_of_partitions_is_refused(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url), 1) as client:
        await agree_on_count(client, 1)
        await agree_on_count(client, 8)
        await agree_on_count(client, 8)

        for other in (1, 4):
            with pytest.raises(InvalidSettings, match="8 partitions"):
                await agree_on_count(client, other)
        with pytest.raises(InvalidSettings, match="8 partitions"):
            async with intake(Settings(redis_url=valkey.url)):
                pass  # a producer would write where nobody reads
