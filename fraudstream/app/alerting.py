"""
What tells people, beside the consumer that groups: a desk for each channel, and what copies the journal into the database.
"""

import asyncio
import random
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from fraudstream.adapters.postgres_alerts import PostgresAlertRecords
from fraudstream.adapters.redis_alert_journal import RedisAlertJournal
from fraudstream.adapters.redis_alerts import RedisAlerts
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.app.channels import channel, channels, links, policies
from fraudstream.domain.errors import TransientError
from fraudstream.fleet.backoff import full_jitter
from fraudstream.settings import Settings
from fraudstream.stages.alert_desk import AlertDesk
from fraudstream.stages.alert_ports import AlertChannel
from fraudstream.stages.alert_report import AlertReport

#: Pause between two looks at the journal, and longest pause while the database is away, in seconds.
_COPY_EVERY_S, _LONGEST_S = 1.0, 30.0
#: Most lines of the journal that are copied in one database transaction.
_LINES = 200


class Alerting:
    """
    The desks of one process.

    Args:
        settings: Name the channels.
        alerts: Where the groups are.
        report: Counts.
        stack: Closes the channels.
        only: The one channel to serve, for a process that is there for something else.
    """

    def __init__(
        self, settings: Settings, alerts: RedisAlerts, report: AlertReport, stack: AsyncExitStack, *, only: str = ""
    ) -> None:
        self._settings = settings
        self._alerts = alerts
        self._report = report
        self._stack = stack
        opened = [channel(only, settings)] if only else channels(settings)
        self._desks = [self._desk(one) for one in opened]

    def chores(self, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
        """
        Return what is to run beside the consumer until ``stop``.
        """
        chores: list[Coroutine[Any, Any, None]] = [desk.run(stop) for desk in self._desks]
        if self._settings.postgres_url is not None:
            records = PostgresAlertRecords(self._settings.postgres_url)
            chores.append(copy_until(stop, self._alerts.journal(), records, self._report))
        return chores

    def _desk(self, opened: AlertChannel) -> AlertDesk:
        self._stack.push_async_callback(opened.close)
        clock = RedisClock()
        fallback = self._settings.alert_fallback or ""
        return AlertDesk(
            opened,
            self._alerts.book(clock),
            clock,
            policies(self._settings)[opened.name],
            links=links(self._settings),
            fallback=fallback if fallback != opened.name else "",
            report=self._report,
        )


async def copy_until(
    stop: asyncio.Event, journal: RedisAlertJournal, records: PostgresAlertRecords, report: AlertReport
) -> None:
    """
    Copy the journal into the database until told to stop. While the database is away the journal waits, and nothing else does.
    """
    attempt = 0
    try:
        while not stop.is_set():
            pause_s = _COPY_EVERY_S
            try:
                while await copy_once(journal, records):
                    attempt = 0
            except TransientError as exc:
                report.away(repr(exc))
                pause_s = max(_COPY_EVERY_S, _away_s(attempt))
                attempt += 1
            try:
                await asyncio.wait_for(stop.wait(), pause_s)
            except TimeoutError:
                continue
        await _last_copy(journal, records, report)
    finally:
        await records.close()


async def copy_once(journal: RedisAlertJournal, records: PostgresAlertRecords) -> int:
    """
    Copy the oldest lines of the journal and take them out; return how many. Called twice, a line is on record once.

    Raises:
        TransientError: Redis or the database is away; the lines stay.
    """
    lines = await journal.read(_LINES)
    if lines:
        await records.write(lines)
        await journal.drop([line.line_id for line in lines])
    return len(lines)


async def _last_copy(journal: RedisAlertJournal, records: PostgresAlertRecords, report: AlertReport) -> None:
    try:
        await copy_once(journal, records)
    except TransientError as exc:
        report.away(repr(exc))


def _away_s(attempt: int) -> float:
    return full_jitter(attempt, first_s=_COPY_EVERY_S, longest_s=_LONGEST_S, rng=random.Random())  # noqa: S311 spreads retries
