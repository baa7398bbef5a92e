"""
What holds up the loop of a worker is felt, and told in seconds.
"""

import asyncio
import time

from fraudstream.fleet.stalls import feel_stalls
from tests.support.wait import wait_until


async def test_a_loop_that_is_held_up_is_felt_for_as_long_as_it_was():
    felt: list[float] = []
    stop = asyncio.Event()
    feeling = asyncio.create_task(feel_stalls(stop, felt.append, every_s=0.005))
    await wait_until(lambda: len(felt) >= 2, "the first looks")

    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        pass
    count = len(felt)
    await wait_until(lambda: len(felt) > count, "the look behind the stall")
    stop.set()
    await feeling

    assert max(felt[count:]) >= 0.09
