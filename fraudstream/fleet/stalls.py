"""
How long the loop of a worker is held up: whatever holds it up holds up every payment in hand.
"""

import asyncio
import sys
from collections.abc import Callable

#: Pause between two looks, in seconds: no stall of twice that length is missed.
FEEL_EVERY_S = 0.02
#: How long a thread may go on while another one waits for the interpreter, in seconds. Python's own 5 ms are paid each time
#: that the loop comes back from a call to the system, a dozen times per batch, while a thread builds rules or reads a list.
SWITCH_EVERY_S = 0.0005


def share_the_interpreter() -> None:
    """
    Let threads that build something hold the loop up as little as can be.
    """
    sys.setswitchinterval(SWITCH_EVERY_S)


async def feel_stalls(stop: asyncio.Event, told: Callable[[float], None], *, every_s: float = FEEL_EVERY_S) -> None:
    """
    Tell, again and again until told to stop, how many seconds too late the loop woke us up.
    """
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        due = loop.time() + every_s
        await asyncio.sleep(every_s)
        told(max(0.0, loop.time() - due))
