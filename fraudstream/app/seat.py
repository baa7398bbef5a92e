"""
One partition as the consumers of a process see it: its names and connections, and what is at work on it.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_janitor import RedisJanitor
from fraudstream.adapters.redis_keys import SHARED_TAG
from fraudstream.adapters.redis_partitions import Part
from fraudstream.adapters.redis_troubles import RedisTroubles
from fraudstream.app.alerting import Alerting
from fraudstream.fleet.janitor import sweep_until
from fraudstream.fleet.worker import Worker
from fraudstream.telemetry.report import GroupReport

#: Pause between two looks at what there is to complain of, in seconds; where there is nothing, nothing is written.
COMPLAIN_EVERY_S = 2.0


class Seat:
    """
    The consumers of one partition, and what they share.

    Args:
        address: Where Redis is.
        parts: Every partition in order.
        number: Which of them this is.
        stack: Closes what is opened for it.
    """

    def __init__(self, address: RedisAddress, parts: Sequence[Part], number: int, stack: AsyncExitStack) -> None:
        self.address = address
        self.parts = parts
        self.number = number
        self.stack = stack
        self.keys, self.commands = parts[number].keys, parts[number].client
        self.tag = self.keys.tag or SHARED_TAG
        self.clock = RedisClock()
        self.janitor = RedisJanitor(self.commands, self.keys)
        self.workers: list[Worker] = []
        self.reports: list[GroupReport] = []
        self.complaints: list[tuple[GroupReport, RedisTroubles]] = []
        self.alerting: Alerting | None = None

    async def complain(self) -> int:
        """
        Leave in Redis what each consumer complains of lately; return how many kinds.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        return sum([await told.tell(report.troubles.lately()) for report, told in self.complaints])


class PartitionPost:
    """
    ``Post`` of one group on one partition among several: its consumers, the janitor of the partition, and the alert desks.

    Args:
        seat: With the consumers of the group, and a stack of its own.
        janitor_every_s: Pause between two trims.
    """

    def __init__(self, seat: Seat, *, janitor_every_s: float) -> None:
        self._seat = seat
        self._janitor_every_s = janitor_every_s

    def stop(self) -> None:
        """
        Ask every consumer to drain.
        """
        for worker in self._seat.workers:
            worker.stop()

    async def run(self) -> None:
        """
        Work until ``stop``; whichever consumer ends first, all of them drain.
        """
        seat, ended = self._seat, asyncio.Event()
        report = seat.reports[0]
        chores = [
            sweep_until(ended, seat.janitor.sweep, every_s=self._janitor_every_s, report=report),
            sweep_until(ended, seat.complain, every_s=COMPLAIN_EVERY_S, report=report),
            *(() if seat.alerting is None else seat.alerting.chores(ended)),
        ]
        async with seat.stack:
            beside = [asyncio.create_task(chore) for chore in chores]
            tasks = [asyncio.create_task(worker.run()) for worker in seat.workers]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self.stop()
            try:
                await asyncio.gather(*tasks)
            finally:
                ended.set()
                await asyncio.gather(*beside, return_exceptions=True)
