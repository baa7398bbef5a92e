"""
Workers die of many things. A death speaks against an entry only where nothing else can have been the reason.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.company import Company
from fraudstream.fleet.hands import Limits
from fraudstream.fleet.ports import DOUBTS, TRIED_ALONE, Accused, Delivery
from fraudstream.fleet.worker import Worker
from tests.support.fake_stream import RETRY, FakeHeart, FakeStream, MemoryStreams, Pending
from tests.support.fleet import Bench, ObedientStage, RememberingReport, quick
from tests.support.wait import wait_until

#: As by default; a worker that has something to read brings that to its end first, however busy the machine.
LIMITS = quick(max_deliveries=5, block_ms=200)
#: Where nothing comes to read.
QUIET = quick(max_deliveries=5, block_ms=10)
#: A process dies with the entry in a batch, then in small company, then alone until it is one too many.
DEATHS_OF_A_POISON = TRIED_ALONE - 1 + LIMITS.max_deliveries - TRIED_ALONE + 1
#: The same where nothing else is there by which it could be told.
DEATHS_IN_SILENCE = TRIED_ALONE - 1 + DOUBTS * (LIMITS.max_deliveries - TRIED_ALONE + 1)


class MortalStream(FakeStream):
    """
    A stream as a process sees it that may be dead: it reaches nobody any more.
    """

    dead = False

    def _reachable(self) -> None:
        if self.dead:
            raise StreamUnavailable("this process is dead")
        super()._reachable()

    async def read(self, count: int, block_ms: int) -> list[Delivery]:
        for _ in range(block_ms):
            if found := await super().read(count, 1):
                return found
        return []


class Life:
    """
    One process: a worker whose stage ends it where ``fatal`` says so, of the batch and of how many were brought to their end.
    """

    def __init__(self, fleet: "Fleet", number: int, fatal: Callable[[Sequence[Delivery], int], bool]) -> None:
        self._fleet = fleet
        self.stream = MortalStream(fleet.streams, consumer=f"life-{number}")
        self._fatal = fatal
        self._ended = 0
        stage = ObedientStage(self._look)
        stage.done = fleet.done
        self.worker = Worker(
            stage,
            self.stream,
            FakeHeart(self.stream, fleet.limits.heartbeat_life_s),
            limits=fleet.limits,
            report=RememberingReport(),
            rng=random.Random(1),
            company=fleet.company,
        )

    def _look(self, batch: Sequence[Delivery]) -> None:
        if self.stream.dead or self._fatal(batch, self._ended):
            self.stream.dead = True
            self._fleet.streams.groups["group"].hearts.clear()
            raise StreamUnavailable("this process is dead")
        self._ended += len(batch)


class Fleet:
    """
    One process after the other over one stream, and what became of the entries.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.company = Company(patience_s=60.0)
        self.streams = MemoryStreams()
        self.done = ObedientStage().done
        self.lives = 0

    def add(self, count: int) -> list[bytes]:
        return [self.streams.add({b"data": b"%d" % number}) for number in range(count)]

    def over(self) -> bool:
        group = self.streams.groups.get("group")
        return group is not None and not group.pending and group.last == len(self.streams.entries)

    async def live(self, fatal: Callable[[Sequence[Delivery], int], bool] = lambda *_: False) -> bool:
        """
        Be one process until it dies, or everything has its end; True when it died.
        """
        self.lives += 1
        life = Life(self, self.lives, fatal)
        task = asyncio.create_task(life.worker.run())
        await wait_until(lambda: life.stream.dead or self.over(), "it is dead, or has nothing left to do")
        life.worker.stop()
        await task
        return life.stream.dead

    async def die_of(self, poison: set[bytes], *, fresh: int) -> int:
        """
        Be processes that this poison kills, each with fresh entries to read, until all is over; return how many died.
        """
        deaths = 0
        self.add(fresh)
        while await self.live(lambda batch, _: any(one.entry_id in poison for one in batch)):
            deaths += 1
            assert deaths < 100, "the poison never ends"
            self.add(fresh)
        return deaths


def with_entry(entry: bytes, *, alone: bool) -> Callable[[Sequence[Delivery], int], bool]:
    """
    Kill a process from outside in the moment in which it works an entry: in a batch, or alone and long after its start.
    """

    def fatal(batch: Sequence[Delivery], ended: int) -> bool:
        held = entry in {one.entry_id for one in batch}
        return held and (len(batch) == 1 and ended > 0 if alone else True)

    return fatal


async def test_a_payment_whose_workers_are_killed_in_a_loop_is_decided() -> None:
    # given: a payment in a batch, and somebody who kills workers
    fleet = Fleet()
    innocent, *_ = fleet.add(20)

    # when: it has shared two batches with what killed the process, and was alone twice when somebody killed it from outside
    for _ in range(2):
        assert await fleet.live(with_entry(innocent, alone=False))
    for _ in range(2):
        fleet.add(5)
        assert await fleet.live(with_entry(innocent, alone=True))
    # and: a dozen more processes die at the first thing that they do, whatever that is
    for _ in range(12):
        fleet.add(1)
        assert await fleet.live(lambda _, ended: ended == 0)
    await fleet.live()

    # then: nobody was given up, and everybody was worked to the end once
    assert fleet.streams.letters == []
    assert set(fleet.done.values()) == {1}
    assert len(fleet.done) == len(fleet.streams.entries)


async def test_a_poison_that_takes_its_process_along_ends_as_a_letter_after_so_many_deaths() -> None:
    fleet = Fleet()
    entries = fleet.add(20)

    deaths = await fleet.die_of({entries[7]}, fresh=3)

    assert deaths == DEATHS_OF_A_POISON
    assert [letter.entry_id for letter in fleet.streams.letters] == [entries[7]]
    assert set(fleet.done) == {b"%d-0" % number for number in fleet.streams.entries} - {entries[7]}
    assert set(fleet.done.values()) == {1}


async def test_several_poisons_end_as_letters_and_nobody_else_does() -> None:
    fleet = Fleet()
    entries = fleet.add(40)
    poison = {entries[3], entries[4], entries[30]}

    deaths = await fleet.die_of(poison, fresh=3)

    assert {letter.entry_id for letter in fleet.streams.letters} == poison
    assert len(fleet.streams.letters) == len(poison)
    assert deaths <= DEATHS_OF_A_POISON * len(poison)
    assert set(fleet.done.values()) == {1}


@pytest.mark.parametrize("poisons", [1, 2])
async def test_poison_that_is_all_there_is_ends_as_a_letter_too(poisons: int) -> None:
    fleet = Fleet(QUIET)
    poison = set(fleet.add(poisons))

    deaths = await fleet.die_of(poison, fresh=0)

    assert deaths <= poisons * DEATHS_IN_SILENCE
    assert {letter.entry_id for letter in fleet.streams.letters} == poison
    assert len(fleet.streams.letters) == poisons


async def test_poison_ends_as_a_letter_where_work_of_another_group_hangs_in_the_same_process() -> None:
    fleet = Fleet(QUIET)
    fleet.company = Company(patience_s=0.001)
    entries = fleet.add(5)

    async with fleet.company.beside():
        deaths = await fleet.die_of({entries[2]}, fresh=1)

    assert deaths <= DEATHS_IN_SILENCE
    assert [letter.entry_id for letter in fleet.streams.letters] == [entries[2]]
    assert set(fleet.done.values()) == {1}


@pytest.mark.parametrize("fresh", [0, 1])
async def test_a_crash_loop_that_kills_with_whatever_is_worked_condemns_nobody(fresh: int) -> None:
    """
    A limit of memory that is too small, a library that is broken: everything would be given up, one payment after the other.
    """
    fleet = Fleet(QUIET)
    fleet.add(10)

    for _ in range(50):
        assert await fleet.live(lambda *_: True)
        fleet.add(fresh)
    await fleet.live()

    assert fleet.streams.letters == []
    assert len(fleet.done) == len(fleet.streams.entries)


async def test_a_try_that_ends_because_a_server_is_away_does_not_count_and_is_not_made_again_before_another_went_well() -> None:
    """
    While PostgreSQL is away every recorder holds something that it cannot end, and somebody kills recorders.
    """
    # given: an entry that is tried alone, and one in the hands of another worker
    counts: list[int] = []

    def away(batch: Sequence[Delivery]) -> None:
        if batch[0].entry_id == suspect:
            counts.append(books.pending[1].deliveries)
            if len(counts) == 1:
                raise StreamUnavailable("a server is away")

    bench = Bench(ObedientStage(away), limits=LIMITS)
    suspect, _, _ = bench.add(3)
    await bench.stream.open()
    await bench.stream.read(2, 1)
    books = bench.streams.groups["group"]
    books.pending[1] = Pending("dead", TRIED_ALONE, float("-inf"))
    books.pending[2] = Pending("other", 1, float("inf"))
    books.hearts["other"] = float("inf")

    # when: the server goes away under the first try, and comes back
    async with bench.running():
        await wait_until(lambda: books.pending[1].owner == RETRY, "it was put back")
        after = books.pending[1].deliveries, len(counts)
        bench.add(1)
        await wait_until(lambda: bench.stage.done[suspect], "another went well, and then it did")

    # then
    assert after == (TRIED_ALONE, 1)
    assert counts == [TRIED_ALONE + 1] * 2


async def test_a_worker_that_leaves_in_the_middle_of_a_try_takes_the_accusation_back() -> None:
    tried = asyncio.Event()

    async def hangs(batch: Sequence[Delivery]) -> None:
        if batch[0].entry_id == suspect:
            assert books.pending[1].deliveries == TRIED_ALONE + 1
            tried.set()
            await asyncio.Event().wait()

    bench = Bench(ObedientStage(hangs), limits=quick(block_ms=200, drain_timeout_s=0.01))
    suspect, _ = bench.add(2)
    await bench.stream.open()
    await bench.stream.read(1, 1)
    books = bench.streams.groups["group"]
    books.pending[1] = Pending("dead", TRIED_ALONE, float("-inf"))

    async with bench.running():
        await tried.wait()

    assert (books.pending[1].owner, books.pending[1].deliveries) == (RETRY, TRIED_ALONE)


async def test_an_entry_that_somebody_else_took_over_is_not_tried() -> None:
    bench = Bench(ObedientStage(), limits=LIMITS)
    bench.add(1)
    await bench.stream.open()
    await bench.stream.read(1, 1)
    books = bench.streams.groups["group"]
    books.pending[1] = Pending("dead", TRIED_ALONE, float("-inf"))
    accuse, asked = bench.stream.accuse, asyncio.Event()

    async def taken(entry_id: bytes, deliveries: int, *, proven: bool, alone: bool) -> Accused:
        books.pending[1] = Pending("other", TRIED_ALONE, float("inf"))
        books.hearts["other"] = float("inf")
        asked.set()
        return await accuse(entry_id, deliveries, proven=proven, alone=alone)

    bench.stream.accuse = taken  # type: ignore[method-assign]

    async with bench.running():
        await asked.wait()

    assert bench.stage.batches == []
    assert (books.pending[1].owner, books.pending[1].deliveries) == ("other", TRIED_ALONE)
