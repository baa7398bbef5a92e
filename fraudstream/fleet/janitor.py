"""
Sweep now and then, and go on after an outage.
"""

import asyncio
from collections.abc import Awaitable, Callable

from fraudstream.domain.errors import TransientError
from fraudstream.fleet.ports import FleetReport


async def sweep_until(stop: asyncio.Event, sweep: Callable[[], Awaitable[int]], *, every_s: float, report: FleetReport) -> None:
    """
    Call ``sweep`` at an interval until told to stop; a server that is away is tried again at the next turn.
    """
    while not stop.is_set():
        try:
            await sweep()
        except TransientError as exc:
            report.retried("unavailable", repr(exc), entries=0, pause_s=every_s)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue
