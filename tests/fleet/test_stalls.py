"""
What holds up the loop of a worker is felt, and told apart from a machine that has no core to give.
"""

import asyncio
import time
from collections.abc import Generator, Iterator

import pytest

from fraudstream.app.loop_time import LoopTime
from fraudstream.fleet.stalls import SLICE_S, Changes, Spent, Stall, feel_stalls, in_slices
from tests.support.wait import wait_until


async def felt_between(before: Spent, after: Spent, *, change_s: float) -> Stall:
    """
    Return the one look between two such moments, while a change worked for so long on the loop.
    """
    looks, stop, changes = list[Stall](), asyncio.Event(), Changes()

    def spent() -> Iterator[Spent]:
        yield before
        with changes.under_way():
            changes.cpu_s += change_s
        stop.set()
        yield after

    await feel_stalls(stop, looks.append, spent=spent().__next__, changes=changes, every_s=0.001)
    (look,) = looks
    return look


async def test_waiting_for_a_core_is_late_and_not_the_loops_own_fault():
    look = await felt_between(Spent(100.0, 3.0), Spent(100.101, 3.09), change_s=0.005)

    assert look == pytest.approx((0.1, 0.01, 0.005, True))


async def test_a_takeover_is_blamed_for_what_the_loop_worked_for_it_and_never_for_more_than_the_stall():
    short = await felt_between(Spent(100.0, 3.0), Spent(100.081, 3.0), change_s=0.06)
    long = await felt_between(Spent(100.0, 3.0), Spent(100.031, 3.0), change_s=0.06)

    assert (short.change_s, long.change_s) == pytest.approx((0.06, 0.03))


async def test_the_loops_own_work_is_felt():
    looks: list[Stall] = []
    stop = asyncio.Event()
    with LoopTime() as loop_time:
        feeling = asyncio.create_task(feel_stalls(stop, looks.append, spent=loop_time, changes=Changes(), every_s=0.005))
        await wait_until(lambda: len(looks) >= 2, "the first looks")
        until, count = time.monotonic() + 0.1, len(looks)
        while time.monotonic() < until:
            pass
        await wait_until(lambda: len(looks) > count, "the look behind the stall")
        stop.set()
        await feeling

    assert max(one.late_s for one in looks[count:]) >= 0.09
    assert not any(one.changing for one in looks)


def test_a_change_that_began_and_ended_between_two_looks_is_seen():
    changes = Changes()
    mark = changes.over()
    before = changes.since(mark)
    with changes.under_way():
        inside, mark_inside = changes.since(mark), changes.over()

    assert (before, inside, changes.since(mark), changes.since(mark_inside)) == (False, True, True, True)
    assert not changes.since(changes.over())


async def test_what_is_built_leaves_the_loop_to_others_after_every_slice():
    changes, turns = Changes(), 0
    building = asyncio.ensure_future(in_slices(build(10 * SLICE_S), changes))
    while not building.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns >= 5
    assert changes.cpu_s >= 10 * SLICE_S


async def test_a_batch_that_goes_round_the_loop_often_does_not_meet_a_slice_in_each_round():
    """
    Twenty slices of two milliseconds made a decision forty later, at a rate at which nothing else waited.
    """
    changes = Changes()
    building = asyncio.ensure_future(in_slices(build(10 * SLICE_S), changes))
    await asyncio.sleep(0)
    before_s = changes.cpu_s
    for _ in range(20):
        await asyncio.sleep(0)
    met_s = changes.cpu_s - before_s
    await building

    assert met_s <= 2 * SLICE_S


def build(cpu_s: float) -> Generator[None, None, None]:
    """Take so much CPU, in steps of half a millisecond."""
    for _ in range(round(cpu_s / 0.0005)):
        until = time.thread_time() + 0.0005
        while time.thread_time() < until:
            pass
        yield


async def test_what_is_built_in_slices_is_the_same_and_fails_the_same():
    def work(value: int) -> Generator[None, None, int]:
        yield
        if not value:
            raise ValueError("nothing")
        return value

    assert await in_slices(work(7), Changes()) == 7
    with pytest.raises(ValueError, match="nothing"):
        await in_slices(work(0), Changes())
