from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from slack_sdk.models.attachments import BlockAttachment
from slack_sdk.models.blocks import Block

from fraudstream.adapters.slack import SlackAlertChannel
from fraudstream.adapters.slack_limits import problems
from fraudstream.adapters.slack_message import slack_message
from fraudstream.domain.alert import Answer, FoldedGroup, Message, Severity
from fraudstream.domain.errors import AlertFailed
from fraudstream.stages.alert_ports import AlertChannel
from tests.support.alerts import a_digest, a_notice
from tests.support.fake_slack import FakeSlack, fake_slack

POST = "chat.postMessage"
_LINE = FoldedGroup(alert_id="al_1", severity=Severity.INFO, title="<" * 140, transactions=10**6, value=("9" * 70,))


@pytest_asyncio.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with fake_slack() as server:
        yield server


@pytest_asyncio.fixture
async def channel(slack: FakeSlack) -> AsyncIterator[AlertChannel]:
    bot = SlackAlertChannel("xoxb-test", "#fraud", critical_channel="#fraud-critical", base_url=slack.base_url, timeout_s=60.0)
    yield bot
    await bot.close()


async def _failure(channel: AlertChannel) -> AlertFailed:
    with pytest.raises(AlertFailed) as caught:
        await channel.post(a_notice())
    return caught.value


async def test_an_alert_becomes_one_message_in_the_channel_of_its_severity(slack: FakeSlack, channel: AlertChannel) -> None:
    await channel.post(a_notice())
    await channel.post(a_notice(severity=Severity.WARNING))

    assert [message["channel"] for message in slack.messages] == ["#fraud-critical", "#fraud"]
    assert slack.messages[0]["text"].startswith("[critical] Blocked: card testing at ACME GmbH")
    assert slack.messages[0]["metadata"]["event_payload"] == {"alert_id": "al_0123456789abcdef", "transactions": 1}
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
async def test_silence_after_accepting_is_transient_and_posts_no_second_time_by_itself(slack: FakeSlack, answer: str) -> None:
    slack.next(POST, answer)
    channel = SlackAlertChannel("xoxb-test", "#fraud", base_url=slack.base_url, timeout_s=2.0)

    failure = await _failure(channel)
    await channel.close()

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

    await channel.post(a_notice())

    assert len(slack.messages) == 2


@pytest.mark.parametrize(
    "message",
    [
        a_notice(),
        a_notice(title="&<>" * 60, merchant="<" * 3000, why=("&" * 3000,) * 3, degraded="degraded: decided without the model"),
        a_notice(card="", merchant="", country="", channel="", why=(), rule_ids=()),
        a_notice(transactions=1_234_567, buttons=True, case_url="https://x.example/1", runbook_url="https://x.example/2"),
        a_notice(buttons=True, answer=Answer.FRAUD, answered_by="@" + "a" * 400, previous="al_1", transactions=2),
        a_notice(buttons=True, subject="this network address", acknowledged_by="@ann", snoozed_by="@ann"),
        a_digest(),
        a_digest(over=True, snoozes=("many cards for one card",), overview_url="https://x.example/"),
        a_digest(top=(_LINE,) * 10, families=(("&" * 80, 9),) * 8, merchants=(("<" * 80, 9),) * 8, value=("9" * 50,) * 9),
        a_digest(top=(), families=(), merchants=(), value=()),
    ],
    ids=["whole", "long", "bare", "buttons", "answered", "snoozed", "digest", "over", "long digest", "bare digest"],
)
def test_every_message_is_within_the_limits_of_slack(message: Message) -> None:
    built = slack_message(message)

    (attachment,) = built["attachments"]
    blocks = Block.parse_all(attachment["blocks"])
    for block in blocks:
        block.validate_json()
    BlockAttachment(blocks=blocks, color=attachment["color"], fallback=attachment["fallback"]).validate_json()
    assert problems(built) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda blocks: blocks[0]["text"].update(text="x" * 151), "blocks[0].text: 151 characters, 150 are allowed"),
        (lambda blocks: blocks[0]["text"].update(type="mrkdwn"), "blocks[0].text: 'mrkdwn' is not plain_text"),
        (lambda blocks: blocks[-2]["elements"][0]["text"].update(text="x" * 76), "elements[0].text: 76 characters, 75"),
        (lambda blocks: blocks[-2]["elements"][0].update(value="x" * 2001), "elements[0].value: 2001 characters"),
        (lambda blocks: blocks[-2]["elements"][0].update(style="big"), "'big' is neither primary nor danger"),
        (lambda blocks: blocks[-2]["elements"][0]["confirm"].pop("deny"), "confirm.deny: missing"),
        (lambda blocks: blocks[-2]["elements"].append(blocks[-2]["elements"][0]), "the same action_id"),
        (lambda blocks: blocks[-2]["elements"].extend([blocks[-2]["elements"][0]] * 30), "33, 25 are allowed"),
        (lambda blocks: blocks[-1]["elements"].clear(), "blocks[7]: empty"),
        (lambda blocks: blocks.append({"type": "section"}), "a section needs text or fields"),
        (lambda blocks: blocks.append({"type": "table"}), "no block is called 'table'"),
        (lambda blocks: blocks.extend([{"type": "divider"}] * 50), "58, 50 are allowed"),
        (lambda blocks: blocks.extend([{"type": "divider", "block_id": "a"}] * 2), "the same block_id"),
    ],
    ids=range(13),
)
def test_what_slack_would_refuse_is_named(change: Callable[[list[dict[str, Any]]], object], complaint: str) -> None:
    message = slack_message(a_notice(buttons=True, transactions=2))
    change(message["attachments"][0]["blocks"])

    assert any(complaint.replace("blocks[", "[") in one for one in problems(message)), problems(message)


def test_a_button_tells_nothing_of_the_payment() -> None:
    (actions,) = [
        block
        for block in slack_message(a_notice(buttons=True, subject="this card"))["attachments"][0]["blocks"]
        if block["type"] == "actions"
    ]

    assert [button["text"]["text"] for button in actions["elements"]] == [
        "Fraud",
        "Legitimate",
        "Snooze this rule for this card 24 h",
    ]
    assert {button["value"] for button in actions["elements"]} == {'{"v": 1, "alert": "al_0123456789abcdef"}'}
    assert all(button["confirm"] for button in actions["elements"])


async def test_a_group_is_told_anew_in_place_and_replied_to_in_its_thread(slack: FakeSlack, channel: AlertChannel) -> None:
    place = await channel.post(a_notice())

    again = await channel.update(a_notice(transactions=12), place)
    await channel.reply("12 payments by now <!here>", a_notice(transactions=12), place)

    assert again == place
    assert len(slack.posts) == 1
    assert "(12 payments)" in slack.now["1.000100"]["attachments"][0]["blocks"][0]["text"]["text"]
    (reply,) = slack.replies
    assert (reply["thread_ts"], reply["text"]) == ("1.000100", "12 payments by now &lt;!here&gt;")


async def test_a_message_that_somebody_deleted_is_posted_again(slack: FakeSlack, channel: AlertChannel) -> None:
    place = await channel.post(a_notice())
    slack.now.clear()

    again = await channel.update(a_notice(transactions=2), place)

    assert again != place
    assert len(slack.posts) == 2


async def test_what_becomes_critical_moves_to_the_channel_of_the_critical(slack: FakeSlack, channel: AlertChannel) -> None:
    place = await channel.post(a_notice(severity=Severity.WARNING))

    await channel.update(a_notice(transactions=2), place)

    assert [message["channel"] for message in slack.posts] == ["#fraud", "#fraud-critical"]


def test_outside_words_can_neither_mention_link_nor_mark_up() -> None:
    alert = a_notice(title="Blocked: <!channel> & <https://x|y>", merchant="<!here>", why=("*bold* <@U1>",), card="•••• <`x>")

    message = slack_message(alert)

    text = str(message).replace("<!date^", "")  # our own, for the reader's time zone
    for mark in ("<!", "<@", "<http"):
        assert mark not in text
    marked = [block["text"] for block in message["attachments"][0]["blocks"] if block.get("text", {}).get("type") == "mrkdwn"]
    assert all(text["verbatim"] for text in marked)
    assert not any("bold" in text["text"] for text in marked)


def test_a_degraded_decision_says_so_in_the_message() -> None:
    message = slack_message(a_notice(degraded="degraded: decided without the model (no answer in time)"))

    assert "degraded: decided without the model (no answer in time)" in str(message["attachments"])
