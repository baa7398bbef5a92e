"""
The CPU of one coroutine among others on a loop.
"""

import asyncio
import time

import pytest

from fraudstream.fleet.metered import Metered
from fraudstream.fleet.turns import Turns


def burn(cpu_s: float) -> None:
    until_s = time.thread_time() + cpu_s
    while time.thread_time() < until_s:
        pass


async def test_only_its_own_steps_are_counted() -> None:
    async def work() -> str:
        burn(0.02)
        await asyncio.sleep(0.01)
        burn(0.02)
        return "done"

    async def other() -> None:
        for _ in range(10):
            burn(0.02)
            await asyncio.sleep(0)

    metered = Metered(work(), Turns())
    beside = asyncio.create_task(other())

    result = await metered
    await beside

    assert result == "done"
    assert 0.04 <= metered.cpu_s < 0.2


async def test_what_it_raises_comes_through() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await Metered(work(), Turns())


async def test_a_cancellation_reaches_it() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def run() -> None:
        await Metered(work(), Turns())

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
