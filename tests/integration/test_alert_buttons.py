"""
``alerts serve`` as it is deployed: signed requests in, labels, snoozes and changed messages out.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from fraudstream.app.alert_presses import serve_presses
from fraudstream.app.run import run_workers
from fraudstream.domain.decision import Outcome
from fraudstream.domain.decision_codec import encode_decision
from fraudstream.domain.errors import InvalidSettings
from fraudstream.local import LocalValkey
from fraudstream.settings import Settings, load
from fraudstream.stages.alert_grouping import Bearing
from tests.support.builders import a_decision, a_transaction
from tests.support.fake_slack import FakeSlack, fake_slack
from tests.support.slack_presses import SECRET, a_press, press
from tests.support.swift_alerts import SWIFT
from tests.support.wait import wait_until

FRAUD = "transactions:fraud"


class Desk:
    """
    An alerter and the server of presses, over a Slack of our own.
    """

    def __init__(self, valkey: LocalValkey, slack: FakeSlack, client: Redis, **more: str) -> None:
        self.slack = slack
        self.client = client
        self.url = ""
        self.settings: Settings = load(
            {
                "REDIS_URL": valkey.url,
                "CONSUMER_GROUP": "alerter",
                "FRAUDSTREAM_ALERT_CHANNELS": "slack",
                "FRAUDSTREAM_SLACK_BOT_TOKEN": "xoxb-test",
                "FRAUDSTREAM_SLACK_CHANNEL": "#fraud",
                "FRAUDSTREAM_SLACK_BASE_URL": slack.base_url,
                "FRAUDSTREAM_SLACK_SIGNING_SECRET": SECRET,
                "FRAUDSTREAM_SLACK_ANALYSTS": "U1,U2",
                "FRAUDSTREAM_BLOCK_MS": "100",
                **more,
            }
        )

    async def flag(self, *transaction_ids: str, card: str = "tok_00004242") -> None:
        for one in transaction_ids:
            decision = a_decision(a_transaction(transaction_id=one, card_id=card, device_id=None), outcome=Outcome.BLOCK)
            await self.client.xadd(FRAUD, {"transaction_id": one, "decision": encode_decision(decision)})

    async def posted(self) -> str:
        """
        Return the alert of the first message, once it is there.
        """
        await wait_until(lambda: self.slack.posts, "the alert is posted")
        alert_id: str = self.slack.posts[0]["metadata"]["event_payload"]["alert_id"]
        return alert_id

    async def says(self, words: str) -> None:
        await wait_until(lambda: words in json.dumps(self.slack.now["1.000100"]), f"the message says {words!r}")

    async def idle(self) -> bool:
        return await self.client.zcard("alertdue:slack") == 0

    async def labels(self) -> list[Mapping[str, Any]]:
        return [json.loads(fields[b"data"]) for _, fields in await self.client.xrange("transactions:labels")]


@pytest.fixture(autouse=True)
def swift_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraudstream.app.channels.POLICIES", SWIFT)


@asynccontextmanager
async def a_desk(valkey: LocalValkey, **more: str) -> AsyncIterator[Desk]:
    async with fake_slack() as slack, Redis.from_url(valkey.url) as client:
        desk = Desk(valkey, slack, client, **more)
        stop, ports = asyncio.Event(), asyncio.Queue[int]()
        running = asyncio.gather(
            run_workers(desk.settings, stop), serve_presses(desk.settings, "127.0.0.1", 0, stop, ready=ports.put_nowait)
        )
        try:
            desk.url = f"http://127.0.0.1:{await ports.get()}"
            yield desk
        finally:
            stop.set()
            await running


@pytest_asyncio.fixture
async def desk(valkey: LocalValkey) -> AsyncIterator[Desk]:
    async with a_desk(valkey) as opened:
        yield opened


async def test_fraud_labels_every_payment_of_the_group_and_the_message_says_who(desk: Desk) -> None:
    await desk.flag("txn_1", "txn_2", "txn_3")
    alert_id = await desk.posted()
    await desk.says("(3 payments)")

    status = await press(desk.url, a_press("alert_fraud", alert_id, response_url=desk.slack.response_url))
    await desk.says("Marked fraud by @ann")
    await wait_until(lambda: desk.slack.responses, "who pressed is answered")

    assert status == 200
    labels = await desk.labels()
    assert [(label["transaction_id"], label["label"], label["source"]) for label in labels] == [
        (f"txn_{number}", "fraud", "slack") for number in (1, 2, 3)
    ]
    assert len({label["label_id"] for label in labels}) == 3
    assert desk.slack.responses[0] == {
        "response_type": "ephemeral",
        "replace_original": False,
        "delete_original": False,
        "text": "3 payments labelled fraud.",
    }
    await wait_until(lambda: desk.slack.replies, "the thread says it too")
    assert [reply["text"] for reply in desk.slack.replies] == ["Marked fraud by @ann"]
    assert len(desk.slack.posts) == 1
    assert '"Undo"' in json.dumps(desk.slack.now["1.000100"])


async def test_pressing_twice_labels_once_and_says_who_was_first(desk: Desk) -> None:
    await desk.flag("txn_1")
    alert_id = await desk.posted()
    await press(desk.url, a_press("alert_legitimate", alert_id))

    second = a_press("alert_legitimate", alert_id, user={"id": "U2", "username": "bo"}, response_url=desk.slack.response_url)
    status = await press(desk.url, second)
    await wait_until(lambda: desk.slack.responses, "who pressed is answered")

    assert status == 200
    assert [label["label"] for label in await desk.labels()] == ["legitimate"]
    assert desk.slack.responses[0]["text"] == "Already marked legitimate by @ann."


async def test_undo_takes_the_label_back_and_the_buttons_return(desk: Desk) -> None:
    await desk.flag("txn_1")
    alert_id = await desk.posted()
    await press(desk.url, a_press("alert_fraud", alert_id))
    await desk.says("Marked fraud")

    await press(desk.url, a_press("alert_undo", alert_id))
    await wait_until(lambda: "Marked fraud" not in json.dumps(desk.slack.now["1.000100"]), "the message is as it was")

    assert [label["label"] for label in await desk.labels()] == ["fraud", "unsure"]
    assert "alert_legitimate" in json.dumps(desk.slack.now["1.000100"])


async def test_what_follows_an_answer_is_a_new_alert_that_names_the_one_before(desk: Desk) -> None:
    await desk.flag("txn_1")
    alert_id = await desk.posted()
    await press(desk.url, a_press("alert_fraud", alert_id))

    await desk.flag("txn_2")
    await wait_until(lambda: len(desk.slack.posts) == 2, "a second alert is posted")

    assert f"follows {alert_id}" in json.dumps(desk.slack.posts[1])


async def test_a_snooze_keeps_the_rule_quiet_for_that_card_and_for_no_other(desk: Desk) -> None:
    await desk.flag("txn_1")
    alert_id = await desk.posted()
    await press(desk.url, a_press("alert_snooze", alert_id))
    await desk.says("Rule snoozed for this card by @ann")

    await desk.flag("txn_2")
    await desk.flag("txn_3", card="tok_00009999")
    await wait_until(lambda: len(desk.slack.posts) == 2, "the other card is posted")
    await wait_until(desk.idle, "what was told is noted")
    group = await desk.client.hgetall(f"alertgroup:{alert_id}")

    assert "•••• 9999" in json.dumps(desk.slack.posts[1], ensure_ascii=False)
    assert (group[b"n"], group[b"muted"]) == (b"2", b"1")
    assert await desk.client.get("alertof:txn_2") == alert_id.encode()


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"secret": "another"}, {}),
        ({"ahead_s": -302}, {}),
        ({"ahead_s": 360}, {}),  # and not just over the bound: a busy machine looks later
        ({}, {"X-Slack-Signature": ""}),
        ({}, {"X-Slack-Signature": "v0=00"}),
        ({}, {"X-Slack-Request-Timestamp": "yesterday"}),
        ({}, {"X-Slack-Request-Timestamp": ""}),
        ({}, {"X-Slack-Request-Timestamp": "٣٤٥"}),
    ],
    ids=["secret", "old", "ahead", "no-signature", "wrong-signature", "words-for-time", "no-time", "foreign-digits"],
)
async def test_what_slack_did_not_sign_just_now_is_refused_and_does_nothing(
    desk: Desk, changes: dict[str, Any], headers: dict[str, str]
) -> None:
    await desk.flag("txn_1")
    alert_id = await desk.posted()
    at_s = time.time() + changes.get("ahead_s", 0)

    secret = changes.get("secret", SECRET)
    status = await press(desk.url, a_press("alert_fraud", alert_id), headers=headers, secret=secret, at_s=at_s)

    assert status == 401
    assert await desk.labels() == []


async def test_the_very_same_request_is_refused_the_second_time(desk: Desk) -> None:
    await desk.flag("txn_1")
    alert_id = await desk.posted()
    at_s = time.time()
    first = await press(desk.url, a_press("alert_fraud", alert_id), at_s=at_s)

    second = await press(desk.url, a_press("alert_fraud", alert_id), at_s=at_s)

    assert (first, second) == (200, 401)


async def test_who_is_no_analyst_changes_nothing_and_is_told_so(desk: Desk) -> None:
    await desk.flag("txn_1")
    alert_id = await desk.posted()
    stranger = {"id": "U9", "username": "eve"}

    status = await press(desk.url, a_press("alert_fraud", alert_id, user=stranger, response_url=desk.slack.response_url))
    await wait_until(lambda: desk.slack.responses, "who pressed is answered")

    assert status == 200
    assert await desk.labels() == []
    assert desk.slack.responses[0]["text"].startswith("Only analysts can answer alerts.")


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (a_press("open_case", "al_1"), 200),
        (a_press("alert_fraud", "al_none"), 200),
        ({"type": "view_submission"}, 400),
        ({**a_press("alert_fraud", "al_1"), "actions": [{"action_id": "alert_fraud", "value": "not json"}]}, 400),
        ({**a_press("alert_fraud", "al_1"), "actions": [{"action_id": "alert_fraud", "value": '{"v": 2}'}]}, 400),
        ({**a_press("alert_fraud", "al_1"), "user": None}, 400),
    ],
    ids=["a link", "an unknown alert", "another kind", "no json", "another version", "nobody"],
)
async def test_other_requests_of_slack_are_answered_and_change_nothing(
    desk: Desk, payload: dict[str, Any], status: int
) -> None:
    assert await press(desk.url, payload) == status
    assert await desk.labels() == []


async def test_nobody_but_slack_is_answered_whatever_the_request_says(desk: Desk) -> None:
    async with fake_slack() as elsewhere:
        await press(desk.url, a_press("alert_fraud", "al_none", response_url=elsewhere.response_url))
        await press(desk.url, a_press("alert_fraud", "al_none", response_url=desk.slack.response_url))
        await wait_until(lambda: desk.slack.responses, "Slack is answered")

        assert elsewhere.responses == []


async def test_answers_are_on_record_with_who_gave_them(valkey: LocalValkey, database: str) -> None:
    async with a_desk(valkey, POSTGRES_URL=database) as desk:
        await desk.flag("txn_1", "txn_2")
        alert_id = await desk.posted()
        await press(desk.url, a_press("alert_snooze", alert_id))
        await press(desk.url, a_press("alert_fraud", alert_id))
        await desk.says("Marked fraud")
        await wait_until(lambda: _empty(desk.client), "the journal is on record")
        connection = await asyncpg.connect(database)
        try:
            group = await connection.fetchrow("SELECT * FROM alert_groups WHERE alert_id = $1", alert_id)
            audit = await connection.fetch("SELECT actor, action, origin, resource FROM audit_log ORDER BY audit_id")
            snoozes = await connection.fetch("SELECT rule_id, entity, entity_id, actor FROM rule_snoozes")
            alerts = await connection.fetch("SELECT transaction_id, channel, outcome, alert_id FROM alerts ORDER BY 1")
        finally:
            await connection.close()

    assert (group["transactions"], group["answer"], group["answered_by"]) == (2, "fraud", "@ann")
    assert [tuple(row) for row in audit] == [
        ("@ann", f"alerts.{action}", "Slack user U1", f"alerts/{alert_id}") for action in ("snooze", "answer")
    ]
    token = Bearing(family="", rule_id="", entity="card", entity_id="tok_00004242").token
    assert [tuple(row) for row in snoozes] == [("many_cards", "card", token, "@ann")]
    assert {row["alert_id"] for row in alerts} == {alert_id}
    assert [row["transaction_id"] for row in alerts] == ["txn_1", "txn_2"]


async def _empty(client: Redis) -> bool:
    return await client.xlen("alerts:journal") == 0


async def test_without_a_secret_or_analysts_it_does_not_start() -> None:
    with pytest.raises(InvalidSettings, match=r"FRAUDSTREAM_SLACK_SIGNING_SECRET .* FRAUDSTREAM_SLACK_ANALYSTS"):
        await serve_presses(load({}), "127.0.0.1", 0, asyncio.Event())
