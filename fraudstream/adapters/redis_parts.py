"""
Rules, lists and models as they stand in Redis, key by key: read out whole, and put into another server in one step.

What is in force is read together with the end of the history; what both name never changes, so a fleet may go on.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import IO, Any

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import (
    LISTS_ACTIVE,
    LISTS_LOG,
    MODELS_ACTIVE,
    MODELS_LOG,
    RULES_ACTIVE,
    RULES_EXPECTED,
    RULES_LOG,
    lists_key,
    model_note,
    rules_body,
)
from fraudstream.adapters.redis_scripts import Argument, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import DamagedArchive, StreamUnavailable

#: What can be read and put back, with the pointer and the history of each.
PARTS = {"rules": (RULES_ACTIVE, RULES_LOG), "lists": (LISTS_ACTIVE, LISTS_LOG), "models": (MODELS_ACTIVE, MODELS_LOG)}
#: Fields or entries of one read; a field may be a chunk of half a megabyte.
_PAGE = 500
#: Bytes of one write, and the life of what a broken restore leaves behind, in seconds.
_WRITE_BYTES, _STAGED_LIFE_S = 1 << 20, 86_400
_LENGTH_BYTES = 4


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """
    A page of one key: fields and values of a hash by turns, or those of one stream entry, whose id then is ``entry``.
    """

    key: bytes
    values: list[bytes]
    entry: bytes = b""


def written(piece: Piece) -> bytes:
    """
    Return a piece as it stands in a file: its length (32 bits, big endian), then MessagePack.
    """
    body = msgspec.msgpack.encode(piece)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def pieces(file: IO[bytes]) -> Iterator[Piece]:
    """
    Yield the pieces of a file.

    Raises:
        DamagedArchive: It does not hold what ``written`` writes.
    """
    decoder = msgspec.msgpack.Decoder(Piece)
    while head := file.read(_LENGTH_BYTES):
        body = file.read(int.from_bytes(head, "big"))
        try:
            yield decoder.decode(body)
        except msgspec.MsgspecError as exc:
            raise DamagedArchive(f"a file of keys cannot be read: {exc}") from exc


class RedisPart:
    """
    One of ``PARTS`` on one server. Every method raises ``StreamUnavailable`` when Redis does not answer.
    """

    def __init__(self, client: Redis, part: str) -> None:
        self._client = plain(client)
        self._part = part
        self._active, self._log = PARTS[part]

    async def present(self) -> list[str]:
        """
        Return which of pointer and history are there already.
        """
        replies = await self._run(("EXISTS", self._active), ("EXISTS", self._log))
        return [key for key, there in zip((self._active, self._log), replies, strict=True) if there]

    async def read(self) -> AsyncIterator[Piece]:
        """
        Yield everything: the pointer, the history up to the same moment, then whatever they name.
        """
        *_, (flat, last) = await self._run(
            ("MULTI",), ("HGETALL", self._active), ("XREVRANGE", self._log, "+", "-", "COUNT", 1), ("EXEC",)
        )
        if flat:
            yield Piece(key=self._active.encode(), values=flat)
        names = set[str]()
        if last:
            async for piece in self._history(last[0][0]):
                fields = dict(zip(piece.values[::2], piece.values[1::2], strict=True))
                names |= {
                    fields[name].decode() for name in (b"rule_set", b"champion", b"version", b"canary") if fields.get(name)
                }
                names |= {f"list {fields[b'list'].decode()}"} if b"list" in fields else set()
                yield piece
        for key in await self._named(names):
            async for piece in self._hash(key):
                yield piece

    async def _history(self, last: bytes) -> AsyncIterator[Piece]:
        begin: Argument = "-"
        while True:
            (page,) = await self._run(("XRANGE", self._log, begin, last, "COUNT", _PAGE))
            for entry, flat in page:
                yield Piece(key=self._log.encode(), entry=entry, values=flat)
            if len(page) < _PAGE:
                return
            begin = b"(" + page[-1][0]

    async def _named(self, names: Iterable[str]) -> list[str]:
        """
        Return the keys of what the history names.
        """
        match self._part:
            case "rules":
                return [*map(rules_body, sorted(names)), RULES_EXPECTED]
            case "models":
                return [*map(model_note, sorted(names))]
            case _:
                lists = sorted(name.removeprefix("list ") for name in names if name.startswith("list "))
                versions = await self._with_parents({name for name in names if not name.startswith("list ")})
                hits = [lists_key(kind, name) for name in lists for kind in ("hits", "last")]
                return [*(lists_key("body", version) for version in versions), *hits]

    async def _with_parents(self, versions: set[str]) -> list[str]:
        """
        Return versions, and those that they say what is different from.
        """
        found, left = set[str](), set(versions)
        while left:
            found |= left
            parents = await self._run(*(("HGET", lists_key("body", one), "parent") for one in sorted(left)))
            left = {one.decode() for one in parents if one} - found
        return sorted(found)

    async def _hash(self, key: str) -> AsyncIterator[Piece]:
        """
        Yield a hash some fields at a time: one by one where they are the chunks of a body.
        """
        if ":body:" in key:
            (fields,) = await self._run(("HKEYS", key))
            for field in fields:
                (value,) = await self._run(("HGET", key, field))
                yield Piece(key=key.encode(), values=[field, value])
            return
        cursor: Argument = "0"
        while True:
            ((cursor, flat),) = await self._run(("HSCAN", key, cursor, "COUNT", _PAGE))
            if flat:
                yield Piece(key=key.encode(), values=flat)
            if cursor == b"0":
                return

    async def replace(self, found: Iterable[Piece]) -> int:
        """
        Put the pieces in place of what is there, all of them in one step at the end; return how many keys.

        What never changes (bodies, notes) stays where it is there already. A pointer that was there before counts on, so that
        nobody who saw the old one takes the new one for it.
        """
        staged: dict[bytes, None] = {}
        batch: list[Sequence[Argument]] = []
        size = 0
        for piece in found:
            if not piece.key.startswith(f"{self._part}:".encode()):
                raise DamagedArchive(f"{piece.key!r} is no key of the {self._part}")
            if piece.key not in staged:
                batch.append(("DEL", _staged(piece.key)))
                staged[piece.key] = None
            batch += _writes(piece)
            size += sum(map(len, piece.values))
            if size >= _WRITE_BYTES or len(batch) >= _PAGE:
                await self._run(*batch)
                batch, size = [], 0
        if batch:
            await self._run(*batch)
        await self._put(list(staged))
        return len(staged)

    async def _put(self, keys: Sequence[bytes]) -> None:
        fixed = [key for key in keys if b":body:" in key or b":note:" in key]
        moved = [key for key in keys if key not in set(fixed)]
        there = await self._run(*(("EXISTS", key) for key in fixed)) if fixed else []
        fixed = [key for key, exists in zip(fixed, there, strict=True) if not exists]
        await self._count_on()
        gone = [key for key in (self._active.encode(), self._log.encode()) if key not in set(moved)]
        steps: list[Sequence[Argument]] = [("MULTI",)]
        for key in [*fixed, *moved]:
            steps += [("RENAME", _staged(key), key), ("PERSIST", key)]
        steps += [("UNLINK", key) for key in gone]
        *_, done = await self._run(*steps, ("EXEC",))
        failed = [one for one in done if isinstance(one, Exception)]
        if failed:
            raise StreamUnavailable(f"the {self._part} could not be put in place: {failed[0]}; restore again")

    async def _count_on(self) -> None:
        staged = _staged(self._active.encode())
        before, after = await self._run(("HGET", self._active, "seq"), ("HGET", staged, "seq"))
        if before is not None and after is not None and int(before) >= int(after):
            await self._run(("HSET", staged, "seq", int(before) + 1))

    async def _run(self, *commands: Sequence[Argument]) -> list[Any]:
        with translated(self._part):
            return await run(self._client, commands)


def _writes(piece: Piece) -> Iterator[Sequence[Argument]]:
    key = _staged(piece.key)
    yield ("XADD", key, piece.entry, *piece.values) if piece.entry else ("HSET", key, *piece.values)
    yield ("EXPIRE", key, _STAGED_LIFE_S)


def _staged(key: bytes) -> bytes:
    """
    Return where a key waits for its turn: the same slot.
    """
    return key + b":restoring"
