"""
What a worker has in hand, and what becomes of it: the table from errors to fates.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence

import msgspec

from fraudstream.domain.errors import TransientError
from fraudstream.fleet import crash
from fraudstream.fleet.backoff import full_jitter
from fraudstream.fleet.company import Company
from fraudstream.fleet.metered import Metered
from fraudstream.fleet.ports import TRIED_ALONE, Accused, Delivery, FleetReport, Handled, Stage, TransactionStream
from fraudstream.fleet.turns import Turns

#: An entry that is handed out for the second time was in the hands of one process that died: most often of something else.
ONCE_MORE = 2
#: How far apart neighbours may lie, in milliseconds, and how many of them are worked at once.
_CLOSE_MS, _COMPANY = 20, 32


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """
    The bounds of one worker.

    ``batch_entries`` is the most that one read takes; ``batches_in_hand`` how many batches are worked at the same time;
    ``max_deliveries`` after how many tries an entry is given up; being handed out again is no try once it is tried alone.
    ``read_every_s`` is the shortest time from one read to the next: where nobody waits for the result, what comes meanwhile is
    cheaper together.
    """

    batch_entries: int = 128
    batches_in_hand: int = 4
    max_deliveries: int = 5
    block_ms: int = 1000
    read_every_s: float = 0.0
    heartbeat_life_s: float = 10.0
    drain_timeout_s: float = 30.0
    due_every_s: float = 0.2
    claim_every_s: float = 1.0
    stranded_every_s: float = 2.0
    retry_first_s: float = 0.1
    retry_longest_s: float = 30.0
    pause_first_s: float = 0.05
    pause_longest_s: float = 5.0


class Hands:
    """
    Work deliveries through a stage, each to exactly one end: settled, acknowledged, given back or buried.

    Workers die of many things, and mostly not of what they hold. A death speaks against an entry only where the whole process
    had nothing else at work, had brought others of this group to their end since it started and since a server was away, and
    had said before it began that it would try this one: ``TransactionStream.accuse``.

    Args:
        turns: Shared by all who work on the same event loop.
        company: All work of this process.
    """

    def __init__(
        self,
        stage: Stage,
        stream: TransactionStream,
        limits: Limits,
        report: FleetReport,
        rng: random.Random,
        *,
        turns: Turns | None = None,
        company: Company | None = None,
    ) -> None:
        self._stage = stage
        self._stream = stream
        self._limits = limits
        self._report = report
        self._rng = rng
        self._turns = turns or Turns()
        self._held: dict[bytes, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(limits.batches_in_hand)
        self._stopping = asyncio.Event()
        self._company = company or Company()
        self._proven = asyncio.Event()
        self._accused: dict[bytes, int] = {}

    @property
    def held(self) -> Sequence[bytes]:
        """
        The entry ids in hand; safe to read from another thread.
        """
        return tuple(self._held)

    def stop(self) -> None:
        """
        Wait for no slot and for no server any more; returns at once.
        """
        self._stopping.set()

    async def slot(self) -> bool:
        """
        Wait until one more batch may be taken; False when it is time to stop. ``take`` or ``no_slot`` gives the slot back.
        """
        if self._stopping.is_set():
            return False
        if not self._slots.locked():
            return await self._slots.acquire()
        # What is in hand may wait for a server that stays away: whoever waits for its slot must hear the stop.
        taking, stopping = asyncio.create_task(self._slots.acquire()), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((taking, stopping), return_when=asyncio.FIRST_COMPLETED)
        free = taking.done()
        for task in (taking, stopping):
            task.cancel()
        await asyncio.gather(taking, stopping, return_exceptions=True)
        return free

    def no_slot(self) -> None:
        """
        Give back a slot for which nothing was found.
        """
        self._slots.release()

    async def take(self, deliveries: Sequence[Delivery], *, alone: bool = False) -> "asyncio.Task[None]":
        """
        Work deliveries in the slot that the caller has waited for, without waiting for the end.

        Suspects are worked alone, each after the other. With ``alone`` the others are too, unless they lie close together:
        entries far apart must not make one range for stepping in, which would drag along everything between them. What one
        worker left behind does lie close, and would take minutes one by one. An entry already in hand is passed over.

        Returns:
            The work, for who wants to wait for it: see ``over``.
        """
        fresh = [delivery for delivery in deliveries if delivery.entry_id not in self._held]
        self._held.update((delivery.entry_id, delivery) for delivery in fresh)
        self._report.in_hand(len(self._held))
        company = min(ONCE_MORE, self._limits.max_deliveries)
        task = asyncio.create_task(self._work(_neighbours(fresh, company) if alone else _split(fresh)))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def over(self, work: "asyncio.Task[None]") -> None:
        """
        Wait until some work has met its end, or it is time to stop.
        """
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)

    async def proven(self, timeout_s: float) -> None:
        """
        Wait until something was brought to its end here, it is time to stop, or the time is over.
        """
        waits = [asyncio.create_task(event.wait()) for event in (self._proven, self._stopping)]
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report.retried("failed", repr(error), entries=0, pause_s=0.0)

    async def _work(self, batches: Sequence[Sequence[Delivery]]) -> None:
        try:
            for batch in batches:
                await self._until_over(batch)
        finally:
            for delivery in itertools.chain.from_iterable(batches):
                self._held.pop(delivery.entry_id, None)
            self._report.in_hand(len(self._held))

    async def _until_over(self, batch: Sequence[Delivery]) -> None:
        """
        Work a batch until every delivery of it has met its end; servers that are away are waited for.
        """
        attempt = 0
        while True:
            try:
                await self._once(batch)
            except TransientError as exc:
                if self._stopping.is_set():
                    await self._stream.hand_back([delivery.entry_id for delivery in batch])
                    return
                pause_s = full_jitter(
                    attempt, first_s=self._limits.pause_first_s, longest_s=self._limits.pause_longest_s, rng=self._rng
                )
                self._report.retried("unavailable", repr(exc), entries=len(batch), pause_s=pause_s)
                await self._pause(pause_s)
                attempt += 1
            else:
                return

    async def _once(self, batch: Sequence[Delivery]) -> None:
        first = batch[0]
        if first.fields is None:
            await self._entomb(first)
        elif first.deliveries > max(self._limits.max_deliveries, TRIED_ALONE):
            await self._give_up(first, f"tried alone {first.deliveries - TRIED_ALONE} times without an end")
        elif len(batch) == 1 and first.deliveries >= TRIED_ALONE:
            await self._try_alone(first)
        else:
            async with self._company.beside():
                error = await self._try(batch)
            if error is not None:
                await self._find_culprit(batch, error)

    async def _try_alone(self, delivery: Delivery) -> None:
        """
        Try what others did not live through, or failed at: with nothing else at work in this process if possible, and said
        beforehand.
        """
        entry_id, before = delivery.entry_id, delivery.deliveries
        async with self._company.alone() as alone:
            accused = await self._stream.accuse(entry_id, before + 1, proven=self._proven.is_set(), alone=alone)
            if accused is Accused.OTHERS_FIRST:
                await self._stream.later(entry_id, self._delay_s(delivery))
            if accused in (Accused.OTHERS_FIRST, Accused.GONE):
                return
            self._accused[entry_id] = before
            try:
                error = await self._try([delivery])
            except (TransientError, asyncio.CancelledError):
                await self._acquit(entry_id)
                raise
        if error is None:
            self._accused.pop(entry_id, None)
        else:
            await self._acquit(entry_id)
            await self._find_culprit([delivery], error)

    async def _acquit(self, entry_id: bytes) -> None:
        """
        Take an accusation back: whatever ended the try, the process lived.
        """
        if (before := self._accused.pop(entry_id, None)) is not None:
            await self._stream.acquit(entry_id, before)

    async def _try(self, batch: Sequence[Delivery]) -> Exception | None:
        """
        Work a batch; return the error where that is the fault of one of them.
        """
        work = Metered(self._stage.work(batch), self._turns)
        try:
            handled = await work
            await self._finish(handled)
        except TransientError:
            self._proven.clear()
            raise
        except Exception as exc:  # noqa: BLE001 the one place: whatever it was, the entry stays pending until it has an end
            return exc
        finally:
            self._report.spent(work.cpu_s)
        if handled.settled or handled.done:
            self._proven.set()
        return None

    async def _find_culprit(self, batch: Sequence[Delivery], error: Exception) -> None:
        """
        A batch failed by somebody's fault: work each one alone, so that the innocent pass and the guilty is known.
        """
        if len(batch) > 1:
            for delivery in batch:
                await self._until_over([delivery])
            return
        delivery = batch[0]
        if delivery.deliveries >= self._limits.max_deliveries:
            await self._give_up(delivery, repr(error))
            return
        delay_s = self._delay_s(delivery)
        self._report.retried("failed", repr(error), entries=1, pause_s=delay_s)
        await self._stream.later(delivery.entry_id, delay_s, failed=delivery.deliveries + 1)
        crash.here("later")

    def _delay_s(self, delivery: Delivery) -> float:
        limits = self._limits
        return full_jitter(delivery.deliveries, first_s=limits.retry_first_s, longest_s=limits.retry_longest_s, rng=self._rng)

    async def _give_up(self, delivery: Delivery, error: str) -> None:
        try:
            async with self._company.beside():
                await self._finish(await self._stage.give_up(delivery, error))
        except TransientError:
            raise
        except Exception as exc:  # noqa: BLE001 not even its end succeeds: it is tried again, seldom, and everybody can see it
            pause_s = self._limits.retry_longest_s
            self._report.retried("failed", repr(exc), entries=1, pause_s=pause_s)
            await self._stream.later(delivery.entry_id, pause_s)
        else:
            self._report.gave_up(error)

    async def _entomb(self, delivery: Delivery) -> None:
        if await self._stream.entomb(delivery.entry_id):
            self._report.buried("trimmed", delivery.entry_id.decode(), "trimmed before it was worked")

    async def _finish(self, handled: Handled) -> None:
        for letter in handled.letters:
            if await self._stream.bury(letter):
                self._report.buried(letter.reason, letter.entry_id.decode(), letter.error)
        if handled.letters:
            crash.here("buried")
        if handled.done:
            await self._stream.acknowledge(handled.done)
            crash.here("acknowledged")
        for entry_id, delay_s in handled.retry.items():
            await self._acquit(entry_id)
            await self._stream.later(entry_id, delay_s)
        self._report.handled(len(handled.settled) + len(handled.done), len(handled.letters))

    async def _pause(self, pause_s: float) -> None:
        """
        Wait, but not longer than until the worker stops.
        """
        try:
            await asyncio.wait_for(self._stopping.wait(), pause_s)
        except TimeoutError:
            return

    async def drain(self, timeout_s: float) -> None:
        """
        Finish what is in hand within the bound, and give back the rest.
        """
        self._stopping.set()
        tasks = set(self._tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            held = self.held
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            if late:
                await self._stream.hand_back(held)


def _split(deliveries: Sequence[Delivery]) -> list[list[Delivery]]:
    """
    First deliveries stay together; a suspect, or an entry without a body, travels alone.
    """
    together = [delivery for delivery in deliveries if delivery.deliveries == 1 and delivery.fields is not None]
    suspects = [[delivery] for delivery in deliveries if delivery.deliveries > 1 or delivery.fields is None]
    return ([together] if together else []) + suspects


def _neighbours(deliveries: Sequence[Delivery], most_deliveries: int) -> list[list[Delivery]]:
    """
    Put those together that lie close and were not handed out more often; the others travel alone.
    """
    groups: list[list[Delivery]] = []
    for delivery in sorted(deliveries, key=lambda one: one.received_at_ms):
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.deliveries == delivery.deliveries <= most_deliveries
            and last.fields is not None
            and delivery.fields is not None
            and delivery.received_at_ms - last.received_at_ms <= _CLOSE_MS
            and len(groups[-1]) < _COMPANY
        ):
            groups[-1].append(delivery)
        else:
            groups.append([delivery])
    return groups
