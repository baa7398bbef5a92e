"""
What keeps a real server from losing entries or filling up: the janitor, admission, and the look before the start.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis import Redis as BlockingRedis
from redis.exceptions import ResponseError

from fraudstream.adapters.redis_checks import check_server
from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_intake import AdmissionLimits, RedisIntake, group_lag, stream_lag
from fraudstream.adapters.redis_janitor import RedisJanitor
from fraudstream.domain.errors import AdmissionRefused, StreamUnavailable, UnsuitableServer
from fraudstream.local import LocalValkey
from tests.support.streams import RedisStreams

RULES, MODEL = "fraud-check", "ml-scoring"


@pytest.fixture
async def streams(valkey: LocalValkey) -> AsyncIterator[RedisStreams]:
    streams = RedisStreams(valkey.url)
    yield streams
    await streams.close()


async def sweep(streams: RedisStreams) -> int:
    async with connected(streams.address) as client:
        return await RedisJanitor(client, streams.keys).sweep()


async def lag(streams: RedisStreams) -> int:
    async with connected(streams.address) as client:
        return await stream_lag(client, streams.stream)


async def a_group(streams: RedisStreams, group: str, *, read: int, done: int) -> None:
    """
    Let a group read so many entries and acknowledge the first of them.
    """
    consumer = streams.consumer("a", group=group)
    await consumer.open()
    deliveries = await consumer.read(read, 1) if read else []
    await consumer.acknowledge([delivery.entry_id for delivery in deliveries[:done]])


async def test_the_janitor_drops_what_every_group_has_acknowledged_and_nothing_else(streams: RedisStreams) -> None:
    entries = streams.add(1000)
    await a_group(streams, RULES, read=1000, done=900)
    await a_group(streams, MODEL, read=700, done=450)

    trimmed = await sweep(streams)

    left = [entry for entry, _ in streams.client.xrange(streams.stream)]
    assert 300 <= trimmed <= 450
    assert left == entries[trimmed:]
    assert await sweep(streams) == 0


async def test_the_janitor_keeps_the_oldest_pending_entry_of_a_group_that_has_read_on(streams: RedisStreams) -> None:
    entries = streams.add(500)
    await a_group(streams, RULES, read=500, done=500)
    await a_group(streams, MODEL, read=500, done=500)
    streams.client.xgroup_setid(streams.stream, MODEL, "0")
    consumer = streams.consumer("b", group=MODEL)
    await consumer.read(500, 1)
    await consumer.acknowledge(entries[1:])

    assert await sweep(streams) == 0


async def test_the_janitor_leaves_a_stream_alone_whose_group_is_missing(streams: RedisStreams) -> None:
    streams.add(500)
    await a_group(streams, RULES, read=500, done=500)

    assert await sweep(streams) == 0
    assert streams.client.xlen(streams.stream) == 500


async def test_a_group_that_nobody_listed_does_not_hold_the_janitor_up(streams: RedisStreams) -> None:
    streams.add(500)
    for group in (RULES, MODEL):
        await a_group(streams, group, read=500, done=500)
    await a_group(streams, "forgotten", read=0, done=0)

    assert await sweep(streams) > 300


async def test_consumers_that_were_killed_are_forgotten_once_they_hold_nothing(streams: RedisStreams) -> None:
    """
    Every start has a name of its own: a worker that crashes in a loop left a consumer behind each time, for ever.
    """
    streams.add(2)
    for name in ("alive", "holding", "gone"):
        consumer = streams.consumer(name)
        await consumer.open()
        streams.beat(name, (), life_s=30.0)
    await streams.consumer("holding").read(1, 1)
    await streams.consumer("gone").read(1, 1)
    for name in ("holding", "gone"):
        streams.client.zincrby("heartbeat:fraud-check", -120_000, name)
    (taken,) = [entry for entry, (owner, _) in streams.pending().items() if owner == "gone"]
    streams.client.xclaim(streams.stream, RULES, "alive", 0, [taken])

    await sweep(streams)

    assert streams.consumers() == {"alive", "holding"}
    assert set(streams.client.zrange("heartbeat:fraud-check", 0, -1)) == {b"alive", b"holding"}


async def test_consumers_whose_heartbeat_was_lost_are_forgotten_too_and_what_is_parked_stays(streams: RedisStreams) -> None:
    streams.add(3)
    await a_group(streams, RULES, read=1, done=1)
    client, heartbeat = streams.client, streams.keys.heartbeat(RULES, streams.stream)
    for name in ("never-beat", "__retry__"):
        client.xgroup_createconsumer(streams.stream, RULES, name)
    client.delete(heartbeat)  # a failover lost them

    await sweep(streams)
    noticed = streams.consumers()
    for name, _ in client.zrange(heartbeat, 0, -1, withscores=True):
        client.zadd(heartbeat, {name: 1})  # a minute and more goes by
    await sweep(streams)

    assert noticed >= {"never-beat"}, "nobody is forgotten at first sight: it may be about to beat"
    assert [one["name"] for one in client.xinfo_consumers(streams.stream, RULES)] == [b"__retry__"]


async def test_heartbeats_of_a_group_that_is_gone_do_not_stop_the_janitor(streams: RedisStreams) -> None:
    streams.client.zadd("heartbeat:fraud-check", {"old": 1})

    assert await sweep(streams) == 0

    assert streams.client.zcard("heartbeat:fraud-check") == 0


async def test_an_empty_server_has_nothing_to_sweep(streams: RedisStreams) -> None:
    assert await sweep(streams) == 0


async def test_bodies_are_appended_in_order_and_come_back_as_ids(streams: RedisStreams) -> None:
    async with connected(streams.address) as client:
        intake = RedisIntake(client, stream=streams.stream, limits=AdmissionLimits())

        entries = await intake.append([b"one", b"two", b"\x00\xff"])

    assert streams.client.xrange(streams.stream) == [
        (entry, {b"data": body}) for entry, body in zip(entries, (b"one", b"two", b"\x00\xff"), strict=True)
    ]


async def test_who_waits_for_the_stream_gets_a_batch_whole_and_not_in_pieces(streams: RedisStreams) -> None:
    waiting = streams.consumer("waiting", group=RULES)
    await waiting.open()
    async with connected(streams.address) as client:
        intake = RedisIntake(client, stream=streams.stream, limits=AdmissionLimits())
        await intake.admit()

        reading = asyncio.create_task(waiting.read(1_000, 10_000))
        await asyncio.sleep(0.1)
        entries = await intake.append([b"x" * 700] * 300)

    assert [delivery.entry_id for delivery in await reading] == entries


async def test_an_append_that_redis_refuses_is_an_error_and_appends_nothing(streams: RedisStreams) -> None:
    async with connected(streams.address) as client:
        intake = RedisIntake(client, stream=streams.stream, limits=AdmissionLimits(memory_ratio=float("inf")))
        await intake.append([b"before"])
        streams.client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StreamUnavailable, match="maxmemory"):
                await intake.append([b"one", b"two"])
        finally:
            streams.client.config_set("maxmemory", 0)
        assert streams.client.xlen(streams.stream) == 1
        streams.client.delete(streams.stream)
        streams.client.set(streams.stream, "no stream")

        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await intake.append([b"one", b"two"])


async def test_nothing_is_admitted_over_the_memory_limit(streams: RedisStreams) -> None:
    used = streams.client.info("memory")["used_memory"]
    streams.client.config_set("maxmemory", int(used * 1.1))
    try:
        async with connected(streams.address) as client:
            intake = RedisIntake(client, stream=streams.stream, limits=AdmissionLimits())

            with pytest.raises(AdmissionRefused, match="of maxmemory, over the limit of 80%"):
                await intake.append([b"one"])
    finally:
        streams.client.config_set("maxmemory", 0)
    assert streams.client.xlen(streams.stream) == 0


async def test_whoever_starts_while_redis_is_full_joins_what_is_there(streams: RedisStreams) -> None:
    await streams.consumer("before", group=RULES).open()
    added = streams.add(3)
    streams.client.config_set("maxmemory", 1)
    try:
        newcomer = streams.consumer("newcomer", group=RULES)
        await newcomer.open()
        taken = await newcomer.read(10, 1)

        with pytest.raises(StreamUnavailable):
            await streams.consumer("stranger", group=MODEL).open()
    finally:
        streams.client.config_set("maxmemory", 0)
    assert [delivery.entry_id for delivery in taken] == added


async def test_nothing_is_admitted_over_the_lag_limit_and_again_below_it(streams: RedisStreams) -> None:
    streams.add(20)
    await a_group(streams, RULES, read=20, done=20)
    await a_group(streams, MODEL, read=5, done=5)

    async with connected(streams.address) as client:
        refusing = RedisIntake(client, stream=streams.stream, limits=AdmissionLimits(lag_entries=14))
        with pytest.raises(AdmissionRefused, match="15 entries of transactions:raw wait for the slower group"):
            await refusing.append([b"one"])

        await a_group(streams, MODEL, read=10, done=10)
        admitting = RedisIntake(client, stream=streams.stream, limits=AdmissionLimits(lag_entries=14))
        await admitting.append([b"one"])

    assert streams.client.xlen(streams.stream) == 21


async def test_an_intake_whose_server_is_away_says_so(own_valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=own_valkey.url)) as client:
        intake = RedisIntake(client, stream="transactions:raw", limits=AdmissionLimits())
        await intake.append([b"one"])
        own_valkey.kill()

        with pytest.raises(StreamUnavailable):
            await intake.append([b"two"])


async def test_the_lag_is_that_of_the_slowest_group(streams: RedisStreams) -> None:
    assert await lag(streams) == 0
    streams.add(10)
    assert await lag(streams) == 10
    await a_group(streams, RULES, read=10, done=0)
    await a_group(streams, MODEL, read=3, done=0)
    assert await lag(streams) == 7


async def test_a_lag_that_the_server_cannot_tell_is_counted(streams: RedisStreams) -> None:
    """
    After an entry was deleted ahead of a group the server answers null. Taken as nothing it would admit without bound; taken as
    the whole stream it refuses because of entries that were read long ago.
    """
    entries = streams.add(50)
    await a_group(streams, RULES, read=50, done=50)
    await a_group(streams, MODEL, read=44, done=44)
    streams.trim(entries[47])
    about = {one["name"]: one for one in streams.client.xinfo_groups(streams.stream)}
    assert about[MODEL.encode()]["lag"] is None

    assert await lag(streams) == 5


def test_a_lag_that_is_wrong_for_good_after_a_restart_is_corrected() -> None:
    """
    Measured on Redis 7.0.15 after a kill and a reload from the append-only file: everything read, and a lag of thousands.
    """
    head = {"length": 120, "last-generated-id": b"9-0"}

    assert group_lag({"last-delivered-id": b"9-0", "lag": 14_696}, head) == 0
    assert group_lag({"last-delivered-id": b"8-0", "lag": 14_696}, head) == 120
    assert group_lag({"last-delivered-id": b"8-0", "lag": 7}, head) == 7
    assert group_lag({"last-delivered-id": b"8-0", "lag": None}, head) == 120


async def refusal(server: LocalValkey, **changes: bool) -> str:
    async with connected(RedisAddress(url=server.url)) as client:
        with pytest.raises(UnsuitableServer) as refused:
            await check_server(client, **{"allow_no_persistence": False, "clustered": False, **changes})
    return str(refused.value)


async def test_a_server_as_we_need_it_is_accepted_with_its_name(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url)) as client:
        assert (await check_server(client, allow_no_persistence=False, clustered=False)).startswith(("valkey 9.", "redis 7."))


@pytest.mark.parametrize("policy", ["volatile-lru", "allkeys-lru", "volatile-ttl"])
async def test_a_server_that_may_evict_is_refused_in_words(own_valkey: LocalValkey, policy: str) -> None:
    with BlockingRedis.from_url(own_valkey.url) as client:
        client.config_set("maxmemory-policy", policy)

    text = await refusal(own_valkey)

    assert f"maxmemory-policy is {policy}" in text
    assert "set it to noeviction" in text


async def test_a_server_without_the_append_only_file_is_refused_unless_allowed(own_valkey: LocalValkey) -> None:
    with BlockingRedis.from_url(own_valkey.url) as client:
        client.config_set("appendonly", "no")

    text = await refusal(own_valkey)

    assert "appendonly yes" in text
    async with connected(RedisAddress(url=own_valkey.url)) as client:
        assert await check_server(client, allow_no_persistence=True, clustered=False)


async def test_every_problem_is_named_at_once(own_valkey: LocalValkey) -> None:
    with BlockingRedis.from_url(own_valkey.url) as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-random")

    assert (await refusal(own_valkey)).count("\n  - ") == 2


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ("redis_version:6.2.14", "version 6.2.14 is too old; use 7.0 or newer"),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.0.1", "version 7.0.1 is too old; use 7.2 or newer"),
        ("redis_version:7.0.15\r\nredis_mode:cluster", "the server is one of a cluster"),
    ],
)
async def test_old_and_clustered_servers_are_refused_in_words(facts: str, problem: str) -> None:
    class Telling:
        def __init__(self) -> None:
            self.response_callbacks: dict[str, object] = {}

        async def execute_command(self, *_: str) -> bytes:
            return f"{facts}\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\n".encode()

    with pytest.raises(UnsuitableServer) as refused:
        await check_server(Telling(), allow_no_persistence=False, clustered=False)  # type: ignore[arg-type]

    assert problem in str(refused.value)


@pytest.mark.parametrize("address", ["redis://:wrong@127.0.0.1:{}/0", "redis://127.0.0.1:{}/0"])
async def test_a_server_that_refuses_our_password_stops_the_start_in_words(address: str) -> None:
    with LocalValkey(arguments=["--requirepass", "secret"]) as server:
        async with connected(RedisAddress(url=address.format(server.port))) as client:
            with pytest.raises(UnsuitableServer, match="REDIS_URL"):
                await check_server(client, allow_no_persistence=False, clustered=False)
