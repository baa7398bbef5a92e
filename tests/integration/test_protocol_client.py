"""
Connections with every setting pinned, the time of the server, and which errors pass by themselves.
"""

import asyncio
import random
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from fraudstream.adapters.redis_client import (
    SOCKET_TIMEOUT_S,
    RedisAddress,
    connected,
    is_no_group,
    is_no_script,
    is_passing,
    translated,
)
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import GROUPS, RAW, Keys
from fraudstream.adapters.redis_scripts import at_hand, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import InvalidSettings, StreamUnavailable
from fraudstream.local import LocalValkey


@pytest.mark.parametrize(
    "error",
    [
        *(RedisConnectionError("reset"), RedisTimeoutError("late"), ReadOnlyError("replica"), OutOfMemoryError("full")),
        *(NoScriptError("gone"), ConnectionResetError(), TimeoutError()),
        *(
            ResponseError(text)
            for text in (
                *("LOADING data", "BUSY a script runs", "UNBLOCKED the instance changed", "MISCONF disk", "NOREPLICAS few"),
                *("TRYAGAIN moving", "CLUSTERDOWN", "MASTERDOWN", "NOGROUP No such key", "NOSCRIPT No matching script"),
            )
        ),
    ],
)
def test_an_error_that_ends_by_itself_is_an_outage(error: Exception) -> None:
    assert is_passing(error)
    with pytest.raises(StreamUnavailable, match="what it was"), translated("what it was"):
        raise error


@pytest.mark.parametrize(
    "text", ["WRONGTYPE a key of another kind", "ERR unknown command", "NOPERM", "BUSYGROUP the group exists"]
)
def test_an_error_of_ours_stays_what_it_is(text: str) -> None:
    """
    Taken for an outage it would be tried for ever, and nobody would learn of it.
    """
    with pytest.raises(ResponseError), translated("what it was"):
        raise ResponseError(text)


def test_lost_groups_and_scripts_are_told_apart() -> None:
    assert is_no_group(ResponseError("NOGROUP No such key 'transactions:raw'"))
    assert is_no_script(NoScriptError("No matching script"))
    assert not is_no_group(ResponseError("ERR"))
    assert not is_no_script(ResponseError("NOGROUP"))


def test_nothing_is_left_to_the_defaults_of_the_client() -> None:
    """
    Its retries double writes and strand reads, and its defaults have changed twice.
    """
    options = RedisAddress(url="redis://127.0.0.1:1/0").options()

    assert (options["protocol"], options["decode_responses"], options["retry_on_error"]) == (2, False, [])
    assert options["socket_timeout"] == SOCKET_TIMEOUT_S
    assert options["socket_keepalive"] is True
    for client in (RedisAddress(url="redis://127.0.0.1:1/0").reader(), RedisAddress(url="redis://127.0.0.1:1/0").commands()):
        retry = client.connection_pool.connection_kwargs["retry"]
        assert retry.get_retries() == 0


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="ssl_ca_certs: no file"):
        RedisAddress(url="rediss://127.0.0.1:1/0", ca_file=str(tmp_path / "absent.pem")).options()


async def test_the_clock_follows_the_server(valkey: LocalValkey) -> None:
    clock = RedisClock()
    async with connected(RedisAddress(url=valkey.url)) as client:
        await clock.set(client)
        seconds, micros = await client.execute_command("TIME")

    server_ms = int(seconds) * 1000 + int(micros) // 1000
    assert abs(clock.now_ms() - server_ms) < 1000

    clock.observe(server_ms + 3_600_000)
    assert 3_599_000 < clock.now_ms() - server_ms < 3_601_000


def test_a_reply_that_took_its_time_does_not_put_the_clock_back() -> None:
    """
    A decision would be dated before it was made, by as much as the last reply was late: latencies looked better than they were.
    """
    here_s = 100.0
    clock = RedisClock(monotonic=lambda: here_s)
    clock.observe(1_000_000)
    for late_ms in (7, 3, 12):
        here_s += 0.5
        clock.observe(1_000_000 + (here_s - 100) * 1_000 - late_ms)
        assert clock.now_ms() == 1_000_000 + int((here_s - 100) * 1_000)


def test_a_server_that_has_another_time_is_followed_at_once_forwards_and_in_ten_seconds_backwards() -> None:
    here_s = 100.0
    clock = RedisClock(monotonic=lambda: here_s)
    clock.observe(1_000_000)
    clock.observe(1_500_000)
    assert clock.now_ms() == 1_500_000

    for _ in range(22):
        here_s += 0.5
        clock.observe(900_000)
    assert 900_000 <= clock.now_ms() <= 906_000


def test_every_name_of_a_partition_carries_its_tag() -> None:
    keys = Keys("{p03}")
    names = [
        *(keys.stream(stream) for stream in GROUPS),
        *(keys.txn("a"), keys.prefix("log"), keys.waiting("g"), keys.alert_of("a")),
        *(keys.heartbeat("fraud-check", keys.stream(RAW)), keys.retry("fraud-check", keys.stream(RAW))),
        keys.dead(keys.stream(RAW), "1-0"),
    ]

    assert all("{p03}" in name for name in names)
    assert len(set(names)) == len(names)


def test_a_group_on_another_stream_has_a_heartbeat_of_its_own() -> None:
    """
    A worker of a test stream must not look alive, or be retried, in the stream of production.
    """
    assert Keys().heartbeat("fraud-check", RAW) == "heartbeat:fraud-check"
    assert Keys().retry("fraud-check", "transactions:test") == "retry:fraud-check:transactions:test"
    assert Keys().dead(RAW, "1-0") == "dead:transactions:raw:1-0"


async def test_a_call_that_was_cancelled_leaves_no_reply_for_the_next_one(valkey: LocalValkey) -> None:
    """
    Two callers then read each other's replies, for as long as the connection lives.
    """
    rng = random.Random(3)
    async with connected(RedisAddress(url=valkey.url), connections=1) as client:
        plain(client)
        for number in range(200):
            batch: list[tuple[str, str]] = [("ECHO", f"{number}-{place}" * 200) for place in range(50)]
            task = asyncio.create_task(run(client, batch))
            for _ in range(rng.randrange(1, 12)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

            assert await run(client, [("ECHO", str(number))]) == [str(number).encode()]


async def test_an_error_among_the_replies_leaves_the_others_in_their_place(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url), connections=1) as client:
        plain(client)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await run(client, [("SET", "text", "x"), ("LPUSH", "text", "y"), ("SET", "after", "z")])

        assert await run(client, [("GET", "after"), ("GET", "text"), ("GET", "absent")]) == [b"z", b"x", None]


async def test_callers_wait_for_a_free_connection(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url), connections=2) as client:
        plain(client)

        replies = await asyncio.gather(*(run(client, [("ECHO", str(number))]) for number in range(100)))

    assert replies == [[str(number).encode()] for number in range(100)]


async def test_replies_of_any_length_come_in_the_order_of_their_commands_and_one_connection_serves_on(
    valkey: LocalValkey,
) -> None:
    lengths = [0, 1, 70_000, 3, 200_000, *range(300)]
    async with connected(RedisAddress(url=valkey.url), connections=1) as client:
        plain(client)
        for _ in range(3):
            replies = await run(client, [("ECHO", b"%d" % at + b"x" * length) for at, length in enumerate(lengths)])

            assert replies == [b"%d" % at + b"x" * length for at, length in enumerate(lengths)]


async def test_replies_that_came_together_are_taken_at_once_from_the_client_that_is_installed(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url), connections=1) as client:
        connection = await client.connection_pool.get_connection()
        try:
            connection._parser._reader.feed(b"+one\r\n:2\r\n$5\r\nth")  # as if it had been received
            found = [at_hand(connection, 1), at_hand(connection, 9), at_hand(connection, 9)]
        finally:
            await connection.disconnect()
            await client.connection_pool.release(connection)

    assert found == [[b"one"], [2], []]


async def test_nothing_asked_is_nothing_waited_for(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url)) as client:
        assert await run(plain(client), []) == []
