"""
The load of the end-to-end benchmark: payments made beforehand, sent open-loop, and what came of each.
"""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.postgres_account import decided_since
from fraudstream.adapters.redis_account import waiting
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_keys import Partitions
from fraudstream.app.bench_calendar import Calendar
from fraudstream.app.connections import address, intake
from fraudstream.app.demo import Progress, settle
from fraudstream.app.local_system import DEMO_GROUPS, LocalSystem
from fraudstream.app.processes import Usage, usage
from fraudstream.producers.produce import produce
from fraudstream.producers.synthetic import generate

#: Seconds between two looks at what waits.
_LOOK_EVERY_S = 1.0
#: Rates are held to be kept while no more than so many seconds' worth waits, beyond what waited before; where so much waits
#: no more is sent, since nothing can make the rate a kept one.
_FLAT_S, _LATE_S, _HOPELESS_S = 0.5, 0.5, 5.0


class Payments:
    """
    Synthetic payments in a file, made before anything is measured: making one takes as long as sending it.

    Args:
        calendar: Shared by all payments that one system gets.
    """

    def __init__(self, file: Path, count: int, progress: Progress, calendar: Calendar | None = None) -> None:
        self._file = file.open("wb+")
        for number, one in enumerate(generate((calendar or Calendar()).world(count)), 1):
            self._file.write(one.body + b"\n")
            if number % 10_000 == 0:
                progress.count("payments made", number, count)
        self._file.seek(0)
        self.left = count

    def take(self, count: int) -> Iterator[bytes]:
        """
        Yield the next payments, each once.

        Raises:
            ValueError: There are not so many left.
        """
        if count > self.left:
            raise ValueError(f"{count} payments asked for, {self.left} left")
        self.left -= count
        return (self._file.readline()[:-1] for _ in range(count))

    def close(self) -> None:
        """
        Close the file.
        """
        self._file.close()


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one stretch of load gave.

    ``rate_tps`` is what was asked for (0 = as fast as possible), ``sent_tps`` and ``recorded_tps`` what came. ``recorded`` is
    less than ``transactions`` where sending was given up. ``latency_ms``
    are the latencies of all transactions, sorted; from the moment each was due where there is a rate and it was late, else from
    its XADD.
    ``lag`` is what waited in the slowest group, as (seconds since the start, entries). ``behind_s`` is the most that the
    producer was late.
    """

    rate_tps: float
    transactions: int
    recorded: int
    degraded: int
    seconds: float
    sent_tps: float
    recorded_tps: float
    behind_s: float
    latency_ms: NDArray[np.float64]
    lag: list[tuple[float, int]]
    lag_end: int
    before: Usage
    after: Usage

    @property
    def flat(self) -> bool:
        """
        Whether the rate was kept: all recorded, none degraded, the producer in time and no growing lag.
        """
        settled = [entries for _, entries in self.lag]
        third = max(1, len(settled) // 3)
        grown = float(np.median(settled[-third:]) - np.median(settled[:third])) if settled else 0.0
        return (
            self.recorded == self.transactions
            and self.degraded == 0
            and self.behind_s < _LATE_S
            and grown <= _FLAT_S * self.rate_tps
            and self.lag_end <= self.rate_tps
        )


class _FirstReading:
    """
    The wall clock, and when it was first read: that is when transaction 0 is due.
    """

    def __init__(self) -> None:
        self.first_s: float | None = None

    def __call__(self) -> float:
        now_s = time.time()
        self.first_s = now_s if self.first_s is None else self.first_s
        return now_s


async def stretch(system: LocalSystem, payments: Payments, count: int, rate_tps: float | None, progress: Progress) -> Stretch:
    """
    Send payments open-loop and wait until all are recorded: transaction n is due n / rate seconds after the first.

    A system that falls behind is not given less to do, and the wait of those that could not even be sent counts (corrected
    for coordinated omission). Once it is hopelessly behind the rest is not sent at all: the rate was not kept.
    """
    clock, before = _FirstReading(), usage(system)
    stop, lag = asyncio.Event(), list[tuple[float, int]]()
    most = None if rate_tps is None else _HOPELESS_S * rate_tps
    bodies = list(payments.take(count)) if most is None else while_hope(payments.take(count), lag, most)
    began = time.time()
    looking = asyncio.create_task(_look(system, began, lag, stop))
    try:
        async with intake(system.settings()) as target:
            sent = await produce(bodies, target, rate_per_s=rate_tps, clock=clock)
        lag_end = lag[-1][1] if lag else 0
        sent_s = time.time() - began
    finally:
        stop.set()
        await looking
    await settle(system, sent.appended, progress, told=False)
    after = usage(system)  # what it takes to look at all rows is not the system's
    rows = await decided_since(system.postgres.url, began - 0.005)
    start_ms = rows.received_ms
    if rate_tps is not None:
        # The producer sends a few together when the first of them is due: those that went early count from when they went.
        start_ms = np.minimum(start_ms, _due_ms(clock.first_s or began, rate_tps, len(start_ms)))
    return Stretch(
        rate_tps=rate_tps or 0.0,
        transactions=count,
        recorded=len(rows.received_ms),
        degraded=rows.degraded,
        seconds=round(time.time() - began, 3),
        sent_tps=round(sent.appended / sent_s, 1),
        recorded_tps=round(len(rows.received_ms) / (rows.last_ms / 1000 - began), 1),
        behind_s=round(sent.behind_s, 3),
        latency_ms=np.sort(rows.decided_ms - start_ms),
        lag=lag,
        lag_end=lag_end,
        before=before,
        after=after,
    )


def _due_ms(first_s: float, rate_tps: float, count: int) -> NDArray[np.float64]:
    """
    Return when each transaction was due, in the order of the stream.
    """
    due: NDArray[np.float64] = (first_s + np.arange(count) / rate_tps) * 1000
    return due


def while_hope(bodies: Iterator[bytes], lag: Sequence[tuple[float, int]], most: float) -> Iterator[bytes]:
    """
    Yield payments until more than so many wait for the slowest group.
    """
    return itertools.takewhile(lambda _: not lag or lag[-1][1] <= most, bodies)


async def _look(system: LocalSystem, began: float, lag: list[tuple[float, int]], stop: asyncio.Event) -> None:
    async with connected(address(system.settings()), connections=1) as client:
        while not stop.is_set():
            open_entries = await waiting(client, DEMO_GROUPS, Partitions(system.settings().partitions))
            # The alerter tells people; how long that takes is not part of a decision.
            slowest = max(count for group, count in open_entries.items() if group != "alerter")
            lag.append((round(time.time() - began, 2), slowest))
            try:
                await asyncio.wait_for(stop.wait(), _LOOK_EVERY_S)
            except TimeoutError:
                continue
