"""
A worker with everything around it in memory: a stage that can be told to misbehave, a report that remembers.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from fraudstream.fleet.hands import Limits
from fraudstream.fleet.ports import Delivery, Handled, Letter, OverdueSource
from fraudstream.fleet.worker import Worker
from tests.support.fake_stream import FakeHeart, FakeStream, MemoryStreams

#: Every pause short, so that a test is over in milliseconds.
QUICK = Limits(
    batch_entries=20,
    batches_in_hand=2,
    max_deliveries=3,
    block_ms=1,
    heartbeat_life_s=0.3,
    drain_timeout_s=0.5,
    due_every_s=0.002,
    claim_every_s=0.005,
    stranded_every_s=0.02,
    retry_first_s=0.001,
    retry_longest_s=0.005,
    pause_first_s=0.001,
    pause_longest_s=0.005,
)


class RememberingReport:
    """
    ``FleetReport`` that keeps what it was told.
    """

    def __init__(self) -> None:
        self.ticks = 0
        self.states: list[str] = []
        self.retries: list[tuple[str, str]] = []
        self.letters: list[tuple[str, str]] = []
        self.given_up: list[str] = []
        self.reclaimed_entries = 0
        self.handled_entries = 0
        self.most_in_hand = 0
        self.now_in_hand = 0
        self.cpu_s = 0.0

    def ticked(self) -> None:
        self.ticks += 1

    def read(self, entries: int) -> None: ...

    def reclaimed(self, entries: int) -> None:
        self.reclaimed_entries += entries

    def in_hand(self, entries: int) -> None:
        self.now_in_hand = entries
        self.most_in_hand = max(self.most_in_hand, entries)

    def handled(self, entries: int, letters: int) -> None:
        self.handled_entries += entries

    def spent(self, cpu_s: float) -> None:
        self.cpu_s += cpu_s

    def gave_up(self, error: str) -> None:
        self.given_up.append(error)

    def retried(self, reason: str, error: str, *, entries: int, pause_s: float) -> None:
        self.retries.append((reason, error))

    def buried(self, reason: str, entry_id: str, error: str) -> None:
        self.letters.append((reason, entry_id))

    def changed(self, state: str) -> None:
        self.states.append(state)


class ObedientStage:
    """
    ``Stage`` that acknowledges every entry, after asking ``before`` what it thinks of the batch.
    """

    def __init__(self, before: Callable[[Sequence[Delivery]], object] = lambda _: None) -> None:
        self.before = before
        self.batches: list[list[Delivery]] = []
        self.done: Counter[bytes] = Counter()
        self.given_up: list[tuple[bytes, str]] = []
        self.give_up_error: Exception | None = None

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        self.batches.append(list(batch))
        answer = self.before(batch)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, Handled):
            return answer
        self.done.update(delivery.entry_id for delivery in batch)
        return Handled(done=[delivery.entry_id for delivery in batch])

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        self.given_up.append((delivery.entry_id, error))
        if self.give_up_error is not None:
            raise self.give_up_error
        letter = Letter(entry_id=delivery.entry_id, reason="max_retries", error=error, fields=delivery.fields or {})
        return Handled(done=[delivery.entry_id], letters=[letter])


class Bench:
    """
    One worker over one stream in memory, and everything that a test looks at.
    """

    def __init__(
        self,
        stage: ObedientStage,
        *,
        limits: Limits = QUICK,
        overdue: OverdueSource | None = None,
        claim_idle_s: float = 0.0,
        stream: type[FakeStream] = FakeStream,
    ) -> None:
        self.limits = limits
        self.streams = MemoryStreams()
        self.stream = stream(self.streams, claim_idle_s=claim_idle_s)
        self.heart = FakeHeart(self.stream, limits.heartbeat_life_s)
        self.report = RememberingReport()
        self.stage = stage
        self.worker = Worker(
            stage,
            self.stream,
            self.heart,
            limits=limits,
            report=self.report,
            rng=random.Random(1),
            overdue=overdue,
            overdue_every_s=0.002,
        )

    def add(self, count: int) -> list[bytes]:
        return [self.streams.add({b"data": b"%d" % number}) for number in range(count)]

    @property
    def pending(self) -> dict[bytes, object]:
        return dict(self.streams.pending(self.stream.group)) if self.stream.group in self.streams.groups else {}

    def all_over(self) -> bool:
        group = self.streams.groups.get(self.stream.group)
        return group is not None and not group.pending and group.last == max(self.streams.entries, default=0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """
        Run the worker for the length of the block, then stop it and wait for its end.
        """
        task = asyncio.create_task(self.worker.run())
        try:
            yield
        finally:
            self.worker.stop()
            async with asyncio.timeout(60):
                await task


def quick(**changes: float) -> Limits:
    """
    Return the quick limits with changes.
    """
    return msgspec.structs.replace(QUICK, **changes)
