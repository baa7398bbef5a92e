"""
Long steps of several batches: what else is ready on the loop has its turn between them.
"""

import asyncio
import time

import pytest

from fraudstream.fleet.metered import Metered
from fraudstream.fleet.turns import LONG_S, Turns


def burn(cpu_s: float) -> None:
    until_s = time.thread_time() + cpu_s
    while time.thread_time() < until_s:
        pass


async def batch(name: str, seen: list[str], steps: int = 1) -> None:
    for _ in range(steps):
        burn(2 * LONG_S)
        seen.append(name)
        await asyncio.sleep(0)


async def rounds(seen: list[str], ends: asyncio.Event) -> None:
    while not ends.is_set():
        seen.append("|")
        await asyncio.sleep(0)


async def test_batches_that_are_ready_together_hold_the_loop_one_at_a_time() -> None:
    # given somebody who notes every round of the loop, and four batches in hand
    turns, seen, ends = Turns(), list[str](), asyncio.Event()
    noting = asyncio.create_task(rounds(seen, ends))
    works = [Metered(batch(name, seen, steps=2), turns) for name in "abcd"]

    # when all of them are ready at the same moment
    await asyncio.gather(*works)
    ends.set()
    await noting

    # then no round had two of their steps in it, and none of them was passed over
    told = "".join(seen)
    assert all(len(of_round) <= 1 for of_round in told.split("|")), told
    assert told.replace("|", "") == "abcdabcd"


async def test_short_steps_wait_for_nobody() -> None:
    turns, seen, ends = Turns(), list[str](), asyncio.Event()

    async def short(name: str) -> None:
        seen.append(name)

    noting = asyncio.create_task(rounds(seen, ends))
    await asyncio.gather(*(Metered(short(name), turns) for name in "abcd"))
    ends.set()
    await noting

    assert "abcd" in "".join(seen)


async def test_one_that_is_cancelled_while_it_waits_hears_of_it_and_holds_nobody_up() -> None:
    # given a long step, and two batches that wait for the next round
    turns, seen = Turns(), list[str]()
    first = asyncio.ensure_future(Metered(batch("first", seen), turns))
    second = asyncio.ensure_future(Metered(batch("second", seen), turns))
    turns.took(LONG_S)
    await asyncio.sleep(0)

    # when the first is cancelled
    first.cancel()

    # then it ends without having begun, and the second goes on
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 5)
    assert seen == ["second"]
