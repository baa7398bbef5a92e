"""
One consumer of one group: read, look after what others left behind, beat, drain.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine

from fraudstream.domain.errors import TransientError
from fraudstream.fleet import crash
from fraudstream.fleet.backoff import full_jitter
from fraudstream.fleet.company import Company
from fraudstream.fleet.hands import ONCE_MORE, Hands, Limits
from fraudstream.fleet.heartbeat import Heartbeat
from fraudstream.fleet.ports import Delivery, FleetReport, Heart, OverdueSource, Stage, TransactionStream
from fraudstream.fleet.turns import Turns

#: Reads the next deliveries of one kind; an empty list means that there are none now.
Source = Callable[[], Awaitable[list[Delivery]]]
#: How many reads that find nothing are waited for before what others left behind is looked at.
_READS = 1.5
#: Fewer entries than this are seldom all that comes at that moment; how long more of them are waited for, in milliseconds.
_FEW, _MOMENT_MS = 32, 1


class Worker:
    """
    Run a stage over a stream until told to stop.

    With ``overdue`` the worker reads nothing new: it steps into a lagging group and takes what is overdue there. Workers of one
    event loop share their ``turns``, and all of a process their ``company``.
    """

    def __init__(
        self,
        stage: Stage,
        stream: TransactionStream,
        heart: Heart,
        *,
        limits: Limits,
        report: FleetReport,
        rng: random.Random,
        overdue: OverdueSource | None = None,
        overdue_every_s: float = 0.0625,
        turns: Turns | None = None,
        company: Company | None = None,
    ) -> None:
        self._stream = stream
        self._limits = limits
        self._report = report
        self._rng = rng
        self._hands = Hands(stage, stream, limits, report, rng, turns=turns, company=company)
        self._heartbeat = Heartbeat(heart, lambda: self._hands.held, life_s=limits.heartbeat_life_s, report=report)
        self._overdue = overdue
        self._overdue_every_s = overdue_every_s
        self._stop = asyncio.Event()
        self._suspects = asyncio.Lock()
        self._read_at_s = -limits.read_every_s

    def stop(self) -> None:
        """
        Ask the worker to drain; returns at once.
        """
        self._stop.set()
        self._hands.stop()

    async def run(self) -> None:
        """
        Work until ``stop``, then finish what is in hand and leave.
        """
        self._report.changed("starting")
        await self._through_outages(self._open)
        await asyncio.to_thread(self._heartbeat.start)
        self._report.changed("running")
        pulse = asyncio.create_task(self._pulse())
        loops = [asyncio.create_task(loop) for loop in self._loops()]
        try:
            await asyncio.gather(*loops)
        finally:
            # Where one loop failed the others stop too, each in its own time: a cancelled read would strand its reply.
            self.stop()
            await asyncio.wait(loops)
            await self._drain()
            pulse.cancel()
            await asyncio.wait([pulse])

    def _loops(self) -> list[Coroutine[None, None, None]]:
        limits = self._limits
        loops = [self._one_by_one(limits.stranded_every_s, self._stranded)]
        if self._overdue is not None:
            return [*loops, self._every(self._overdue_every_s, self._step_in)]
        return [
            *loops,
            self._one_by_one(limits.due_every_s, self._due),
            self._one_by_one(limits.claim_every_s, self._claim),
            self._read(),
        ]

    async def _open(self) -> list[Delivery]:
        await self._stream.open()
        return []

    async def _drain(self) -> None:
        self._report.changed("draining")
        try:
            await self._hands.drain(self._limits.drain_timeout_s)
        except TransientError as exc:
            # What is still pending is claimed by others once our heartbeat has run out.
            self._report.retried("unavailable", repr(exc), entries=len(self._hands.held), pause_s=0.0)
        finally:
            await asyncio.to_thread(self._heartbeat.stop)
        try:
            await self._stream.leave()
        except TransientError as exc:
            self._report.retried("unavailable", repr(exc), entries=0, pause_s=0.0)
        self._report.changed("stopped")

    async def _pulse(self) -> None:
        """
        Tell the heart that the loop is alive, until the drain is over.
        """
        while True:
            self._heartbeat.tick()
            self._report.ticked()
            await asyncio.sleep(self._limits.heartbeat_life_s / 10)

    async def _read(self) -> None:
        """
        Read new entries while there is room for them. A read is never cancelled: its reply would be stranded.
        """
        while await self._hands.slot():
            deliveries = await self._through_outages(self._new)
            if deliveries:
                await self._hands.take(deliveries)
            else:
                self._hands.no_slot()

    async def _new(self) -> list[Delivery]:
        await self._gather()
        if self._stop.is_set():
            return []
        deliveries = await self._come_together(self._limits.batch_entries)
        self._report.read(len(deliveries))
        if deliveries:
            self._read_at_s = time.monotonic()
            crash.here("read")
        return deliveries

    async def _come_together(self, most: int) -> list[Delivery]:
        """
        Read new entries. What a producer sends at once wakes us up with its first entry: the others belong into the same batch.
        """
        first = await self._stream.read(most, self._limits.block_ms)
        if not first or len(first) >= min(_FEW, most):
            return first
        try:
            return first + await self._stream.read(most - len(first), _MOMENT_MS)
        except TransientError:
            return first  # the next read meets it again, and is told of it

    async def _gather(self) -> None:
        """
        Let more come together before the next read, where that is asked for.
        """
        if self._limits.read_every_s:
            early_s = self._read_at_s + self._limits.read_every_s - time.monotonic()
            if early_s > 0:
                await self._rest(early_s)

    async def _stranded(self) -> list[Delivery]:
        return await self._stream.stranded(self._hands.held, int(self._limits.stranded_every_s * 1000))

    async def _due(self) -> list[Delivery]:
        return await self._stream.due(self._limits.batch_entries)

    async def _claim(self) -> list[Delivery]:
        deliveries = await self._stream.claim(self._limits.batch_entries)
        self._report.reclaimed(len(deliveries))
        if deliveries:
            crash.here("claimed")
        return deliveries

    async def _step_in(self) -> list[Delivery]:
        assert self._overdue is not None
        deliveries, more = await self._overdue.overdue(self._limits.batch_entries)
        while more and not deliveries and not self._stop.is_set():
            deliveries, more = await self._overdue.overdue(self._limits.batch_entries)
        if deliveries:
            crash.here("overdue")
        return deliveries

    async def _every(self, interval_s: float, source: Source) -> None:
        """
        Ask a source now and then, and again at once while it answers.
        """
        while await self._hands.slot():
            deliveries = await self._through_outages(source)
            if deliveries:
                await self._hands.take(deliveries)
            else:
                self._hands.no_slot()
                await self._rest(interval_s)

    async def _one_by_one(self, interval_s: float, source: Source) -> None:
        """
        The same for what was handed out before. What two processes held already is alone of its kind in this one until it has
        met its end: an entry that takes the process down with it must not count against others, time after time.
        """
        if self._overdue is None:
            # The first read goes before: what it brings to its end shows what this process lives through.
            await self._hands.proven(_READS * self._limits.block_ms / 1000)
        while not self._stop.is_set():
            async with self._suspects:
                if not await self._hands.slot():
                    return
                deliveries = await self._through_outages(source)
                if deliveries:
                    work = await self._hands.take(deliveries, alone=True)
                    if any(delivery.deliveries > ONCE_MORE for delivery in deliveries):
                        await self._hands.over(work)
                else:
                    self._hands.no_slot()
            if not deliveries:
                await self._rest(interval_s)

    async def _through_outages(self, source: Source) -> list[Delivery]:
        """
        Ask a source; while its server is away wait longer and longer, and give up only to stop.
        """
        attempt = 0
        while True:
            try:
                return await source()
            except TransientError as exc:
                limits = self._limits
                pause_s = full_jitter(attempt, first_s=limits.pause_first_s, longest_s=limits.pause_longest_s, rng=self._rng)
                self._report.retried("unavailable", repr(exc), entries=0, pause_s=pause_s)
                await self._rest(pause_s)
                attempt += 1
                if self._stop.is_set():
                    return []

    async def _rest(self, pause_s: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), pause_s)
        except TimeoutError:
            return
