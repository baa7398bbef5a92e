"""
Slots: never more batches in hand than the limit, and every slot comes back.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.hands import Hands
from fraudstream.fleet.ports import Delivery
from tests.support.builders import a_delivery
from tests.support.fake_stream import FakeStream, MemoryStreams
from tests.support.fleet import QUICK, Bench, ObedientStage, RememberingReport, quick
from tests.support.wait import wait_until


async def test_no_more_batches_in_hand_than_the_limit() -> None:
    running, most = 0, 0

    async def count(batch: Sequence[Delivery]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    stage = ObedientStage(count)
    bench = Bench(stage, limits=quick(batch_entries=3))
    entries = bench.add(100)

    async with bench.running():
        await wait_until(bench.all_over, "everything was worked")

    assert most == bench.limits.batches_in_hand
    assert set(stage.done) == set(entries)
    assert bench.report.most_in_hand <= 6


@pytest.mark.parametrize("slots", [1, 2, 4])
async def test_whatever_happens_to_batches_their_slots_come_back(slots: int) -> None:
    rng = random.Random(slots)
    fates: Counter[str] = Counter()

    async def any_fate(batch: Sequence[Delivery]) -> None:
        fate = rng.choice(["fine", "fine", "slow", "poison", "away"])
        fates[fate] += 1
        if fate == "slow":
            await asyncio.sleep(0.0005)
        if fate == "poison":
            raise ValueError("by chance")
        if fate == "away":
            raise StreamUnavailable("by chance")

    stage = ObedientStage(any_fate)
    bench = Bench(stage, limits=quick(batches_in_hand=slots, batch_entries=4))

    async with bench.running():
        for _ in range(20):
            bench.add(20)
            await wait_until(bench.all_over, "a round is over")

    assert min(fates.values()) > 20
    assert set(stage.done) | {letter.entry_id for letter in bench.streams.letters} == {
        b"%d-0" % number for number in bench.streams.entries
    }


async def test_a_slot_that_nothing_was_found_for_is_given_back() -> None:
    bench = Bench(ObedientStage(), limits=quick(batches_in_hand=1))

    async with bench.running():
        for _ in range(50):
            await asyncio.sleep(0.001)
        bench.add(1)
        await wait_until(bench.all_over, "the one slot is still there")


async def test_deliveries_already_in_hand_cost_no_slot() -> None:
    release = asyncio.Event()

    async def slow(batch: Sequence[Delivery]) -> None:
        await release.wait()

    stage = ObedientStage(slow)
    streams = MemoryStreams()
    stream = FakeStream(streams)
    await stream.open()
    hands = Hands(stage, stream, QUICK, RememberingReport(), random.Random(1))
    delivery = a_delivery({b"data": b"1"})
    await hands.slot()
    await hands.take([delivery])

    for _ in range(10):
        await hands.slot()
        await hands.take([delivery])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    release.set()
    await hands.drain(1.0)

    assert [len(batch) for batch in stage.batches] == [1]
    assert hands.held == ()


async def test_an_error_of_the_runtime_itself_is_reported_and_gives_its_slot_back() -> None:
    stage = ObedientStage(lambda _: (_ for _ in ()).throw(ValueError("poison")))
    bench = Bench(stage, limits=quick(batches_in_hand=1, max_deliveries=99))

    async def broken(entry_id: bytes, delay_s: float, *, failed: int = 0) -> bool:
        raise TypeError("later is broken")

    bench.stream.later = broken  # type: ignore[method-assign]
    bench.add(3)

    async with bench.running():
        await wait_until(
            lambda: sum("later is broken" in error for _, error in bench.report.retries) > 3,
            "it failed, was found and failed again",
        )

    assert bench.report.states[-1] == "stopped"


async def test_entries_that_lie_far_apart_are_worked_each_alone() -> None:
    # Found stranded together they would make one range, and whatever lies between would be stepped into.
    stage = ObedientStage()
    stream = FakeStream(MemoryStreams())
    await stream.open()
    hands = Hands(stage, stream, QUICK, RememberingReport(), random.Random(1))
    far_apart = [a_delivery(entry_id=b"%d-0" % (1_768_478_400_000 + 60_000 * minute)) for minute in range(3)]

    assert await hands.slot()
    await hands.take(far_apart, alone=True)
    await wait_until(lambda: not hands.held, "all of them worked")

    assert [[delivery.entry_id for delivery in batch] for batch in stage.batches] == [[one.entry_id] for one in far_apart]


async def test_what_one_worker_left_behind_is_worked_in_company_because_it_lies_close() -> None:
    stage = ObedientStage()
    stream = FakeStream(MemoryStreams())
    await stream.open()
    hands = Hands(stage, stream, QUICK, RememberingReport(), random.Random(1))
    close = [a_delivery(entry_id=b"1768478400000-%d" % number, deliveries=2) for number in range(40)]

    assert await hands.slot()
    await hands.take(close, alone=True)
    await wait_until(lambda: not hands.held, "all of them worked")

    assert [len(batch) for batch in stage.batches] == [32, 8]


async def test_nothing_is_worked_in_company_where_two_deliveries_are_too_many() -> None:
    stage = ObedientStage()
    stream = FakeStream(MemoryStreams())
    await stream.open()
    hands = Hands(stage, stream, quick(max_deliveries=1), RememberingReport(), random.Random(1))
    close = [a_delivery(entry_id=b"1768478400000-%d" % number, deliveries=2) for number in range(3)]

    assert await hands.slot()
    await hands.take(close, alone=True)
    await wait_until(lambda: not hands.held, "all of them worked")

    assert stage.batches == [[one] for one in close]
    assert stage.given_up == []


async def test_a_worker_that_gathers_reads_again_after_its_time_and_stops_at_once() -> None:
    stage = ObedientStage()
    bench = Bench(stage, limits=quick(read_every_s=3600.0))
    (first,) = bench.add(1)

    async with bench.running():
        await wait_until(lambda: set(stage.done) == {first}, "the first read was at once")
        later = bench.add(3)

    assert set(stage.done) == {first}
    assert len(later) == 3
