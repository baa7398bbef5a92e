"""
The alerter as it is deployed, over a real server and a Slack of our own.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from fraudstream.app.run import run_workers
from fraudstream.domain.decision import Outcome
from fraudstream.domain.decision_codec import encode_decision
from fraudstream.local import LocalValkey
from fraudstream.settings import load
from tests.support.builders import a_decision, a_transaction
from tests.support.fake_slack import FakeSlack, fake_slack
from tests.support.wait import wait_until

FRAUD = "transactions:fraud"


@asynccontextmanager
async def _alerter(valkey: LocalValkey, slack: FakeSlack) -> AsyncIterator[None]:
    settings = load(
        {
            "REDIS_URL": valkey.url,
            "CONSUMER_GROUP": "alerter",
            "FRAUDSTREAM_ALERT_CHANNELS": "console,slack",
            "FRAUDSTREAM_SLACK_BOT_TOKEN": "xoxb-test",
            "FRAUDSTREAM_SLACK_CHANNEL": "#fraud",
            "FRAUDSTREAM_SLACK_BASE_URL": slack.base_url,
            "FRAUDSTREAM_BLOCK_MS": "100",
        }
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(run_workers(settings, stop, ready=ready.set))
    try:
        await asyncio.wait([running, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        stop.set()
        await running


async def _flag(client: Redis, numbers: range) -> None:
    for number in numbers:
        decision = a_decision(a_transaction(transaction_id=f"txn_{number}", card_id=f"tok_{number:08}"), outcome=Outcome.BLOCK)
        await client.xadd(FRAUD, {"transaction_id": f"txn_{number}", "decision": encode_decision(decision)})


async def _pending(client: Redis) -> int:
    groups = await client.xinfo_groups(FRAUD)
    return sum(group["pending"] + (group["lag"] or 0) for group in groups) if groups else 1


async def test_a_moody_slack_gets_every_alert_while_the_console_waits_for_nobody(
    valkey: LocalValkey, capsys: pytest.CaptureFixture[str]
) -> None:
    async with fake_slack() as slack, Redis.from_url(valkey.url) as client:
        slack.next("chat.postMessage", "429:0.3", "500", "drop", "ok", "502")
        await _flag(client, range(8))

        async with _alerter(valkey, slack):
            lines: list[str] = []

            def told() -> bool:
                lines.extend(line for line in capsys.readouterr().out.splitlines() if line.startswith("CRITICAL "))
                return len(lines) >= 8

            await wait_until(told, "the console has all")
            early = len(slack.posts)
            await wait_until(lambda: _all_settled(client), "every entry is acknowledged", timeout_s=120)

        posted = [message["metadata"]["event_payload"]["alert_id"] for message in slack.posts]
        groups = {await client.get(f"alertof:txn_{number}") for number in range(8)}
        undeliverable = await client.xlen("alerts:undeliverable")

    assert len(lines) == 8
    assert early < 8, "the console has all while Slack, which takes one a second, is still being told"
    assert {group.decode() for group in groups if group} == set(posted)
    assert len(set(posted)) == 8
    assert len(posted) <= 9, "one double for the one drop"
    assert undeliverable == 0


async def test_what_slack_refuses_for_good_is_kept_whole_in_the_stream_of_the_undeliverable(valkey: LocalValkey) -> None:
    async with fake_slack() as slack, Redis.from_url(valkey.url) as client:
        slack.next("chat.postMessage", "not_in_channel")
        await _flag(client, range(1))

        async with _alerter(valkey, slack):
            await wait_until(lambda: _all_settled(client), "the entry is acknowledged")

        ((_, letter),) = await client.xrange("alerts:undeliverable")

    assert letter[b"channel"] == b"slack"
    assert letter[b"reason"] == b"refused"
    assert letter[b"error"] == b"200 not_in_channel"
    assert b"txn_0" in letter[b"alert"]


async def _all_settled(client: Redis) -> bool:
    # In the order in which they empty: an entry that was still on the stream at the second look is not due at the first.
    if await _pending(client):
        return False
    return [await client.zcard(f"alertdue:{channel}") for channel in ("console", "slack")] == [0, 0]
