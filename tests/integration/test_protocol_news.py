"""
First verdicts told on a real server, and heard.
"""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from fraudstream.adapters import redis_news
from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_news import RedisNews
from fraudstream.local import LocalValkey
from fraudstream.stages.intake import entry_order
from fraudstream.stages.news import News
from tests.support.builders import a_transaction
from tests.support.verdicts import MODEL, RULES, VerdictRig
from tests.support.wait import wait_until


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url)
    yield rig
    await rig.close()


@pytest.fixture
async def news(rig: VerdictRig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[News]:
    monkeypatch.setattr(redis_news, "_AGAIN_S", 0.05)
    heard = News()
    listener = RedisNews(rig.streams.address.commands(1), rig.streams.keys.news(RULES), heard)
    listener.start()
    await wait_until(lambda: listens(rig), "a listener")
    yield heard
    await listener.stop()
    await wait_until(lambda: not listens(rig), "the end of the listener")


def listens(rig: VerdictRig) -> bool:
    channel = rig.streams.keys.news(RULES)
    return bool(dict(rig.streams.client.pubsub_shardnumsub(channel))[channel.encode()])


async def test_the_last_entry_of_each_call_is_told_by_the_group_that_goes_first_and_by_no_other(
    rig: VerdictRig, news: News
) -> None:
    transactions = [a_transaction() for _ in range(200)]
    entries = rig.streams.add(200)
    rules, model = rig.side(RULES), rig.side(MODEL)
    for side in (rules, model):
        await side.read()
        await side.touch(entries, transactions)

    await model.complete(entries[150:], transactions[150:])
    await rules.complete(entries[:150], transactions[:150])
    await wait_until(lambda: news.told == 2, "two tellings")

    assert news.latest == entry_order(entries[149])
    await rules.decide(entries[150:], transactions[150:])
    await asyncio.sleep(0.05)
    assert news.told == 2, "a decision is no first verdict"


async def test_a_listener_that_was_cut_off_listens_again(rig: VerdictRig, news: News) -> None:
    rig.streams.client.client_kill_filter(_type="pubsub")
    await wait_until(lambda: not news.listening, "nobody who listens")
    await wait_until(lambda: news.listening and listens(rig), "somebody who listens again")

    rig.streams.client.spublish(rig.streams.keys.news(RULES), "7-1")

    await wait_until(lambda: news.latest == (7, 1), "what was told")


async def test_a_listener_that_is_taken_for_deaf_connects_anew(rig: VerdictRig, news: News) -> None:
    before = rig.streams.client.client_list(_type="pubsub")[0]["id"]
    news.listening = False

    await wait_until(lambda: news.listening and listens(rig), "somebody who listens again")

    assert rig.streams.client.client_list(_type="pubsub")[0]["id"] != before


async def test_while_the_server_is_away_nobody_listens_and_afterwards_somebody_does(
    own_valkey: LocalValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_news, "_AGAIN_S", 0.05)
    news = News()
    listener = RedisNews(RedisAddress(url=own_valkey.url).commands(1), "news:fraud-check", news)
    listener.start()
    await wait_until(lambda: news.listening, "somebody who listens")
    own_valkey.kill()
    await wait_until(lambda: not news.listening, "nobody who listens")
    own_valkey.start()
    await wait_until(lambda: news.listening, "somebody who listens")
    await listener.stop()
    assert not news.listening


class Broken:
    """
    A pool of one connection whose socket has given up: reading is over at once, each time, and nothing was read.
    """

    def __init__(self) -> None:
        self.reads = self.ended = 0

    async def get_connection(self) -> "Broken":
        return self

    async def send_command(self, *_: str) -> None:
        return

    async def read_response(self, **_: object) -> None:
        self.reads += 1

    async def disconnect(self) -> None:
        self.ended += 1

    async def release(self, _: object) -> None:
        return


async def test_a_connection_that_says_nothing_without_waiting_is_ended_and_does_not_keep_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_news, "_AGAIN_S", 0.05)
    broken = Broken()
    client = SimpleNamespace(connection_pool=broken, response_callbacks={}, aclose=broken.disconnect)
    listener = RedisNews(client, "news:fraud-check", News())

    listener.start()
    await wait_until(lambda: broken.ended == 3, "it is tried again now and then")
    await listener.stop()

    assert broken.reads <= 4
