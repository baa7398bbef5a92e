"""
What a press of a button does, and the process that receives them.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import structlog

from fraudstream.adapters.redis_alert_answers import Actor, Mark, Marked, RedisAlertAnswers
from fraudstream.adapters.redis_alerts import RedisAlerts
from fraudstream.adapters.redis_checks import check_server
from fraudstream.adapters.redis_every_answer import RedisEveryAnswers
from fraudstream.adapters.redis_partitions import servers
from fraudstream.adapters.slack_interactions import (
    TOLERANCE_S,
    Press,
    Pressed,
    SlackInteractions,
    serve_interactions,
)
from fraudstream.adapters.slack_message import SNOOZE_HOURS
from fraudstream.app.alert_people import answers_over
from fraudstream.app.alerting import Alerting
from fraudstream.app.connections import address, every_part
from fraudstream.domain.alert import Answer
from fraudstream.domain.errors import InvalidSettings
from fraudstream.settings import Settings
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.report import AlertReport

#: Everybody who sees the message.
EVERYBODY = "*"
#: How long the buttons of a message work after its last payment, in milliseconds.
_WORKS_MS = SNOOZE_HOURS * 3_600_000
_ANSWERS = {Pressed.FRAUD: Answer.FRAUD, Pressed.LEGITIMATE: Answer.LEGITIMATE, Pressed.UNDO: Answer.OPEN}
_SAID = {Answer.FRAUD: "marked fraud", Answer.LEGITIMATE: "marked legitimate", Answer.OPEN: "open"}


class Presses:
    """
    Act on presses: label, snooze, take back.

    Args:
        answers: The alert groups.
        analysts: Slack user ids whose presses count; ``*`` for everybody.
        now_ms: The time.
    """

    def __init__(
        self, answers: RedisAlertAnswers | RedisEveryAnswers, analysts: Collection[str], *, now_ms: Callable[[], int]
    ) -> None:
        self._answers = answers
        self._analysts = frozenset(analysts)
        self._now_ms = now_ms

    async def act(self, press: Press) -> str | None:
        """
        Act on one press; see ``Act``. Pressing twice changes nothing.
        """
        if await self._answers.seen_before(press.token, 2 * TOLERANCE_S):
            return None
        if EVERYBODY not in self._analysts and press.user_id not in self._analysts:
            structlog.get_logger().warning("slack_interaction_not_allowed", user=press.user_id, alert_id=press.alert_id)
            return "Only analysts can answer alerts. Ask for your Slack user id to be put into FRAUDSTREAM_SLACK_ANALYSTS."
        known = await self._answers.get(press.alert_id)
        if known is None or self._now_ms() - known.group.last_ms > _WORKS_MS:
            return f"This alert is older than {SNOOZE_HOURS} hours: its buttons no longer work."
        return await self._said(press)

    async def _said(self, press: Press) -> str:
        actor = Actor(f"@{press.user_name}", f"Slack user {press.user_id}")
        now_ms = self._now_ms()
        if press.button is Pressed.SNOOZE:
            until_ms = now_ms + SNOOZE_HOURS * 3_600_000
            marked = await self._answers.snooze_alert(press.alert_id, until_ms, actor, reason="pressed in Slack")
            return _words(marked, f"Snoozed for {SNOOZE_HOURS} h.", "snoozed")
        answer = _ANSWERS[press.button]
        marked = await self._answers.answer(press.alert_id, answer, actor, source="slack", at_ms=now_ms)
        return _words(marked, f"{marked.labels} payments labelled {answer.value or 'unsure'}.", _SAID[answer])


def _words(marked: Marked, done: str, said: str) -> str:
    if marked.mark is Mark.SAME:
        return f"Already {said} by {marked.by}." if marked.by else f"Already {said}."
    return done if marked.mark is Mark.DONE else "There is nothing that could be snoozed here."


async def serve_presses(
    settings: Settings, host: str, port: int, stop: asyncio.Event, *, ready: Callable[[int], None] = lambda _port: None
) -> None:
    """
    Receive presses until told to stop, and have the messages in Slack say what was pressed.

    Raises:
        InvalidSettings: A setting is missing, or the port is taken.
        StreamUnavailable: Redis could not be reached at start-up.
    """
    _check(settings)
    metrics = Metrics(groups=("alerter",), producer=False, monitor=False)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(every_part(settings, 16))
        for client in servers(parts):
            await check_server(
                client, allow_no_persistence=settings.allow_no_persistence, clustered=address(settings).clustered
            )
        presses = Presses(answers_over(parts), settings.slack_analysts, now_ms=lambda: int(time.time() * 1000))
        interactions = SlackInteractions(
            settings.slack_signing_secret or "",
            presses.act,
            now_s=time.time,
            also_answered=urlsplit(settings.slack_base_url).netloc,
            count=lambda action, outcome: metrics.alerts.slack_interactions_total.labels(action, outcome).inc(),
        )
        try:
            runner, taken = await serve_interactions(interactions, host, port)
        except OSError as exc:
            raise InvalidSettings(f"nothing can listen on {host}:{port}: {exc.strerror or exc}") from None
        stack.push_async_callback(runner.cleanup)
        structlog.get_logger().info("presses_served", host=host, port=taken)
        ready(taken)
        alerting = [
            Alerting(settings, RedisAlerts(part.client, part.keys), AlertReport(metrics), stack, only="slack") for part in parts
        ]
        await _beside(settings, alerting, stop)


async def _beside(settings: Settings, alerting: Sequence[Alerting], stop: asyncio.Event) -> None:
    """
    Tell Slack too, wherever no alerter leads it: a press shows although none is running.
    """
    slack = settings.slack_bot_token and settings.slack_channel
    chores = [chore for one in alerting for chore in one.chores(stop)] if slack else []
    await asyncio.gather(stop.wait(), *chores)


def _check(settings: Settings) -> None:
    missing = [
        f"{variable} ({why})"
        for value, variable, why in (
            (settings.slack_signing_secret, "FRAUDSTREAM_SLACK_SIGNING_SECRET", "Basic Information of the Slack app"),
            (settings.slack_analysts, "FRAUDSTREAM_SLACK_ANALYSTS", "user ids whose buttons count; * = everybody"),
        )
        if not value
    ]
    if missing:
        raise InvalidSettings(f"alerts serve needs {' and '.join(missing)}")
