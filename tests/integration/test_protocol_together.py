"""
Commands of several tasks in one round trip.
"""

import asyncio

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_scripts import TRIM, Call
from fraudstream.adapters.redis_stream import plain
from fraudstream.adapters.redis_together import Together
from fraudstream.local import LocalValkey


async def statistics(client: Redis, name: str) -> int:
    lines = (await client.execute_command("INFO", "stats")).decode().splitlines()
    return int(next(line.partition(":")[2] for line in lines if line.startswith(f"{name}:")))


async def test_what_is_asked_for_at_once_is_read_by_the_server_at_once_and_everybody_gets_the_own_reply(
    valkey: LocalValkey,
) -> None:
    async with connected(RedisAddress(url=valkey.url)) as client:
        together = Together(plain(client))
        before = await statistics(client, "total_reads_processed")

        replies = await asyncio.gather(*(together.ask(("ECHO", f"word {number}")) for number in range(100)))
        reads = await statistics(client, "total_reads_processed") - before

    assert replies == [b"word %d" % number for number in range(100)]
    assert reads < 10, "one for the hundred, one for the question how many"


async def test_what_is_asked_for_meanwhile_is_answered_too(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url)) as client:
        together = Together(plain(client))

        async def in_turn(name: str) -> list[bytes]:
            return [await together.ask(("INCR", name)) for _ in range(20)]

        counts = await asyncio.gather(*(in_turn(name) for name in "abc"))

    assert counts == [list(range(1, 21))] * 3


async def test_a_refusal_is_for_who_asked_and_a_script_that_the_server_does_not_know_is_loaded(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url)) as client:
        together = Together(plain(client))
        await client.execute_command("SCRIPT", "FLUSH")
        asked = [("INCR", "count"), Call(TRIM, ("nothing",), ("group",)), ("XADD", "count", "*", "a", "b"), ("INCR", "count")]

        replies = await asyncio.gather(*map(together.ask, asked), return_exceptions=True)

    assert [replies[0], replies[1], replies[3]] == [1, -1, 2], "and none of the others was sent a second time"
    assert isinstance(replies[2], ResponseError)


async def test_a_server_that_is_away_is_told_to_everybody_and_found_again(own_valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=own_valkey.url)) as client:
        together = Together(plain(client))
        own_valkey.stop()

        ends = await asyncio.gather(*(together.ask(("PING",)) for _ in range(3)), return_exceptions=True)
        own_valkey.start()

        assert all(isinstance(end, RedisConnectionError) for end in ends)
        assert await together.ask(("PING",)) == b"PONG"


async def test_who_gives_up_waiting_takes_nobody_along(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url)) as client:
        together = Together(plain(client))
        hasty, patient = (asyncio.create_task(together.ask(("ECHO", name))) for name in ("hasty", "patient"))
        await asyncio.sleep(0)

        hasty.cancel()

        assert await patient == b"patient"
        assert hasty.cancelled()
