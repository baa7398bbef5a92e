"""
Replies that are read where they arrive, on both event loops: whole, in order, and an error where there will be none.
"""

import ast
import asyncio
import hashlib
import inspect
import socket
import textwrap
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import uvloop
from packaging.requirements import Requirement
from redis._parsers.hiredis import _AsyncHiredisParser
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

from fraudstream.adapters.redis_arrivals import PromptConnection, Replies
from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_scripts import run
from fraudstream.local import LocalValkey

Loop = Callable[[], asyncio.AbstractEventLoop]
loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])

#: What ours does in the client's place, or relies on: the first digits of the SHA-256 of its code in redis-py 8.1.
INSIDES = {
    (Connection, "_connect"): "2a4a2ee4dd63",
    (Connection, "_connection_arguments"): "0ae5fb37b2de",
    (SSLConnection, "_connection_arguments"): "3cc59ebeabb2",
    (AbstractConnection, "send_packed_command"): "14c63f40c72d",
    (_AsyncHiredisParser, "on_connect"): "20c15efdcd2e",
    (_AsyncHiredisParser, "on_disconnect"): "57638634c126",
    (_AsyncHiredisParser, "can_read"): "e71c0d4ddf6d",
    (_AsyncHiredisParser, "read_from_socket"): "0ee487cb1a6d",
    (_AsyncHiredisParser, "read_response"): "e85bf9564c7d",
}


def fingerprint(owner: type, name: str) -> str:
    """
    Return the first digits of the SHA-256 of a method's code; comments, the docstring and the layout do not count.
    """
    method = getattr(owner, name, None)
    if method is None:
        return "there is none"
    (code,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    if ast.get_docstring(code):
        del code.body[0]
    return hashlib.sha256(ast.unparse(code).encode()).hexdigest()[:12]


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


@loops
def test_a_server_that_takes_nothing_is_waited_for_as_long_as_it_may_take_and_no_longer(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = PromptConnection(host="127.0.0.1", port=listening.getsockname()[1], socket_timeout=0.2)

        async def much() -> None:
            for _ in range(1_000):
                await connection.send_packed_command(b"x" * 1_000_000, check_health=False)

        async def write() -> None:
            await connection._connect()
            deaf, _ = listening.accept()
            with deaf, pytest.raises(RedisTimeoutError):
                await much()

        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(write())
        assert not connection.is_connected, "half a command may be on its way"


@loops
def test_more_than_the_socket_holds_is_written_whole(valkey: LocalValkey, loop: Loop) -> None:
    value = bytes(range(256)) * 100_000

    async def write_and_read() -> list[object]:
        async with connected(RedisAddress(url=valkey.url)) as client:
            return await run(client, [["SET", "arrival:large", value], ["GET", "arrival:large"], ["DEL", "arrival:large"]])

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(write_and_read()) == [b"OK", value, 1]


async def test_a_connection_that_was_lost_while_it_was_at_hand_is_not_lent(own_valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=own_valkey.url)) as client:
        before = await asyncio.gather(*(run(client, [["CLIENT", "ID"]]) for _ in range(4)))
        own_valkey.stop()
        own_valkey.start()
        await asyncio.sleep(0.1)

        after = await asyncio.gather(*(run(client, [["ECHO", f"word {number}"]]) for number in range(20)))

    assert len({*map(tuple, before)}) == 4
    assert after == [[f"word {number}".encode()] for number in range(20)]


async def test_what_is_kept_at_hand_leaves_others_their_connections(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url), connections=8) as client:
        await asyncio.gather(*(run(client, [["PING"]]) for _ in range(50)))
        lent = [await client.connection_pool.get_connection() for _ in range(6)]
        again = await run(client, [["ECHO", "mine"]])
        for connection in lent:
            await client.connection_pool.release(connection)

    async with connected(RedisAddress(url=valkey.url), connections=1) as client:
        await run(client, [["PING"]])
        assert await client.execute_command("ECHO", "the only one") == b"the only one"

    assert again == [b"mine"]


async def test_a_loan_that_was_cut_off_leaves_no_reply_for_the_next(valkey: LocalValkey) -> None:
    async with connected(RedisAddress(url=valkey.url)) as client:
        await run(client, [["PING"]])
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(run(client, [["BLPOP", "arrival:nothing", "1"]]), 0.05)
            assert await run(client, [["ECHO", "mine"]]) == [b"mine"]


@pytest.mark.parametrize(("owner", "name"), INSIDES)
def test_a_step_that_another_version_of_the_client_takes_is_not_left_out_in_silence(owner: type, name: str) -> None:
    assert fingerprint(owner, name) == INSIDES[owner, name], (
        f"{owner.__name__}.{name} of redis-py {redis.__version__} is not what adapters/redis_arrivals.py was written for: what"
        " it does now to connect, to trust a server or to notice a lost one would be missing from every connection."
        " Compare the two, carry over what is new, and only then note the new fingerprint here."
    )


def test_no_version_of_the_client_is_installed_that_nobody_compared() -> None:
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    (client,) = [one for one in map(Requirement, declared["project"]["dependencies"]) if one.name == "redis"]

    assert redis.__version__ in client.specifier
    assert [version for version in ("8.0.1", "8.1.0", "8.1.9", "8.2.0", "9.0.0") if version in client.specifier] == [
        "8.1.0",
        "8.1.9",
    ]


@loops
def test_nothing_that_arrives_takes_the_clients_own_way(valkey: LocalValkey, loop: Loop) -> None:
    async def ask() -> tuple[object, object, object]:
        async with connected(RedisAddress(url=valkey.url), connections=1) as client:
            await run(client, [["ECHO", "x" * 100_000]])
            connection = await client.connection_pool.get_connection()
            try:
                parser = connection._parser
                return type(connection), type(parser._reader), parser._reader is connection._reader.replies
            finally:
                await client.connection_pool.release(connection)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(ask()) == (PromptConnection, Replies, True)
