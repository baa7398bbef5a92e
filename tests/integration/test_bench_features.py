"""
The measurement of features: what it measures is what it says.
"""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_cost import AllKeys
from fraudstream.app.bench_features import bench_features, workload
from fraudstream.local import LocalValkey


def test_the_workload_is_41_features_over_four_kinds_of_entity() -> None:
    features = workload()

    assert (len(features.names), features.logs, features.rings) == (41, ("card", "user", "device"), ("merchant",))


async def test_client_and_server_are_measured_apart_over_cards_of_a_hundred_events() -> None:
    found = await bench_features(cards=8, transactions=64, batch=32, rounds=2)

    assert (found.features, found.entity_kinds, found.batch, found.transactions) == (41, 4, 32, 64)
    assert found.events_per_card == 100
    assert found.record_bytes == {"card": 25, "user": 13, "device": 17}
    assert 100 * found.record_bytes["card"] < found.bytes_per_card <= 4096
    assert 0 < found.kernel_us_per_transaction < found.client_us_per_transaction
    assert found.redis_us["evalsha"] > 0
    assert found.redis_us["mget"] > 0


async def test_a_busy_machine_shows_in_the_median_and_not_in_the_least() -> None:
    found = await bench_features(cards=8, transactions=64, batch=32, rounds=2)

    least = {"client": found.client_us_per_transaction, "kernel": found.kernel_us_per_transaction}
    assert all(0 < least[name] <= found.median_us[name] for name in least)


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    with LocalValkey() as server:
        async with connected(RedisAddress(url=server.url), connections=1) as client:
            yield client


async def test_every_round_begins_from_the_same_states(redis: Redis) -> None:
    # given what a server held, some of it for a time
    await redis.set("log", b"\x00\xff")
    await redis.set("seen", "1", px=60_000)
    before = await AllKeys.of(redis)

    # when a round has changed, added and taken away
    await redis.append("log", "more")
    await redis.delete("seen")
    await redis.set("new", "1")
    await before.put_back()

    # then all is as it was
    assert sorted(await redis.keys()) == [b"log", b"seen"]
    assert await redis.get("log") == b"\x00\xff"
    assert 0 < await redis.pttl("seen") <= 60_000
    assert await redis.pttl("log") == -1
