"""
``fraudstream alerts`` as a person types it.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from fraudstream.adapters.redis_alert_answers import Actor
from fraudstream.cli.main import app
from fraudstream.domain.errors import AlertFailed
from fraudstream.local import LocalValkey
from tests.support.alert_hall import Hall, RememberingChannel, a_flagged, a_hall
from tests.support.fake_slack import fake_slack
from tests.support.shell import ROOT, answer, run, servers_of
from tests.support.slack_presses import SECRET, a_press, press


@pytest_asyncio.fixture
async def hall(valkey: LocalValkey) -> AsyncIterator[Hall]:
    async with a_hall(valkey.url) as opened:
        yield opened


async def _undeliverable(hall: Hall) -> str:
    """
    Have one alert refused, and return its letter.
    """
    slack = RememberingChannel("slack")
    slack.failures.append(AlertFailed("slack", "200 not_in_channel", permanent=True))
    hall.work(hall.desk(slack))
    await hall.flag(a_flagged(1))
    await hall.idle("slack")
    (letter,) = await hall.answers.undelivered(2)
    return letter.letter_id


async def test_a_group_can_be_listed_shown_acknowledged_and_snoozed(valkey: LocalValkey, database: str, hall: Hall) -> None:
    shell = servers_of(valkey.url, database)
    await hall.flag(a_flagged(1, card="tok_00004242"), a_flagged(2, card="tok_00004242"))

    listed = (await answer(shell, "alerts", "list"))["alerts"]
    alert_id = listed[0]["alert_id"]
    shown = await answer(shell, "alerts", "show", "txn_2")
    first = await answer(shell, "alerts", "ack", alert_id)
    second = await answer(shell, "alerts", "ack", alert_id)
    snoozed = await answer(shell, "alerts", "snooze", "--rule", "many_cards", "--for", "1h", "--reason", "load test")
    connection = await asyncpg.connect(database)
    audit = await connection.fetch("SELECT action, detail FROM audit_log ORDER BY audit_id")
    snoozes = await connection.fetch("SELECT rule_id, entity, reason FROM rule_snoozes")
    await connection.close()

    assert [(one["transactions"], one["severity"], one["value"]) for one in listed] == [(2, "critical", "25.00 USD")]
    assert shown["alert_id"] == alert_id
    assert shown["transaction_ids"] == ["txn_1", "txn_2"]
    assert shown["facts"]["Card"] == "•••• 4242"
    assert "tok_00004242" not in json.dumps([listed, shown])
    assert (first["mark"], second["mark"]) == ("done", "same")
    assert second["by"]
    assert snoozed["snoozed"] is True
    assert [row["action"] for row in audit] == ["alerts.acknowledge", "alerts.snooze"]
    assert [tuple(row) for row in snoozes] == [("many_cards", None, "load test")]


async def test_a_snoozed_rule_tells_nobody_and_its_payments_are_in_a_group(hall: Hall, valkey: LocalValkey) -> None:
    shell = servers_of(valkey.url, "")
    await answer(shell, "alerts", "snooze", "--rule", "many_cards", "--for", "1h", "--reason", "load test")

    await hall.flag(a_flagged(1))

    assert hall.side.zcard("alertdue:slack") == 0
    assert hall.group_of("txn_1")["muted"] == "1"
    await answer(shell, "alerts", "snooze", "--rule", "many_cards", "--end", "--reason", "over")
    await hall.flag(a_flagged(2))
    assert hall.side.zcard("alertdue:slack") == 1


async def test_what_reached_nobody_is_listed_sent_again_and_thrown_away_only_on_demand(hall: Hall, valkey: LocalValkey) -> None:
    shell = servers_of(valkey.url, "")
    letter_id = await _undeliverable(hall)

    listed = (await answer(shell, "alerts", "undeliverable", "list"))["letters"]
    dry = await answer(shell, "alerts", "undeliverable", "resend", letter_id)
    kept = len(hall.letters())
    sent = await answer(shell, "alerts", "undeliverable", "resend", "--all", "--execute", "--yes")
    await hall.idle("slack")

    assert [(one["letter_id"], one["reason"], one["error"]) for one in listed] == [(letter_id, "refused", "200 not_in_channel")]
    assert (dry["executed"], dry["done"], kept) == (False, 0, 1)
    assert (sent["done"], len(hall.letters())) == (1, 0)


async def test_a_discarded_alert_is_gone_and_asking_for_nothing_in_particular_is_refused(
    hall: Hall, valkey: LocalValkey
) -> None:
    shell = servers_of(valkey.url, "")
    letter_id = await _undeliverable(hall)

    unnamed = await run(shell, "alerts", "undeliverable", "discard", "--reason", "test", "--execute", "--yes")
    gone = await answer(shell, "alerts", "undeliverable", "discard", letter_id, "--reason", "test", "--execute", "--yes")
    again = await run(shell, "alerts", "undeliverable", "discard", letter_id, "--reason", "test", "--execute", "--yes")

    assert unnamed.returncode == 6
    assert (gone["done"], hall.letters()) == (1, [])
    assert again.returncode == 5
    assert f"no letter {letter_id}" in again.stdout.decode()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "al_none"), 1),
        (("ack", "al_none"), 1),
        (("snooze", "--reason", "x"), 2),
        (("snooze", "--rule", "r", "--for", "90d", "--reason", "x"), 2),
        (("snooze", "--alert", "al_none", "--reason", "x"), 1),
        (("undeliverable", "resend", "yesterday", "--execute", "--yes"), 2),
        (("test", "--severity", "loud"), 2),
        (("test", "--channel", "slack"), 3),
        (("serve",), 3),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_is_said_with_its_exit_code(valkey: LocalValkey, words: tuple[str, ...], code: int) -> None:
    done = CliRunner().invoke(app, ["alerts", *words], env={"REDIS_URL": valkey.url, "POSTGRES_URL": ""})

    assert done.exit_code == code, done.output
    assert done.output


async def test_a_test_alert_says_whether_the_channel_took_it(valkey: LocalValkey) -> None:
    async with fake_slack() as slack:
        slack_settings = {
            "FRAUDSTREAM_SLACK_BOT_TOKEN": "xoxb-test",
            "FRAUDSTREAM_SLACK_CHANNEL": "#fraud",
            "FRAUDSTREAM_SLACK_CRITICAL_CHANNEL": "#fraud-critical",
            "FRAUDSTREAM_SLACK_BASE_URL": slack.base_url,
        }
        shell = servers_of(valkey.url, "", **slack_settings)
        taken = await answer(shell, "alerts", "test", "--channel", "slack", "--severity", "critical")
        slack.next("chat.postMessage", "not_in_channel")
        refused = await run(shell, "alerts", "test", "--channel", "slack")

    assert (taken["recipient"], taken["problems"]) == ("#fraud-critical", [])
    assert refused.returncode == 4
    assert b"not_in_channel" in refused.stderr


async def test_serve_says_where_it_listens_and_ends_when_told(valkey: LocalValkey, hall: Hall) -> None:
    await hall.flag(a_flagged(1))
    alert_id = hall.group_of("txn_1")["id"]
    shell = servers_of(valkey.url, "", FRAUDSTREAM_SLACK_SIGNING_SECRET=SECRET, FRAUDSTREAM_SLACK_ANALYSTS="*")
    command = [sys.executable, "-m", "fraudstream", "alerts", "serve", "--port", "0"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=shell, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = await process.stdout.readline()
    url = line.decode().strip().removeprefix("listening on ")
    status = await press(url, a_press("alert_fraud", alert_id))
    process.send_signal(signal.SIGTERM)
    code = await asyncio.wait_for(process.wait(), 60)

    assert (status, code) == (200, 0)
    assert [json.loads(fields[b"data"])["label"] for _, fields in hall.side.xrange("transactions:labels")] == ["fraud"]


async def test_an_answer_on_the_command_line_is_by_who_typed_it(hall: Hall) -> None:
    await hall.flag(a_flagged(1))
    alert_id = hall.group_of("txn_1")["id"]

    await hall.answers.acknowledge(alert_id, Actor("ann", "host"))

    assert hall.group_of("txn_1")["acknowledged_by"] == "ann"
