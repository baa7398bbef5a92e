"""
One worker process from start to drain.
"""

import asyncio
import gc
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from fraudstream.adapters.redis_keys import OTHER_GROUP, RAW, Partitions
from fraudstream.app.crew import Crew
from fraudstream.app.loop_time import LoopTime
from fraudstream.app.memory import GIVE_BACK_EVERY_S, give_back_holes, keep_freed_memory
from fraudstream.app.model_watch import TELL_EVERY_S
from fraudstream.app.rule_watch import LOOK_EVERY_S
from fraudstream.app.seat import COMPLAIN_EVERY_S
from fraudstream.fleet.janitor import sweep_until
from fraudstream.fleet.sharing import Sharing
from fraudstream.fleet.stalls import FEEL_EVERY_S, Stall, feel_stalls, share_the_interpreter
from fraudstream.fleet.worker import Worker
from fraudstream.settings import Settings
from fraudstream.telemetry.exporter import serve
from fraudstream.telemetry.logging import count_lines
from fraudstream.telemetry.metrics import Metrics

#: Pause between two looks at the loop of a process that decides nothing, in seconds: no payment waits for it, and looking as
#: often as in a deciding one is an eighth of what an alerter does.
_FEEL_SELDOM_S = 0.2


async def run_workers(settings: Settings, stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None) -> None:
    """
    Serve the groups that the settings name until ``stop`` is set, then drain.

    Args:
        settings: Checked settings.
        stop: Set by whoever catches the signals.
        ready: Called once every consumer is about to read.

    Raises:
        ConfigurationError: Something is wrong that only a person can put right; nothing was read.
        StreamUnavailable: Redis could not be reached at start-up.
    """
    raw = tuple(keys.stream(RAW) for keys in Partitions(settings.partitions).all())
    metrics = Metrics(groups=settings.groups, producer=False, monitor=False, streams=raw)
    count_lines(metrics.logged)
    async with AsyncExitStack() as stack:
        crew = Crew(settings, metrics, stack)
        await crew.open()
        if settings.metrics_port is not None:
            exporter = serve(metrics, settings.metrics_port, settings.metrics_dir, host=settings.metrics_host)
            stack.callback(exporter.close)
            structlog.get_logger().info("metrics_served", port=exporter.port)
        ready()
        collect_seldom()
        keep_freed_memory()
        share_the_interpreter()
        await _until(stop, crew, settings, metrics)


def collect_seldom() -> None:
    """
    Let the collector of cycles look seldom, and only at what comes from now on.

    A batch makes tens of thousands of objects that hold no cycle; by default it is interrupted every few hundred, and
    everything that was loaded at start-up is walked again and again. Measured: a tenth of a deciding worker's CPU.

    Nor too seldom: a look holds the loop up. Looks at 50,000 objects took up to 40 ms; at 10,000 they take 5, and the larger
    ones behind every third of them no more than those: behind every tenth they took 10 to 37 ms while rules were built.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 3, 150)


def _told_if_failed(chore: asyncio.Task[None]) -> None:
    """
    Say that a chore has ended for good: the worker goes on without it, and nobody would know.
    """
    if not chore.cancelled() and (failure := chore.exception()) is not None:
        structlog.get_logger().error("chore_failed", error=repr(failure))


async def _feel_stalls(ended: asyncio.Event, crew: Crew, settings: Settings, metrics: Metrics) -> None:
    def told(stall: Stall) -> None:
        metrics.worker.stalled(stall.late_s, stall.own_s, stall.change_s if stall.changing else None)

    every_s = FEEL_EVERY_S if OTHER_GROUP.keys() & set(settings.groups) else _FEEL_SELDOM_S
    with LoopTime() as spent:
        await feel_stalls(ended, told, spent=spent, changes=crew.changes, every_s=every_s)


async def _until(stop: asyncio.Event, crew: Crew, settings: Settings, metrics: Metrics) -> None:
    """
    Run every consumer, the janitor and the watches over rules and models; whichever way they end, all of them drain.
    """
    ended = asyncio.Event()
    working: list[Worker | Sharing] = [*crew.workers, *crew.sharings]
    tasks = [asyncio.create_task(one.run()) for one in working]
    for task in tasks:
        task.add_done_callback(lambda _: ended.set())
    chores = [sweep_until(ended, crew.people.agree, every_s=COMPLAIN_EVERY_S, report=crew.reports[0])]
    chores.append(sweep_until(ended, give_back_holes, every_s=GIVE_BACK_EVERY_S, report=crew.reports[0]))
    if crew.workers:  # with several partitions each post looks after its own
        chores.append(sweep_until(ended, crew.seat.janitor.sweep, every_s=settings.janitor_interval_s, report=crew.reports[0]))
        chores.append(sweep_until(ended, crew.seat.complain, every_s=COMPLAIN_EVERY_S, report=crew.reports[0]))
    if crew.rule_watch is not None:
        chores.append(sweep_until(ended, crew.rule_watch.look, every_s=LOOK_EVERY_S, report=crew.reports[0]))
    if crew.model_watch is not None and crew.drift_watch is not None:
        chores.append(sweep_until(ended, crew.model_watch.look, every_s=LOOK_EVERY_S, report=crew.reports[0]))
        chores.append(sweep_until(ended, crew.drift_watch.tell, every_s=TELL_EVERY_S, report=crew.reports[0]))
    if crew.seat.alerting is not None:
        chores.extend(crew.seat.alerting.chores(ended))
    chores.append(_feel_stalls(ended, crew, settings, metrics))
    beside = [asyncio.create_task(chore) for chore in chores]
    for chore in beside:
        chore.add_done_callback(_told_if_failed)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    ended.set()
    for one in working:
        one.stop()
    try:
        await asyncio.gather(*tasks)
    finally:
        stopping.cancel()
        await asyncio.gather(*beside, stopping, return_exceptions=True)
