"""
Sweeping goes on through outages, and ends when it is told to.
"""

import asyncio

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.janitor import sweep_until
from tests.support.fleet import RememberingReport
from tests.support.wait import wait_until


async def test_an_outage_costs_one_turn() -> None:
    stop, report, turns = asyncio.Event(), RememberingReport(), 0

    async def sweep() -> int:
        nonlocal turns
        turns += 1
        if turns == 2:
            raise StreamUnavailable("away")
        return turns

    task = asyncio.create_task(sweep_until(stop, sweep, every_s=0.001, report=report))
    await wait_until(lambda: turns > 4, "it goes on")
    stop.set()
    await task

    assert report.retries == [("unavailable", "StreamUnavailable('away')")]


async def test_a_stop_is_heard_between_two_turns() -> None:
    stop, swept = asyncio.Event(), asyncio.Event()

    async def sweep() -> int:
        swept.set()
        return 0

    task = asyncio.create_task(sweep_until(stop, sweep, every_s=3600.0, report=RememberingReport()))
    await swept.wait()
    stop.set()

    await asyncio.wait_for(task, 60)
