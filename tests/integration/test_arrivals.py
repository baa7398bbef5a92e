"""
Replies that are read where they arrive, on both event loops: whole, in order, and an error where there will be none.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_scripts import run
from fraudstream.local import LocalValkey

Loop = Callable[[], asyncio.AbstractEventLoop]
loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@contextmanager
def a_server_that_says(answer: bytes) -> Iterator[str]:
    """
    Lend the address of a server that greets as Redis does, answers PING with these bytes, and closes.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            talking, _ = listening.accept()
            with talking:
                while request := talking.recv(65536):
                    if b"PING" in request:
                        talking.sendall(answer)
                        return
                    talking.sendall(b"+OK\r\n" * request.count(b"*"))

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        thread.join()


@loops
def test_replies_of_many_pieces_come_whole_and_in_order(valkey: LocalValkey, loop: Loop) -> None:
    values = [bytes([number]) * (number * 7_001) for number in range(1, 60)]

    async def read() -> list[object]:
        async with connected(RedisAddress(url=valkey.url), connections=1) as client:
            for number, value in enumerate(values):
                await client.set(f"arrival:{number}", value)
            names = [f"arrival:{number}" for number in range(len(values))]
            return await run(
                client, [["ECHO", "a"], ["MGET", *names], ["GET", "arrival:none"], ["MGET", *names[::-1]], ["ECHO", "b"]]
            )

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(read()) == [b"a", values, None, values[::-1], b"b"]


@loops
def test_a_reply_that_breaks_off_is_a_lost_connection(loop: Loop) -> None:
    async def ask(url: str) -> None:
        async with connected(RedisAddress(url=url), connections=1) as client:
            await run(client, [["PING"]])

    with (
        a_server_that_says(b"$100\r\nhalf of") as url,
        asyncio.Runner(loop_factory=loop) as runner,
        pytest.raises(RedisConnectionError),
    ):
        runner.run(ask(url))


@loops
def test_what_is_no_reply_is_refused_where_it_is_waited_for(loop: Loop) -> None:
    async def ask(url: str) -> None:
        async with connected(RedisAddress(url=url), connections=1) as client:
            await run(client, [["PING"]])

    with (
        a_server_that_says(b"what is this\r\n") as url,
        asyncio.Runner(loop_factory=loop) as runner,
        pytest.raises(InvalidResponse),
    ):
        runner.run(ask(url))


@loops
def test_a_reply_that_nobody_waits_for_any_more_is_not_taken_for_the_next_one(valkey: LocalValkey, loop: Loop) -> None:
    async def cancel_and_ask() -> object:
        async with connected(RedisAddress(url=valkey.url), connections=1) as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(run(client, [["BLPOP", "arrival:nothing", "1"]]), 0.05)
            return await run(client, [["ECHO", "mine"]])

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(cancel_and_ask()) == [b"mine"]
