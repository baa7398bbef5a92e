"""
What an overview reads from a real server, whatever the server itself says.
"""

import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis
from redis import asyncio as aioredis

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_keys import Keys
from fraudstream.adapters.redis_overview import RIGHTS, read_overview, read_pending
from fraudstream.adapters.redis_replies import COUNTED
from fraudstream.adapters.redis_stream import consumer_name
from fraudstream.domain.errors import StreamUnavailable, UnsuitableServer
from fraudstream.fleet.overview import GroupState, Overview
from fraudstream.local import LocalValkey
from tests.support.debian import debian_redis

RAW = "transactions:raw"


@pytest.fixture(scope="module", params=["valkey", "redis"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalValkey]:
    with LocalValkey(binary=debian_redis() if request.param == "redis" else None) as found:
        yield found


@pytest.fixture
def side(server: LocalValkey) -> Iterator[Redis]:
    with Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
async def client(server: LocalValkey) -> AsyncIterator[aioredis.Redis]:
    async with connected(RedisAddress(url=server.url), connections=2) as found:
        yield found


def group_of(overview: Overview, name: str) -> GroupState:
    (found,) = (group for group in overview.groups if group.group == name)
    return found


def add(side: Redis, count: int) -> list[bytes]:
    pipeline = side.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd(RAW, {"data": b"{}"})
    ids: list[bytes] = pipeline.execute()
    return ids


async def test_an_empty_server_is_read_without_a_word(side: Redis, client: aioredis.Redis) -> None:
    overview = await read_overview(client, Keys())

    assert [stream.exists for stream in overview.streams] == [False] * 6
    assert {group.exists for group in overview.groups} == {False}
    assert [group.group for group in overview.groups] == ["fraud-check", "ml-scoring", "recorder", "alerter", "labels"]
    assert overview.dead_letters.entries == overview.undeliverable.entries == 0
    assert overview.server.problems == ()
    assert abs(overview.server.clock_ahead_s) < 5


async def test_all_of_it_takes_two_round_trips(side: Redis, client: aioredis.Redis) -> None:
    add(side, 5)
    side.xgroup_create(RAW, "fraud-check", "0")
    side.xgroup_create(RAW, "ml-scoring", "0")
    await read_overview(client, Keys())  # loads the script
    sent: list[int] = []
    connection = await client.connection_pool.get_connection()
    original = connection.send_packed_command

    async def counting(command: object, check_health: bool = True) -> None:
        sent.append(1)
        await original(command, check_health=check_health)

    connection.send_packed_command = counting
    await client.connection_pool.release(connection)

    await read_overview(client, Keys())

    assert len(sent) == 2


async def test_a_group_that_reads_and_works_is_seen_as_it_is(side: Redis, client: aioredis.Redis) -> None:
    add(side, 5)
    side.xgroup_create(RAW, "fraud-check", "0")
    side.xreadgroup("fraud-check", "worker", {RAW: ">"}, count=2)
    side.zadd("heartbeat:fraud-check", {"worker": (time.time() + 60) * 1000})

    group = group_of(await read_overview(client, Keys()), "fraud-check")

    assert (group.exists, group.known, group.lag_entries, group.pending_entries) == (True, True, 3, 2)
    assert [one.name for one in group.workers] == ["worker"]
    assert group.workers[0].pending == 2
    assert group.oldest_pending is not None
    assert group.oldest_pending.consumer_alive
    assert group.oldest_pending.deliveries == 1


async def test_a_group_that_is_missing_has_everything_before_it(side: Redis, client: aioredis.Redis) -> None:
    add(side, 7)

    group = group_of(await read_overview(client, Keys()), "ml-scoring")

    assert (group.exists, group.lag_entries, group.consumers) == (False, 7, ())


async def test_lag_is_counted_where_redis_cannot_tell_it(side: Redis, client: aioredis.Redis) -> None:
    ids = add(side, 10)
    side.xgroup_create(RAW, "fraud-check", "0")
    side.xreadgroup("fraud-check", "worker", {RAW: ">"}, count=4)
    side.xdel(RAW, ids[6])
    told = {one["name"]: one["lag"] for one in side.xinfo_groups(RAW)}

    group = group_of(await read_overview(client, Keys()), "fraud-check")

    assert told == {b"fraud-check": None}
    assert (group.lag_entries, group.lag_told) == (5, False)
    assert group.oldest_unread_age_s >= 0


async def test_lag_is_counted_where_redis_tells_it_wrong(side: Redis, client: aioredis.Redis) -> None:
    ids = add(side, 200)
    side.xgroup_create(RAW, "fraud-check", "0")
    side.xgroup_setid(RAW, "fraud-check", ids[197], entries_read=50)
    told = side.xinfo_groups(RAW)[0]["lag"]

    group = group_of(await read_overview(client, Keys()), "fraud-check")

    assert told == 150
    assert (group.lag_entries, group.lag_told) == (2, True)


async def test_a_long_lag_that_redis_can_tell_is_taken_from_it(side: Redis, client: aioredis.Redis) -> None:
    add(side, COUNTED + 500)
    side.xgroup_create(RAW, "fraud-check", "0")

    assert group_of(await read_overview(client, Keys()), "fraud-check").lag_entries == COUNTED + 500


async def test_a_long_lag_that_nobody_can_tell_is_unknown(side: Redis, client: aioredis.Redis) -> None:
    ids = add(side, COUNTED + 500)
    side.xgroup_create(RAW, "fraud-check", "0")
    side.xreadgroup("fraud-check", "worker", {RAW: ">"}, count=4)
    side.xdel(RAW, ids[COUNTED])

    group = group_of(await read_overview(client, Keys()), "fraud-check")

    assert (group.lag_entries, group.lag_told) == (None, False)


async def test_a_group_that_has_read_the_last_entry_lags_by_nothing(side: Redis, client: aioredis.Redis) -> None:
    ids = add(side, 20)
    side.xgroup_create(RAW, "fraud-check", "0")
    side.xgroup_setid(RAW, "fraud-check", ids[-1], entries_read=3)

    group = group_of(await read_overview(client, Keys()), "fraud-check")

    assert (group.lag_entries, group.lag_told, group.oldest_unread_age_s) == (0, True, 0.0)


async def test_consumers_are_told_apart_by_their_own_heartbeat(side: Redis, client: aioredis.Redis) -> None:
    add(side, 6)
    side.xgroup_create(RAW, "ml-scoring", "0")
    stepping, now_ms = consumer_name("host", stepping_in=True), time.time() * 1000
    for name in ("alive", "dead", "__retry__"):
        side.xreadgroup("ml-scoring", name, {RAW: ">"}, count=2)
    side.zadd("heartbeat:ml-scoring", {"alive": now_ms + 60_000, "dead": now_ms - 30_000, stepping: now_ms + 60_000})

    group = group_of(await read_overview(client, Keys()), "ml-scoring")

    assert [one.name for one in group.workers] == ["alive"]
    assert [(one.name, one.pending) for one in group.gone] == [("dead", 2)]
    assert 29 < group.gone[0].quiet_s < 60
    assert group.retrying_entries == 2
    assert [one.name for one in group.consumers if one.stepping_in] == [stepping]


async def test_a_group_that_is_not_ours_is_seen_and_not_known(side: Redis, client: aioredis.Redis) -> None:
    add(side, 3)
    side.xgroup_create(RAW, "warehouse", "0")

    group = group_of(await read_overview(client, Keys()), "warehouse")

    assert (group.known, group.lag_entries) == (False, 3)


async def test_dead_letters_are_counted_by_reason_and_their_bodies_stay_there(side: Redis, client: aioredis.Redis) -> None:
    for reason in ("decode_error", "decode_error", "max_retries"):
        side.xadd("transactions:dlq", {"reason": reason, "data": "secret-body"})
    side.xadd("alerts:undeliverable", {"channel": "slack", "error": "channel_not_found"})

    overview = await read_overview(client, Keys())
    blind = await read_overview(client, Keys(), letters=0)

    assert overview.dead_letters.counts == {"decode_error": 2, "max_retries": 1}
    assert (overview.dead_letters.entries, overview.dead_letters.counted) == (3, 3)
    assert overview.undeliverable.counts == {"slack": 1}
    assert "secret-body" not in repr(overview)
    assert (blind.dead_letters.entries, blind.dead_letters.counts) == (3, {})


async def test_pending_entries_come_oldest_first_and_only_those_that_idle(side: Redis, client: aioredis.Redis) -> None:
    ids = add(side, 4)
    side.xgroup_create(RAW, "fraud-check", "0")
    side.xreadgroup("fraud-check", "worker", {RAW: ">"}, count=3)
    side.xclaim(RAW, "fraud-check", "worker", 0, [ids[1]], idle=90_000)

    everything = await read_pending(client, Keys(), ["fraud-check", "recorder"])
    idle = await read_pending(client, Keys(), ["fraud-check"], min_idle_s=60)

    assert [one.entry_id for one in everything] == [one.decode() for one in ids[:3]]
    assert [(one.entry_id, one.deliveries) for one in idle] == [(ids[1].decode(), 2)]
    assert not idle[0].consumer_alive
    assert idle[0].idle_s >= 90


async def test_a_server_set_up_wrongly_is_told_with_every_problem(side: Redis, client: aioredis.Redis) -> None:
    side.config_set("maxmemory-policy", "allkeys-lru")
    side.config_set("appendonly", "no")
    try:
        server = (await read_overview(client, Keys())).server
        meant = (await read_overview(client, Keys(), allow_no_persistence=True)).server
    finally:
        side.config_set("maxmemory-policy", "noeviction")
        side.config_set("appendonly", "yes")

    assert [one.kind for one in server.problems] == ["eviction", "persistence"]
    assert [one.kind for one in meant.problems] == ["eviction"]


async def test_a_user_that_may_not_look_is_told_what_it_needs(server: LocalValkey, side: Redis) -> None:
    side.execute_command("ACL", "SETUSER", "reader", "on", ">word", "~*", "+@read")
    try:
        async with connected(RedisAddress(url=server.url.replace("//", "//reader:word@"))) as client:
            with pytest.raises(UnsuitableServer, match=r"may not look.*info") as refused:
                await read_overview(client, Keys())
            side.execute_command("ACL", "SETUSER", "reader", *RIGHTS.split())
            side.execute_command("SCRIPT", "FLUSH")
            add(side, 3)
            side.xgroup_create(RAW, "fraud-check", "0")
            allowed = await read_overview(client, Keys())
    finally:
        side.execute_command("ACL", "DELUSER", "reader")
    assert "word" not in str(refused.value)
    assert group_of(allowed, "fraud-check").lag_entries == 3


async def test_a_server_that_is_away_is_said_so() -> None:
    async with connected(RedisAddress(url="redis://127.0.0.1:1/0")) as client:
        with pytest.raises(StreamUnavailable):
            await read_overview(client, Keys())
