from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from slack_sdk.models.attachments import BlockAttachment
from slack_sdk.models.blocks import Block

from fraudstream.adapters.slack import SlackAlertChannel, SlackWebhookChannel
from fraudstream.adapters.slack_message import slack_message
from fraudstream.domain.alert import Severity
from fraudstream.domain.errors import AlertFailed
from fraudstream.fleet.ports import AlertChannel
from tests.support.alerts import an_alert
from tests.support.fake_slack import FakeSlack, fake_slack

POST = "chat.postMessage"


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with fake_slack() as server:
        yield server


@pytest_asyncio.fixture
async def channel(slack: FakeSlack) -> AsyncIterator[AlertChannel]:
    bot = SlackAlertChannel("xoxb-test", "#fraud", critical_channel="#fraud-critical", base_url=slack.base_url, timeout_s=0.5)
    yield bot
    await bot.close()


@pytest_asyncio.fixture
async def webhook(slack: FakeSlack) -> AsyncIterator[AlertChannel]:
    hook = SlackWebhookChannel(slack.webhook_url, timeout_s=0.5)
    yield hook
    await hook.close()


async def _failure(channel: AlertChannel) -> AlertFailed:
    with pytest.raises(AlertFailed) as caught:
        await channel.send(an_alert())
    return caught.value


async def test_an_alert_becomes_one_message_in_the_channel_of_its_severity(slack: FakeSlack, channel: AlertChannel) -> None:
    await channel.send(an_alert())
    await channel.send(an_alert(severity=Severity.WARNING))

    assert [message["channel"] for message in slack.messages] == ["#fraud-critical", "#fraud"]
    assert slack.messages[0]["text"].startswith("[critical] Blocked: card testing at ACME GmbH")
    assert slack.messages[0]["metadata"]["event_payload"] == {"alert_id": "al_0123456789abcdef"}
    assert slack.messages[0]["unfurl_links"] is False
    assert slack.requests[0][1]["Authorization"] == "Bearer xoxb-test"


@pytest.mark.parametrize(("asked", "seconds"), [("3", 3.0), ("1.5", 1.5), ("soon", None), ("-1", None), ("99999", 3600.0)])
async def test_a_full_rate_limit_is_transient_and_says_how_long(
    slack: FakeSlack, channel: AlertChannel, asked: str, seconds: float | None
) -> None:
    slack.next(POST, f"429:{asked}")

    failure = await _failure(channel)

    assert not failure.permanent
    assert failure.retry_after_s == seconds
    assert len(slack.requests) == 1


@pytest.mark.parametrize("answer", ["500", "502", "503", "internal_error", "fatal_error", "page", "words"])
async def test_what_passes_by_itself_is_transient_and_tried_once(slack: FakeSlack, channel: AlertChannel, answer: str) -> None:
    slack.next(POST, answer)

    failure = await _failure(channel)

    assert not failure.permanent
    assert len(slack.requests) == 1


@pytest.mark.parametrize("answer", ["timeout", "drop"])
async def test_silence_after_accepting_is_transient_and_posts_no_second_time_by_itself(
    slack: FakeSlack, channel: AlertChannel, answer: str
) -> None:
    slack.next(POST, answer)

    failure = await _failure(channel)

    assert not failure.permanent
    assert len(slack.messages) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "invalid_auth", "token_revoked", "account_inactive", "channel_not_found", "is_archived", "not_in_channel",
        "restricted_action", "invalid_blocks", "msg_too_long", "404",
    ],
)  # fmt: skip
async def test_what_needs_a_person_is_permanent(slack: FakeSlack, channel: AlertChannel, answer: str) -> None:
    slack.next(POST, answer)

    failure = await _failure(channel)

    assert failure.permanent
    assert answer in failure.detail


async def test_nobody_listening_is_transient() -> None:
    async with fake_slack() as gone:
        url = gone.base_url
    channel = SlackAlertChannel("xoxb-test", "#fraud", base_url=url, timeout_s=0.5)

    failure = await _failure(channel)
    await channel.close()

    assert not failure.permanent
    assert "xoxb" not in failure.detail


async def test_the_channel_recovers_after_a_failure(slack: FakeSlack, channel: AlertChannel) -> None:
    slack.next(POST, "drop", "500")
    await _failure(channel)
    await _failure(channel)

    await channel.send(an_alert())

    assert len(slack.messages) == 2


async def test_a_webhook_gets_the_same_message(slack: FakeSlack, webhook: AlertChannel) -> None:
    await webhook.send(an_alert())

    (message,) = slack.messages
    assert message["attachments"] == slack_message(an_alert())["attachments"]


@pytest.mark.parametrize(
    ("answer", "permanent"), [("429:1.5", False), ("500", False), ("timeout", False), ("drop", False), ("invalid_blocks", True)]
)
async def test_a_webhook_that_does_not_say_ok_has_failed(
    slack: FakeSlack, webhook: AlertChannel, answer: str, permanent: bool
) -> None:
    slack.next("webhook", answer)

    failure = await _failure(webhook)

    assert failure.permanent is permanent
    assert failure.retry_after_s == (1.5 if answer.startswith("429") else None)
    assert "secret" not in failure.detail


@pytest.mark.parametrize(
    "alert",
    [
        an_alert(),
        an_alert(title="&<>" * 60, merchant="<" * 3000, why=("&" * 3000,) * 3, degraded="degraded: decided without the model"),
        an_alert(card="", merchant="", country="", channel="", why=(), rule_ids=()),
    ],
    ids=["whole", "long", "bare"],
)
def test_every_message_is_within_the_limits_of_slack(alert: object) -> None:
    message = slack_message(alert)  # type: ignore[arg-type]

    (attachment,) = message["attachments"]
    blocks = Block.parse_all(attachment["blocks"])
    for block in blocks:
        block.validate_json()
    BlockAttachment(blocks=blocks, color=attachment["color"], fallback=attachment["fallback"]).validate_json()
    assert len(blocks[0].to_dict()["text"]["text"]) <= 150
    assert all(1 <= len(block.get("fields", [])) <= 10 for block in attachment["blocks"] if "fields" in block)


def test_outside_words_can_neither_mention_link_nor_mark_up() -> None:
    alert = an_alert(title="Blocked: <!channel> & <https://x|y>", merchant="<!here>", why=("*bold* <@U1>",), card="•••• <`x>")

    message = slack_message(alert)

    text = str(message)
    for mark in ("<!", "<@", "<http"):
        assert mark not in text
    marked = [block["text"] for block in message["attachments"][0]["blocks"] if block.get("text", {}).get("type") == "mrkdwn"]
    assert all(text["verbatim"] for text in marked)
    assert not any("bold" in text["text"] for text in marked)


def test_a_degraded_decision_says_so_in_the_message() -> None:
    message = slack_message(an_alert(degraded="degraded: decided without the model (no answer in time)"))

    assert "degraded: decided without the model (no answer in time)" in str(message["attachments"])
