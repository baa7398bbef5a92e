"""
One stream as one consumer of one group sees it, on Redis Streams.
"""

import itertools
import os
import socket
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from fraudstream.adapters.redis_client import RedisAddress, is_no_group, translated
from fraudstream.adapters.redis_keys import DLQ, SHARED_TAG, Keys
from fraudstream.adapters.redis_scripts import (
    ACCUSE,
    CLAIM,
    DEAD,
    DUE,
    HAND_BACK,
    LATER,
    LEAVE,
    RENEW,
    TOMBSTONE,
    Argument,
    Call,
    run,
    run_blocking,
)
from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.ports import DOUBTS, TRIED_ALONE, Accused, Delivery, Letter
from fraudstream.stages.intake import entry_order

#: What a dead letter says of itself; an entry's own field of the same name is kept as ``entry.<name>``.
_LETTER_NAMES = frozenset((b"source", b"entry_id", b"group", b"consumer", b"deliveries", b"reason", b"error", b"left_out"))
#: Most fields of an entry that its letter keeps: a script can pass on some 8000 words.
_LETTER_FIELDS = 1000
_ACCUSED = {b"C": Accused.COUNTED, b"N": Accused.NOT_COUNTED, b"O": Accused.OTHERS_FIRST, b"G": Accused.GONE}
#: What tells the consumers that step in from the workers of a group; no readable part of a name can hold a plus sign.
STEPPING_IN = "+step-in"
#: Entries that have lain in hand for this part of the heartbeat's life are renewed by the next beat: most never are.
_RENEWED_FROM = 6
#: Most entries that one sweep for stranded ones looks at, beside those in hand.
_SWEEP_ENTRIES = 1000


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """
    The times of a consumer, in seconds: see ``Settings``.
    """

    heartbeat_life_s: float = 10.0
    claim_idle_s: float = 15.0
    hard_idle_s: float = 300.0
    dead_marker_s: float = 3600.0


def consumer_name(readable: str = "", *, stepping_in: bool = False) -> str:
    """
    Return a name that no other process has or will have: a readable part and the identity of this start.

    One that steps in says so in its name: it beats like a worker of the group, and is none.
    """
    mark = STEPPING_IN if stepping_in else ""
    return f"{readable or f'{socket.gethostname()}:{os.getpid()}'}{mark}:{uuid.uuid4().hex[:12]}"


def plain(client: Redis) -> Redis:
    """
    Let a client return replies as they are on the wire: the adapters read them faster, and the same in every version.
    """
    client.response_callbacks.clear()
    return client


class RedisTransactionStream:
    """
    ``TransactionStream`` over XREADGROUP and the scripts of the protocol.
    """

    def __init__(
        self,
        reader: Redis,
        commands: Redis,
        *,
        stream: str,
        group: str,
        consumer: str,
        keys: Keys,
        options: StreamOptions,
    ) -> None:
        self._reader = plain(reader)
        self._commands = plain(commands)
        self.name = stream
        self.group = group
        self.consumer = consumer
        self._options = options
        self._cursor: bytes = b"-"
        self._heartbeat = keys.heartbeat(group, stream)
        self._retry = keys.retry(group, stream)
        self._doubts = keys.doubts(group, stream)
        self._keys = keys
        self._dlq = keys.stream(DLQ)

    async def open(self) -> None:
        """
        Create the group at the very first entry if it is not there, and the stream with it.
        """
        with translated("XGROUP CREATE"):
            try:
                await self._commands.execute_command("XGROUP", "CREATE", self.name, self.group, "0", "MKSTREAM")
            except OutOfMemoryError:
                # A full Redis refuses this before it looks whether there is anything to make.
                if not await self._is_there():
                    raise
            except ResponseError as exc:
                if not str(exc).startswith("BUSYGROUP"):
                    raise
        self._cursor = b"-"

    async def _is_there(self) -> bool:
        try:
            groups = await self._commands.execute_command("XINFO", "GROUPS", self.name)
        except ResponseError:  # no such stream
            return False
        return any(name.decode() == self.group for _, name, *_ in groups)

    async def read(self, count: int, block_ms: int) -> list[Delivery]:
        """
        Return new entries; see the port.
        """
        words = ("XREADGROUP", "GROUP", self.group, self.consumer, "COUNT", max(1, count), "BLOCK", block_ms)
        reply = await self._ask(self._reader, (*words, "STREAMS", self.name, ">"))
        return [_delivery(entry[0], entry[1], 1) for entry in reply[0][1]] if reply else []

    async def stranded(self, in_hand: Collection[bytes], idle_ms: int) -> list[Delivery]:
        """
        Return entries that are ours by the books and that we do not hold; see the port.
        """
        held = set(in_hand)
        pending = await self._ask(
            self._commands,
            ("XPENDING", self.name, self.group, "IDLE", idle_ms, "-", "+", len(held) + _SWEEP_ENTRIES, self.consumer),
        )
        lost = [(entry[0], entry[3]) for entry in pending if entry[0] not in held]
        with translated("XRANGE"):
            bodies = await run(self._commands, [("XRANGE", self.name, one, one) for one, _ in lost]) if lost else []
        return [
            _delivery(entry_id, body[0][1] if body else None, deliveries)
            for (entry_id, deliveries), body in zip(lost, bodies, strict=True)
        ]

    async def due(self, count: int) -> list[Delivery]:
        """
        Take entries whose delay is over; see the port.
        """
        reply = await self._call(DUE, (self.name, self._retry), (self.group, self.consumer, count, TRIED_ALONE))
        return [_delivery(entry_id, fields, deliveries) for entry_id, deliveries, fields in reply]

    async def claim(self, count: int) -> list[Delivery]:
        """
        Take entries of consumers that are gone; see the port.
        """
        options = self._options
        times = (int(options.claim_idle_s * 1000), int(options.hard_idle_s * 1000))
        last, entries = await self._call(
            CLAIM,
            (self.name, self._heartbeat, self._retry),
            (self.group, self.consumer, *times, min(count, 100), self._cursor, TRIED_ALONE),
        )
        self._cursor = b"(" + last if last else b"-"
        return [_delivery(entry_id, fields, deliveries) for entry_id, deliveries, fields in entries]

    async def later(self, entry_id: bytes, delay_s: float, *, failed: int = 0) -> bool:
        """
        Give an entry back for a while; see the port.
        """
        words = (self.group, self.consumer, entry_id, int(delay_s * 1000), failed, TRIED_ALONE)
        return bool(await self._call(LATER, (self.name, self._retry), words) == b"R")

    async def accuse(self, entry_id: bytes, deliveries: int, *, proven: bool, alone: bool) -> Accused:
        """
        Count a try alone before it begins; see the port.
        """
        return await self._accuse(entry_id, deliveries, ("1" if proven else "0") if alone else "D")

    async def acquit(self, entry_id: bytes, deliveries: int) -> None:
        """
        Take that back; see the port.
        """
        await self._accuse(entry_id, deliveries, "B")

    async def _accuse(self, entry_id: bytes, deliveries: int, against: str) -> Accused:
        weight = (TRIED_ALONE, DOUBTS, int(self._options.dead_marker_s))
        words = (self.group, self.consumer, entry_id, deliveries, against, *weight)
        return _ACCUSED[await self._call(ACCUSE, (self.name, self._doubts), words)]

    async def bury(self, letter: Letter) -> bool:
        """
        Write a dead letter once; see the port.
        """
        part = letter.part or letter.entry_id.decode()
        words: list[Argument] = [self.group, self.consumer, letter.entry_id, int(self._options.dead_marker_s * 1000)]
        words += ["reason", letter.reason, "error", letter.error]
        for name, value in itertools.islice(letter.fields.items(), _LETTER_FIELDS):
            words += [b"entry." + name if name in _LETTER_NAMES else name, value]
        if len(letter.fields) > _LETTER_FIELDS:
            words += ["left_out", f"{len(letter.fields) - _LETTER_FIELDS} more fields"]
        return bool(await self._call(DEAD, (self.name, self._dlq, self._keys.dead(self.name, part)), words) == b"D")

    async def entomb(self, entry_id: bytes) -> bool:
        """
        Write the dead letter of a trimmed entry; see the port.
        """
        keys = (self.name, self._dlq, self._keys.dead(self.name, entry_id.decode()))
        words = (self.group, self.consumer, entry_id, int(self._options.dead_marker_s * 1000))
        written = bool(await self._call(TOMBSTONE, keys, words) == b"D")
        await self.acknowledge([entry_id])
        return written

    async def acknowledge(self, entry_ids: Sequence[bytes]) -> None:
        """
        XACK; see the port.
        """
        if entry_ids:
            await self._ask(self._commands, ("XACK", self.name, self.group, *entry_ids))

    async def hand_back(self, entry_ids: Sequence[bytes]) -> None:
        """
        Give back what was not worked; see the port.
        """
        if entry_ids:
            await self._call(HAND_BACK, (self.name,), (self.group, self.consumer, *entry_ids))

    async def leave(self) -> None:
        """
        Stop beating and forget this consumer if it holds nothing; see the port.
        """
        with translated("leave"):
            await run(
                self._commands,
                [
                    ("ZREM", self._heartbeat, self.consumer),
                    Call(LEAVE, (self.name, self._heartbeat), (self.group, self.consumer)),
                ],
            )

    async def _call(self, script: Any, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        return await self._guarded(lambda: run(self._commands, [Call(script, keys, args)]), first=True)

    async def _ask(self, client: Redis, words: Sequence[Argument]) -> Any:
        return await self._guarded(lambda: client.execute_command(*words), first=False)

    async def _guarded(self, call: Any, *, first: bool) -> Any:
        """
        Send; where the group is gone (a flush, a failover) make it again at the very first entry and let the caller come back.
        """
        try:
            with translated(self.name):
                reply = await call()
        except StreamUnavailable as exc:
            if exc.__cause__ is not None and is_no_group(exc.__cause__):
                await self.open()
            raise
        return reply[0] if first else reply


class RedisHeart:
    """
    ``Heart`` over a connection of its own.
    """

    def __init__(self, address: RedisAddress, stream: RedisTransactionStream, keys: Keys, options: StreamOptions) -> None:
        self._client = address.blocking(keys.tag or SHARED_TAG)
        self._keys = (stream.name, keys.heartbeat(stream.group, stream.name))
        life_ms = int(options.heartbeat_life_s * 1000)
        self._head = (stream.group, stream.consumer, life_ms, life_ms // _RENEWED_FROM)

    def beat(self, in_hand: Sequence[bytes]) -> list[bytes]:
        """
        Extend our life; see the port.
        """
        with translated("renew"):
            words: list[Argument] = [*self._head, *sorted(in_hand, key=entry_order)]
            return list(run_blocking(self._client, Call(RENEW, self._keys, words)))

    def close(self) -> None:
        """
        Close the connection.
        """
        self._client.close()


def _delivery(entry_id: bytes, fields: Sequence[bytes] | None, deliveries: int) -> Delivery:
    return Delivery(entry_id=entry_id, fields=_mapping(fields) if fields else None, deliveries=deliveries)


def _mapping(flat: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return {flat[0]: flat[1]} if len(flat) == 2 else dict(zip(flat[::2], flat[1::2], strict=True))
