"""
The Lua scripts, and how they are called: by hash, in one pipeline, loaded again when a restarted server has forgotten them.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis
import msgspec
import redis
from hiredis import pack_command
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import InvalidResponse, ResponseError

from fraudstream.adapters.redis_arrivals import Replies
from fraudstream.adapters.redis_client import is_no_script
from fraudstream.adapters.redis_lanes import borrowed

_FOLDER = Path(__file__).parent / "lua"

#: One argument on the wire.
Argument = bytes | str | int | float


class Script(msgspec.Struct, frozen=True):
    """
    One script: its text and the SHA-1 that the server knows it by.
    """

    text: str
    sha: str


class Call(msgspec.Struct, frozen=True):
    """
    One call of a script with its keys and arguments.
    """

    script: Script
    keys: Sequence[Argument]
    args: Sequence[Argument]

    def command(self) -> list[Argument]:
        """
        Return the words of the command.
        """
        return ["EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.args]


def _load(name: str) -> Script:
    text = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


TOUCH, COMPLETE, OVERDUE = _load("touch"), _load("complete"), _load("overdue")
CLAIM, LATER, DUE, RENEW, LEAVE, HAND_BACK = (_load(name) for name in ("claim", "later", "due", "renew", "leave", "hand_back"))
DEAD, TOMBSTONE, TRIM, UNREAD, ACCUSE = (_load(name) for name in ("dead", "tombstone", "trim", "unread", "accuse"))
ALERT_FOLD, ALERT_LOOK, ALERT_SETTLE, ALERT_DEFER, ALERT_DIGEST, ALERT_STORM, ALERT_MARK, ALERT_RESEND = (
    _load(f"alert_{name}") for name in ("fold", "look", "settle", "defer", "digest", "storm", "mark", "resend")
)
FORGET, LABELS_TOLD, CARRY = _load("forget"), _load("labels"), _load("carry")
BOUND, LEASE, OUTCOME = _load("bound"), _load("lease"), _load("outcome")
PUSH_MODEL, POINT_MODELS = _load("push_model"), _load("point_models")


async def run(client: Redis, commands: Sequence[Call | Sequence[Argument]]) -> list[Any]:
    """
    Send scripts and plain commands in one round trip and return their replies in order.

    Raises:
        redis.RedisError: The first error among the replies.
    """
    replies = await _send(client, commands)
    if not any(isinstance(reply, Exception) for reply in replies):
        return replies
    if any(is_no_script(reply) for reply in replies):
        await _load_into(client, commands)
        replies = await _send(client, commands)
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def run_each(client: Redis, commands: Sequence[Call | Sequence[Argument]]) -> list[Any]:
    """
    Send scripts and plain commands that have nothing to do with each other in one round trip; where one was refused, the error
    stands among the replies.

    Raises:
        redis.RedisError: The server did not answer.
    """
    replies = await _send(client, commands)
    unknown = [at for at, reply in enumerate(replies) if isinstance(reply, Exception) and is_no_script(reply)]
    if unknown:
        again = [commands[at] for at in unknown]
        await _load_into(client, again)
        for at, reply in zip(unknown, await _send(client, again), strict=True):
            replies[at] = reply
    return replies


async def _load_into(client: Redis, commands: Sequence[Call | Sequence[Argument]]) -> None:
    for text in {command.script.text for command in commands if isinstance(command, Call)}:
        await client.execute_command("SCRIPT", "LOAD", text)


async def _send(client: Redis, commands: Sequence[Call | Sequence[Argument]]) -> list[Any]:
    """
    Do what the client's own pipeline does, with the words packed by hiredis: that takes a fifth of the time over a batch.

    A connection that fails, or that we are cancelled on, closes itself, so no reply is left for whoever uses it next.
    """
    words = b"".join(map(_packed, commands))
    async with borrowed(client.connection_pool) as connection:
        await connection.send_packed_command(words, check_health=False)
        return await _replies(connection, len(commands))


async def _replies(connection: AbstractConnection, count: int) -> list[Any]:
    """
    Wait for each reply that is not there yet, and take those that came with it at once: the client sets a timer for every one.
    """
    replies = [await _reply(connection)] if count else []
    while len(replies) < count:
        try:
            replies += at_hand(connection, count - len(replies))
        except InvalidResponse:
            await connection.disconnect()
            raise
        if len(replies) < count:
            replies.append(await _reply(connection))
    return replies


def at_hand(connection: AbstractConnection, most: int) -> list[Any]:
    """
    Return whole replies that have been received already, at most so many.

    Raises:
        InvalidResponse: What was received is none.
    """
    # Not part of the client's interface: where it is built otherwise, every reply is waited for.
    reader = getattr(getattr(connection, "_parser", None), "_reader", None)
    if not isinstance(reader, (hiredis.Reader, Replies)):
        return []
    found: list[Any] = []
    while len(found) < most:
        reply = reader.gets(False)
        if reply is NOT_ENOUGH_DATA:
            break
        found.append(reply)
    return found


def _packed(command: Call | Sequence[Argument]) -> bytes:
    words = command.command() if isinstance(command, Call) else command
    packed: bytes = pack_command(tuple(words))  # type: ignore[arg-type]  # its stub says a tuple of one word
    return packed


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ResponseError as exc:
        return exc


def run_blocking(client: "redis.Redis", call: Call) -> Any:
    """
    Call one script from a thread.
    """
    try:
        return client.execute_command(*call.command())
    except redis.RedisError as exc:
        if not is_no_script(exc):
            raise
        client.execute_command("SCRIPT", "LOAD", call.script.text)
        return client.execute_command(*call.command())
