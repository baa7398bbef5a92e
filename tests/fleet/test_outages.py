"""
A server that is away costs time and nothing else.
"""

import asyncio
from collections.abc import Sequence

import pytest

from fraudstream.domain.errors import DecisionStoreUnavailable
from fraudstream.fleet.ports import Delivery
from tests.support.fleet import Bench, ObedientStage, quick
from tests.support.wait import wait_until


async def test_a_transient_error_keeps_the_batch_and_calls_again_without_counting_an_attempt() -> None:
    calls: list[int] = []

    def away_ten_times(batch: Sequence[Delivery]) -> None:
        calls.append(len(batch))
        if len(calls) <= 10:
            raise DecisionStoreUnavailable("the database is away")

    stage = ObedientStage(away_ten_times)
    bench = Bench(stage)
    entries = bench.add(20)

    async with bench.running():
        await wait_until(bench.all_over, "everything was worked")

    assert calls == [20] * 11
    assert set(stage.done) == set(entries)
    assert bench.streams.letters == []
    assert [reason for reason, _ in bench.report.retries] == ["unavailable"] * 10


async def test_a_worker_stops_while_a_server_is_away_and_every_slot_is_taken() -> None:
    """
    Stopping waited for a free slot, and no slot came free before the database was back: SIGTERM did nothing.
    """

    def away(batch: Sequence[Delivery]) -> None:
        raise DecisionStoreUnavailable("the database is away")

    stage = ObedientStage(away)
    bench = Bench(stage, limits=quick(batch_entries=5))
    entries = bench.add(50)

    async with bench.running():
        await wait_until(lambda: bench.report.now_in_hand == 10, "both slots are taken")

    assert bench.report.states[-1] == "stopped"
    assert {entry.owner for entry in bench.streams.pending("group").values()} == {"__retry__"}
    assert {entry.deliveries for entry in bench.streams.pending("group").values()} == {1}
    assert set(bench.streams.pending("group")) == set(entries[:10])


async def test_a_stream_that_is_away_is_waited_for() -> None:
    stage = ObedientStage()
    bench = Bench(stage)
    bench.streams.away = True

    async with bench.running():
        await wait_until(lambda: len(bench.report.retries) > 5, "the worker has tried some times")
        bench.streams.away = False
        entries = bench.add(20)
        await wait_until(bench.all_over, "everything was worked")
        bench.streams.away = True
        await wait_until(lambda: len(bench.report.retries) > 15, "it went away again")
        bench.streams.away = False
        entries += bench.add(20)
        await wait_until(bench.all_over, "everything was worked")

    assert set(stage.done) == set(entries)
    assert {reason for reason, _ in bench.report.retries} == {"unavailable"}


async def test_a_worker_stops_while_its_stream_is_away() -> None:
    bench = Bench(ObedientStage())
    bench.streams.away = True

    async with bench.running():
        await wait_until(lambda: bench.report.retries, "the worker has tried")

    assert bench.report.states[-1] == "stopped"
    assert bench.heart.closed


async def test_a_flushed_server_is_read_from_the_first_entry_again() -> None:
    stage = ObedientStage()
    bench = Bench(stage)
    bench.add(5)

    async with bench.running():
        await wait_until(bench.all_over, "the first entries were worked")
        bench.streams.flush()
        entries = bench.add(5)
        await wait_until(bench.all_over, "the new entries were worked")

    assert set(entries) <= set(stage.done)


async def test_an_error_that_is_no_outage_ends_the_worker_loudly_and_in_order() -> None:
    """
    The other loops went on reading behind the back of a worker that had already drained and left.
    """
    stage = ObedientStage()
    bench = Bench(stage)
    broken = asyncio.Event()

    async def claim(count: int) -> list[Delivery]:
        if broken.is_set():
            raise TypeError("a reply of another shape")
        return []

    bench.stream.claim = claim  # type: ignore[method-assign]
    task = asyncio.create_task(bench.worker.run())
    await wait_until(lambda: "running" in bench.report.states, "it runs")

    broken.set()
    with pytest.raises(TypeError, match="another shape"):
        await task

    bench.add(5)
    assert bench.report.states[-1] == "stopped"
    assert bench.heart.closed
    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
    assert bench.streams.groups["group"].last == 0


async def test_what_others_left_behind_is_taken_over() -> None:
    stage = ObedientStage()
    bench = Bench(stage)
    entries = bench.add(60)
    await bench.stream.open()
    await bench.stream.read(60, 1)
    for number, pending in bench.streams.groups["group"].pending.items():
        pending.owner = "dead" if number <= 30 else "consumer"

    async with bench.running():
        await wait_until(bench.all_over, "everything was worked")

    assert set(stage.done) == set(entries)
    assert bench.report.reclaimed_entries == 30


async def test_what_is_in_hand_is_not_taken_a_second_time() -> None:
    release = asyncio.Event()

    async def slow(batch: Sequence[Delivery]) -> None:
        await release.wait()

    stage = ObedientStage(slow)
    bench = Bench(stage)
    bench.add(10)

    async with bench.running():
        await wait_until(lambda: stage.batches, "the batch is in hand")
        await asyncio.sleep(3 * bench.limits.stranded_every_s)
        release.set()
        await wait_until(bench.all_over, "everything was worked")

    assert len(stage.batches) == 1
