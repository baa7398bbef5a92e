"""
Connections that break on the way to a real server.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.chaos.proxy import DELAY_S, Proxy
from fraudstream.local import LocalValkey
from fraudstream.local.process import HOST
from tests.support.wait import wait_until


@asynccontextmanager
async def a_way(port: int, word: bytes = b"") -> AsyncIterator[tuple[Proxy, Counter[str], object]]:
    counted: Counter[str] = Counter()
    proxy = Proxy(port, lambda kind: counted.update([kind]), word=word)
    await proxy.open()
    client = RedisAddress(url=f"redis://{HOST}:{proxy.port}/0").reader()
    try:
        yield proxy, counted, client
    finally:
        await client.aclose()
        await proxy.close()


async def test_a_proxy_in_good_order_changes_nothing(valkey: LocalValkey) -> None:
    async with a_way(valkey.port) as (_, counted, client):
        await client.set("a", b"x" * 200_000)

        assert await client.get("a") == b"x" * 200_000
        assert counted == {}


async def test_a_reply_is_lost_after_the_command_ran(valkey: LocalValkey) -> None:
    async with a_way(valkey.port) as (proxy, counted, client):
        await client.ping()
        proxy.trouble("reply_lost", random.Random(1))

        with pytest.raises(RedisConnectionError):
            await client.incr("n")

        assert await client.get("n") == b"1"
        assert counted == {"reply_lost": 1}


async def test_a_reply_that_is_still_to_be_lost_is_spared(valkey: LocalValkey) -> None:
    """
    A read that finds nothing loses nothing: the loss waited for the first payment of a time that was to be free of faults.
    """
    async with a_way(valkey.port, b"INCR") as (proxy, counted, client):
        await client.ping()
        proxy.trouble("reply_lost", random.Random(1))
        proxy.words_left = 1

        proxy.spare()

        assert await client.incr("n") == 1
        assert counted == {}


async def test_only_replies_to_the_word_are_lost_and_only_as_often_as_told(valkey: LocalValkey) -> None:
    async with a_way(valkey.port, b"INCR") as (proxy, counted, client):
        proxy.words_left = 1
        await client.ping()

        with pytest.raises(RedisConnectionError):
            await client.incr("n")

        assert await client.incr("n") == 2
        assert counted == {"reply_lost": 1}


async def test_a_cut_connection_is_told_to_the_client(valkey: LocalValkey) -> None:
    async with a_way(valkey.port) as (proxy, counted, client):
        await client.ping()
        proxy.trouble("cut", random.Random(1))

        with pytest.raises(RedisError):
            await client.ping()

        assert await client.ping()
        assert counted == {"cut": 1}


async def test_a_slow_connection_answers_late_and_in_order(valkey: LocalValkey) -> None:
    async with a_way(valkey.port) as (proxy, _, client):
        await client.ping()
        proxy.trouble("delay", random.Random(1))
        loop = asyncio.get_running_loop()
        started = loop.time()

        assert await client.echo("late") == b"late"
        assert loop.time() - started > DELAY_S * 0.8
        assert await client.echo("again") == b"again"


async def test_the_pieces_of_a_late_reply_stay_in_their_order(valkey: LocalValkey) -> None:
    async with a_way(valkey.port) as (proxy, _, client):
        large = b"".join(b"%08d" % number for number in range(500_000))
        await client.set("large", large)
        proxy.trouble("delay", random.Random(1))

        assert await client.get("large") == large


async def test_a_half_open_connection_says_nothing(valkey: LocalValkey) -> None:
    async with a_way(valkey.port) as (proxy, _, client):
        await client.ping()
        proxy.trouble("half_open", random.Random(1))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.ping(), 0.3)


async def test_everybody_is_led_to_another_server_after_a_move(valkey: LocalValkey, own_valkey: LocalValkey) -> None:
    async with a_way(valkey.port) as (proxy, _, client):
        await client.set("where", "here")
        proxy.move(own_valkey.port)

        async def gone() -> bool:
            try:
                return await client.get("where") is None
            except RedisError:
                return False

        await wait_until(gone, "the other server")
