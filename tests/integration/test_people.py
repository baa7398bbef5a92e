"""
The key of the tokens: one for the whole fleet, whoever comes first, whatever Redis forgets.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_token_key import RedisTokenKey
from fraudstream.app.connections import address
from fraudstream.app.people import FleetTokens, fleet_tokens, tokens_of
from fraudstream.domain.tokens import Tokens
from fraudstream.local import LocalValkey
from fraudstream.settings import Settings

SOMEBODY = "jane.doe@example.com"


@pytest.fixture
async def kept(valkey: LocalValkey) -> AsyncIterator[RedisTokenKey]:
    async with connected(address(Settings(redis_url=valkey.url)), connections=8) as client:
        await client.flushall()
        yield RedisTokenKey(client)


async def test_of_workers_that_start_at_once_all_have_the_same_tokens(kept: RedisTokenKey, valkey: LocalValkey) -> None:
    settings = Settings(redis_url=valkey.url)

    fleet = await asyncio.gather(*(tokens_of(settings, kept) for _ in range(8)))

    names = {tokens.email(SOMEBODY) for tokens in (*fleet, await fleet_tokens(settings))}
    assert len(names) == 1
    assert names != {Tokens(b"0123456789abcdef").email(SOMEBODY)}


async def test_a_key_of_the_settings_goes_before_and_is_left_nowhere(kept: RedisTokenKey, valkey: LocalValkey) -> None:
    settings = Settings(redis_url=valkey.url, token_key="0123456789abcdef")

    tokens = await tokens_of(settings, kept)
    worker = FleetTokens(settings, kept, tokens)

    assert await worker.agree() == 0
    assert tokens.email(SOMEBODY) == Tokens(b"0123456789abcdef").email(SOMEBODY)
    assert await kept.agreed(b"another-key-of-16") == b"another-key-of-16", "Redis held none"


async def test_a_worker_puts_the_key_back_that_redis_lost(kept: RedisTokenKey, valkey: LocalValkey) -> None:
    settings = Settings(redis_url=valkey.url)
    worker = FleetTokens(settings, kept, await tokens_of(settings, kept))
    before = worker.tokens.email(SOMEBODY)
    async with connected(address(settings), connections=1) as client:
        await client.flushall()

    changed = await worker.agree()

    assert changed == 0
    assert (await tokens_of(settings, kept)).email(SOMEBODY) == before, "who starts now is told the same"


async def test_where_somebody_was_faster_everybody_follows(kept: RedisTokenKey, valkey: LocalValkey) -> None:
    settings = Settings(redis_url=valkey.url)
    worker = FleetTokens(settings, kept, await tokens_of(settings, kept))
    before = worker.tokens.email(SOMEBODY)
    async with connected(address(settings), connections=1) as client:
        await client.flushall()
    newcomer = await tokens_of(settings, kept)

    changed = [await worker.agree(), await worker.agree()]

    assert changed == [1, 0]
    assert worker.tokens.email(SOMEBODY) == newcomer.email(SOMEBODY) != before
