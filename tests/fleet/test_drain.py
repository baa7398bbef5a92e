"""
Stopping: what is in hand is finished, or given back at once, and nothing is left behind.
"""

import asyncio
from collections.abc import Sequence

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.ports import Delivery
from tests.support.fleet import Bench, ObedientStage, quick
from tests.support.wait import wait_until


async def test_a_batch_in_hand_is_finished() -> None:
    release = asyncio.Event()

    async def slow(batch: Sequence[Delivery]) -> None:
        await release.wait()

    stage = ObedientStage(slow)
    bench = Bench(stage)
    entries = bench.add(10)

    async with bench.running():
        await wait_until(lambda: stage.batches, "the batch is in hand")
        bench.worker.stop()
        await wait_until(lambda: "draining" in bench.report.states, "it drains")
        release.set()

    assert set(stage.done) == set(entries)
    assert bench.pending == {}
    assert bench.report.states == ["starting", "running", "draining", "stopped"]


async def test_a_batch_that_cannot_be_finished_is_handed_back_without_counting_a_delivery() -> None:
    async def hanging(batch: Sequence[Delivery]) -> None:
        await asyncio.Event().wait()

    stage = ObedientStage(hanging)
    bench = Bench(stage, limits=quick(drain_timeout_s=0.02))
    entries = bench.add(30)

    async with bench.running():
        await wait_until(lambda: bench.report.now_in_hand == 30, "everything is in hand")

    given_back = bench.streams.pending("group")
    assert {(entry.owner, entry.deliveries) for entry in given_back.values()} == {("__retry__", 1)}
    assert set(given_back) == set(entries)


async def test_entries_that_were_handed_back_are_claimed_at_once() -> None:
    async def hanging(batch: Sequence[Delivery]) -> None:
        await asyncio.Event().wait()

    bench = Bench(ObedientStage(hanging), limits=quick(drain_timeout_s=0.02), claim_idle_s=60.0)
    bench.add(5)
    async with bench.running():
        await wait_until(lambda: bench.report.now_in_hand == 5, "everything is in hand")

    claimed = await bench.stream.claim(10)

    assert len(claimed) == 5


async def test_nothing_is_read_after_the_stop() -> None:
    stage = ObedientStage()
    bench = Bench(stage)
    async with bench.running():
        await wait_until(lambda: "running" in bench.report.states, "it runs")

    bench.add(5)
    await asyncio.sleep(0)

    assert bench.streams.groups["group"].last == 0
    assert stage.batches == []


async def test_a_worker_leaves_no_task_no_heart_and_no_consumer_behind() -> None:
    bench = Bench(ObedientStage())
    bench.add(20)
    async with bench.running():
        await wait_until(bench.all_over, "everything was worked")

    group = bench.streams.groups["group"]

    assert [one for one in asyncio.all_tasks() if one is not asyncio.current_task()] == []
    assert bench.heart.closed
    assert group.hearts == {}
    assert group.consumers == set()


async def test_the_heart_stops_also_where_the_stream_went_away_while_draining() -> None:
    """
    The thread went on beating for a worker that was gone, so that nobody claimed what it had left.
    """

    def away(batch: Sequence[Delivery]) -> None:
        raise StreamUnavailable("away")

    bench = Bench(ObedientStage(away))
    bench.add(5)

    async with bench.running():
        await wait_until(lambda: bench.report.now_in_hand == 5, "everything is in hand")
        bench.streams.away = True

    assert bench.heart.closed
    assert bench.report.states[-1] == "stopped"


async def test_the_heart_beats_until_the_drain_is_over() -> None:
    """
    Its loop had ended, so that a long drain outlived the worker's own sign of life, and others took what it was finishing.
    """
    release = asyncio.Event()

    async def slow(batch: Sequence[Delivery]) -> None:
        await release.wait()

    stage = ObedientStage(slow)
    bench = Bench(stage, limits=quick(heartbeat_life_s=0.06, drain_timeout_s=10.0))
    bench.add(5)

    async with bench.running():
        await wait_until(lambda: stage.batches, "the batch is in hand")
        bench.worker.stop()
        await wait_until(lambda: "draining" in bench.report.states, "it drains")
        beats = bench.heart.beats
        await wait_until(lambda: bench.heart.beats > beats + 8, "it beats for longer than one life")
        release.set()

    assert bench.report.handled_entries == 5
