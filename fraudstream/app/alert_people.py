"""
What people do with alerts on the command line, on the servers that the settings name.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from fraudstream.adapters.postgres_alerts import PostgresAlertRecords
from fraudstream.adapters.redis_alert_answers import KnownGroup, RedisAlertAnswers, Undelivered
from fraudstream.adapters.redis_alert_journal import RedisAlertJournal
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_every_answer import RedisEveryAnswers
from fraudstream.adapters.redis_partitions import Part
from fraudstream.adapters.slack_limits import problems
from fraudstream.adapters.slack_message import slack_message
from fraudstream.app.alerting import copy_once
from fraudstream.app.channels import channel, links
from fraudstream.app.connections import every_part
from fraudstream.domain.alert import Alert, Notice, Severity
from fraudstream.domain.decision import Outcome
from fraudstream.domain.moments import moment
from fraudstream.settings import Settings
from fraudstream.stages.alert_notice import amounts

#: Most transactions of a group that are shown.
_SHOWN = 100


class OpenAnswers(msgspec.Struct, frozen=True):
    """
    The desk, the time of Redis in milliseconds when it was opened, and whether what is done is audited at once.
    """

    answers: RedisAlertAnswers | RedisEveryAnswers
    now_ms: int
    audited: bool


@asynccontextmanager
async def open_answers(settings: Settings) -> AsyncIterator[OpenAnswers]:
    """
    Lend the desk; with ``POSTGRES_URL`` what was done is on record when it is given back.

    Raises:
        TransientError: Redis, or the database that is named, did not answer. What was done stands and waits in the journal.
    """
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(every_part(settings))
        clock = RedisClock()
        await clock.set(parts[0].client)
        yield OpenAnswers(answers_over(parts), clock.now_ms(), settings.postgres_url is not None)
        if settings.postgres_url is not None:
            records = PostgresAlertRecords(settings.postgres_url)
            stack.push_async_callback(records.close)
            for part in parts:
                await copy_once(RedisAlertJournal(part.client, part.keys), records)


def answers_over(parts: Sequence[Part]) -> RedisAlertAnswers | RedisEveryAnswers:
    """
    Return the desk of one partition, or of all of them.
    """
    return RedisAlertAnswers(parts[0].client, parts[0].keys) if len(parts) == 1 else RedisEveryAnswers(parts)


async def send_test(settings: Settings, name: str, severity: Severity) -> dict[str, Any]:
    """
    Send one made-up alert on a channel and say what came of it.

    Raises:
        AlertFailed: The channel did not take it.
    """
    notice = a_test(settings, severity, datetime.now(UTC))
    opened = channel(name, settings)
    try:
        place = await opened.post(notice)
    finally:
        await opened.close()
    wrong = problems(slack_message(notice)) if name == "slack" else []
    return {
        "channel": name,
        "recipient": opened.recipient(notice),
        "place": place,
        "alert_id": notice.alert_id,
        "problems": wrong,
    }


def a_test(settings: Settings, severity: Severity, now: datetime) -> Notice:
    """
    Return a made-up alert that says so; it has no buttons, for there is nothing behind them.
    """
    offered = links(settings)
    alert_id = f"al_test{int(now.timestamp())}"
    alert = Alert(
        alert_id=alert_id,
        transaction_id="test",
        outcome=Outcome.REVIEW,
        severity=severity,
        title="Test: fraudstream can reach this channel",
        amount="1.00 USD",
        card="•••• 4242",
        merchant="Example Shop",
        country="",
        channel="web",
        score=0.5,
        why=("somebody typed fraudstream alerts test",),
        rule_ids=("test",),
        degraded="",
        rule_set="",
        model="",
        occurred_at=now - timedelta(seconds=1),
        decided_at=now,
    )
    return Notice(
        alert_id=alert_id,
        severity=severity,
        alert=alert,
        family="test",
        subject="this card",
        transactions=1,
        told=0,
        value=("1.00 USD",),
        outcomes={"review": 1},
        opened_at=now,
        last_at=now,
        runbook_url=offered.runbook_url,
    )


def shown_group(known: KnownGroup) -> dict[str, Any]:
    """
    Return a group as people read it; nothing in it names the customer.
    """
    group = known.group
    return {
        "alert_id": group.alert_id,
        "kind": "digest" if group.digest else "group",
        "severity": group.severity.value,
        "title": group.alert.title if group.alert is not None else f"digest: {group.bearing.family}",
        "family": group.bearing.family,
        "rule_id": group.bearing.rule_id,
        "entity": group.bearing.entity,
        "transactions": group.transactions,
        "muted": group.muted,
        "value": " + ".join(amounts(group.values)),
        "opened_at": moment(group.opened_ms).isoformat(),
        "last_at": moment(group.last_ms).isoformat(),
        "answer": group.answer.value,
        "answered_by": group.answered_by,
        "acknowledged_by": group.acknowledged_by,
        "snoozed_by": group.snoozed_by,
        "previous": group.previous,
        "channels": {
            name: {
                "told": shown.told, "place": shown.place, "digest": shown.digest, "tries": shown.tries,
            }
            for name, shown in known.shown.items()
        },
    }  # fmt: skip


async def whole_group(opened: OpenAnswers, named: str) -> dict[str, Any] | None:
    """
    Return a group with its transactions, by its id or by a transaction that is in it; None when there is none.
    """
    alert_id = named if named.startswith(("al_", "dg_")) else await opened.answers.group_of(named)
    known = await opened.answers.get(alert_id) if alert_id else None
    if known is None or alert_id is None:
        return None
    alert = known.group.alert
    return {
        **shown_group(known),
        "why": list(alert.why) if alert is not None else [],
        "facts": dict(alert.facts) if alert is not None else {},
        "transaction_ids": await opened.answers.members(alert_id, _SHOWN),
    }


def shown_letter(letter: Undelivered) -> dict[str, Any]:
    """
    Return one undeliverable alert as people read it.
    """
    names = ("severity", "reason", "tries", "error", "transactions", "transaction_id")
    return {
        "letter_id": letter.letter_id,
        "at": moment(int(letter.letter_id.partition("-")[0])).isoformat(),
        "channel": letter.channel,
        "alert_id": letter.alert_id,
        **{name: letter.words.get(name, "") for name in names},
    }
