"""
The process that watches streams and groups for the others: when the workers of a group are gone, somebody must report its lag.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import structlog

from fraudstream.adapters.redis_every import every_overview
from fraudstream.adapters.redis_keys import RAW
from fraudstream.app.connections import every_part
from fraudstream.app.loading import load_policy
from fraudstream.app.maturity import watch_maturity
from fraudstream.domain.errors import TransientError
from fraudstream.fleet.overview import GroupState, Overview, ServerState
from fraudstream.settings import Settings
from fraudstream.telemetry.exporter import serve
from fraudstream.telemetry.logging import count_lines
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.monitor_metrics import MonitorMetrics

#: One value of one gauge: the gauge, values of its labels, the value.
_Value = tuple[Any, tuple[str, ...], float]


class Board:
    """
    Shows an overview as gauges. What an overview no longer holds is taken off: an old figure would pass for a new one.
    """

    def __init__(self, metrics: MonitorMetrics, *, most_entries: int) -> None:
        self._metrics = metrics
        self._most_entries = most_entries
        self._shown: set[tuple[Any, tuple[str, ...]]] = set()

    def show(self, overview: Overview) -> None:
        """
        Show what was seen.
        """
        there = {stream.stream for stream in overview.streams if stream.exists}
        groups = [group for group in overview.groups if group.known and group.stream in there]
        values = [
            *self._server(overview.server),
            *self._streams(overview),
            *(value for group in groups for value in self._group(group)),
        ]
        for gauge, labels, value in values:
            gauge.labels(*labels).set(value)
        self._keep_only({(gauge, labels) for gauge, labels, _ in values})

    def clear(self) -> None:
        """
        Show nothing: nobody knows how it stands.
        """
        self._keep_only(set())

    def _keep_only(self, wanted: set[tuple[Any, tuple[str, ...]]]) -> None:
        for gauge, labels in self._shown - wanted:
            gauge.remove(*labels)
        self._shown = wanted

    def _server(self, server: ServerState) -> Iterator[_Value]:
        metrics, name = self._metrics, (server.name,)
        yield metrics.redis_memory_used_bytes, name, server.memory_bytes
        yield metrics.redis_memory_limit_bytes, name, server.memory_limit_bytes
        yield metrics.redis_clients, name, server.clients
        yield metrics.redis_evicted_keys, name, server.evicted_keys
        yield metrics.redis_append_ok, name, server.last_append_ok
        yield metrics.redis_answer_seconds, name, server.answer_ms / 1000

    def _streams(self, overview: Overview) -> Iterator[_Value]:
        metrics, letters = self._metrics, overview.dead_letters
        for stream in overview.streams:
            yield metrics.stream_entries, (stream.stream,), stream.entries
            yield metrics.stream_memory_bytes, (stream.stream,), stream.memory_bytes
            if self._most_entries and stream.stream.startswith(RAW):
                yield metrics.stream_max_entries, (stream.stream,), self._most_entries
        undeliverable = overview.undeliverable
        for channel, waiting in overview.alerts_waiting.items():
            yield metrics.notification_queue_entries, (channel,), waiting
        yield metrics.alerts_undeliverable_entries, (undeliverable.stream,), undeliverable.entries
        yield metrics.dlq_entries, (letters.stream,), letters.entries
        yield metrics.dlq_oldest_entry_age_seconds, (letters.stream,), letters.oldest_age_s

    def _group(self, group: GroupState) -> Iterator[_Value]:
        metrics, pair = self._metrics, (group.stream, group.group)
        yield metrics.group_lag_entries, pair, math.nan if group.lag_entries is None else group.lag_entries
        yield metrics.group_lag_unknown, pair, not group.lag_told
        yield metrics.group_oldest_unread_age_seconds, pair, group.oldest_unread_age_s
        yield metrics.group_pending_entries, pair, group.pending_entries
        yield metrics.group_oldest_pending_age_seconds, pair, group.oldest_pending_age_s
        yield metrics.group_consumers, (*pair, "active"), len(group.workers)
        yield metrics.group_consumers, (*pair, "idle"), len(group.gone)


async def run_monitor(
    settings: Settings, stop: asyncio.Event, *, every_s: float, ready: Callable[[int | None], None] = lambda _port: None
) -> None:
    """
    Watch until ``stop`` is set. While Redis is away the gauges are absent, and the monitor goes on trying.

    Args:
        settings: Checked settings.
        stop: Set by whoever catches the signals.
        every_s: Pause between two looks.
        ready: Called with the port of the page, None without one, after the first look.

    Raises:
        ConfigurationError: The address of Redis, the port or the policy cannot be used.
    """
    metrics = Metrics(groups=(), producer=False, monitor=True)
    count_lines(metrics.logged)
    board = Board(metrics.monitor, most_entries=settings.lag_limit_entries)
    flagged_from = load_policy(settings).challenge_from
    log = structlog.get_logger()
    with ExitStack() as stack:
        port = None
        if settings.metrics_port is not None:
            exporter = serve(metrics, settings.metrics_port, settings.metrics_dir, host=settings.metrics_host)
            stack.callback(exporter.close)
            port = exporter.port
            log.info("metrics_served", port=port)
        async with (
            every_part(settings, confirmed=False) as parts,
            _beside(_maturity(settings, metrics.monitor, stop, flagged_from)),
        ):
            told = False
            while not stop.is_set():
                try:
                    board.show(await every_overview(parts, letters=0, allow_no_persistence=True))
                except TransientError as exc:
                    board.clear()
                    log.warning("monitor_blind", error=repr(exc), pause_s=every_s)
                if not told:
                    ready(port)
                    told = True
                await _rest(stop, every_s)


async def _maturity(settings: Settings, metrics: MonitorMetrics, stop: asyncio.Event, flagged_from: float) -> None:
    """
    Watch what became of decisions, where there is a database to ask.
    """
    if settings.postgres_url is not None:
        await watch_maturity(settings.postgres_url, metrics, stop, flagged_from=flagged_from)


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """
    Let something run until the end of the block.
    """
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _rest(stop: asyncio.Event, pause_s: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), pause_s)
    except TimeoutError:
        return
