"""
The whole system on one machine: embedded servers, one process per group, a producer, and an account of what came out.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec

from fraudstream.adapters.postgres_account import stored
from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.redis_account import untold, waiting
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_keys import Partitions
from fraudstream.app.account import detection
from fraudstream.app.connections import address, intake
from fraudstream.app.local_system import DEMO_GROUPS, LocalSystem
from fraudstream.domain.errors import TransientError
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.produce import produce
from fraudstream.telemetry.pages import counted

#: How long nothing may move before the demo says that it is stuck, in seconds.
_STUCK_S = 60.0


class DemoPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    What to run.

    ``rate_per_s`` None means as fast as the producer can; ``deadline_ms`` 0 lets a verdict wait for ever, as a replay needs.
    """

    source: Callable[[], Iterable[Labelled]]
    total: int | None
    rate_per_s: float | None = None
    deadline_ms: int = 250
    workers_per_group: int = 1
    keep: bool = False
    partitions: int = 1
    inherited: dict[str, str] = {}


class Progress(msgspec.Struct, frozen=True):
    """
    Where the demo tells how far it is: a sentence per step, and (done, total) while something counts.
    """

    step: Callable[[str], None]
    count: Callable[[str, int, int | None], None]


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The account. Nothing is lost when produced = decided + duplicates + dead_lettered, and decided = recorded.
    """

    produced: int
    decided: int
    recorded: int
    duplicates: int
    dead_lettered: int
    flagged: int
    alerts_sent: int
    degraded: int
    throughput_tps: float
    latency_ms: dict[str, float]
    outcomes: dict[str, int]
    detection: dict[str, float | None]

    @property
    def adds_up(self) -> bool:
        """
        Whether every transaction is accounted for.
        """
        return self.produced == self.decided + self.duplicates + self.dead_lettered and self.decided == self.recorded


async def run_demo(plan: DemoPlan, progress: Progress, *, kept: Callable[[LocalSystem, list[int]], None]) -> DemoReport:
    """
    Run the whole system once and account for every transaction.

    Raises:
        ConfigurationError: A server of our own did not start.
        TransientError: The system stopped moving; the text says where it stands.
    """
    progress.step("starting Valkey and PostgreSQL")
    groups = DEMO_GROUPS * plan.workers_per_group
    with LocalSystem(
        inherited=plan.inherited, deadline_ms=plan.deadline_ms, horizon_s=0, groups=groups, partitions=plan.partitions
    ) as system:
        await migrate(system.postgres.url)
        progress.step(f"starting {len(groups)} workers")
        system.start_workers()
        truth: dict[str, bool | None] = {}
        produced = await _produce(plan, system, truth, progress)
        await settle(system, produced, progress)
        report = await _account(system, produced, truth)
        if plan.keep:
            kept(system, system.keep())
        else:
            progress.step("stopping")
            system.stop_workers()
    return report


async def _produce(plan: DemoPlan, system: LocalSystem, truth: dict[str, bool | None], progress: Progress) -> int:
    """
    Send the source; the truth stays here.
    """

    def noted() -> Iterable[Labelled]:
        for one in plan.source():
            truth[one.transaction_id] = one.fraud
            yield one

    async with intake(system.settings()) as target:
        done = await produce(
            noted(),
            target,
            rate_per_s=plan.rate_per_s,
            progress=lambda appended: progress.count("produced", appended, plan.total),
        )
    return done.appended


async def settle(system: LocalSystem, produced: int, progress: Progress, *, told: bool = True) -> None:
    """
    Wait until every group has finished everything; complain when nothing moves any more.

    Args:
        system: What is at work.
        produced: How much was given to it.
        progress: Told how much is done.
        told: Wait until people have been told of it too; alerts have budgets and take their time.
    """
    groups = DEMO_GROUPS if told else tuple(group for group in DEMO_GROUPS if group != "alerter")
    parts = Partitions(system.settings().partitions)

    async def left() -> dict[str, int]:
        alerts = await untold(client, partitions=parts) if told else 0
        return {**await waiting(client, groups, parts), "alerts": alerts}

    async with connected(address(system.settings())) as client:
        moved_at, before = time.monotonic(), None
        while any((now := await left()).values()):
            progress.count("decided and recorded", max(0, produced - max(now.values())), produced)
            if now != before:
                moved_at, before = time.monotonic(), now
            if time.monotonic() - moved_at > _STUCK_S:
                raise TransientError(f"nothing has moved for {_STUCK_S:.0f} s; still open: {now}; see {system.folder}")
            await asyncio.sleep(0.1)
        progress.count("decided and recorded", produced, produced)


async def _account(system: LocalSystem, produced: int, truth: dict[str, bool | None]) -> DemoReport:
    pages = [worker.metrics() for worker in system.workers]
    rows = await stored(system.postgres.url)
    p50, p95, p99, _ = (round(value, 3) for value in rows["latency_ms"] or (0.0, 0.0, 0.0, 0.0))
    ended = {
        outcome: counted(pages, "fraudstream_events_processed_total", group="fraud-check", outcome=outcome)
        for outcome in ("duplicate", "invalid")
    }
    return DemoReport(
        produced=produced,
        decided=counted(pages, "fraudstream_decisions_total"),
        recorded=rows["recorded"],
        duplicates=ended["duplicate"],
        dead_lettered=ended["invalid"],
        flagged=rows["flagged"],
        alerts_sent=sum(
            counted(pages, "fraudstream_notifications_total", outcome=outcome)
            for outcome in ("delivered", "deduplicated", "digested")
        ),
        degraded=rows["degraded"],
        throughput_tps=round(rows["recorded"] / rows["seconds"], 1) if rows["seconds"] else 0.0,
        latency_ms={"p50": p50, "p95": p95, "p99": p99},
        outcomes={outcome: rows["outcomes"].get(outcome, 0) for outcome in ("approve", "challenge", "review", "block")},
        detection=detection(rows["scores"], truth),
    )
