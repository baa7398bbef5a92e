"""
Lists in Redis: bodies that never change, a pointer per list to the one in force, the history of both, and counts of hits.

A body is kept and read in chunks, so that no command keeps Redis from the payments for longer than a part of a millisecond.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import redis
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import LISTS_ACTIVE, LISTS_LOG, lists_key
from fraudstream.adapters.redis_scripts import Argument, Call, Script, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import InvalidRule, RuleSetRefused
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.lists import version_of

_T = TypeVar("_T")


def _script(name: str) -> Script:
    text = (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_KEEP, _ACTIVATE = _script("keep_list"), _script("activate_list")
#: Bytes of one chunk: a command on one takes Redis about a tenth of a millisecond.
CHUNK_BYTES = 512 * 1024
#: Bytes that a thread takes from its connection at once.
_READ_BYTES = 1024 * 1024
#: Life of an upload that nobody finishes, in seconds.
_UPLOAD_LIFE_S = 3600
#: Entries of one read of the history.
_PAGE = 500
_META = ("kind", "sha", "bytes", "entries", "parent", "depth", "author", "at_ms")


class ListPointer(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which version of a list is in force; an empty one means the file of each worker. ``seq`` counts the changes of this list.
    """

    seq: int = 0
    version: str = ""
    kind: str = ""
    actor: str = ""
    reason: str = ""
    entries: int = 0
    at_ms: int = 0


class ListMove(msgspec.Struct, frozen=True, kw_only=True):
    """
    A change of a list: ``kind`` is add, remove, import, rollback or drop; ``entries`` are those of the list behind it.
    """

    kind: str
    actor: str
    reason: str
    entries: int
    added: int = 0
    removed: int = 0


class ListChange(ListMove, frozen=True, kw_only=True):
    """
    One line of the history.
    """

    at_ms: int
    list: str
    seq: int
    version: str


class ListDelta(msgspec.Struct, frozen=True, kw_only=True):
    """
    A body that says what is different from another one, ``parent``.
    """

    parent: str
    added: list[ListEntry] = []
    removed: list[str] = []


class StoredBody(msgspec.Struct, frozen=True, kw_only=True):
    """
    A body as it is kept. ``kind`` is ``full`` (packed entries), ``delta`` (JSON of a ``ListDelta``) or ``rates`` (text).

    ``depth`` counts the deltas down to the full body; ``entries`` are those of the list that comes of it.
    """

    kind: str
    payload: bytes
    entries: int
    parent: str = ""
    depth: int = 0
    author: str = ""
    at_ms: int = 0

    @property
    def version(self) -> str:
        """
        What the body is called by.
        """
        return version_of(self.payload)


class ListHits(msgspec.Struct, frozen=True):
    """
    How often an entry took part in a hit of a rule, and when last (milliseconds, clock of the worker).
    """

    hits: int
    last_ms: int


class RedisLists:
    """
    The lists of a fleet; every name has the same hash tag, so that each script touches one slot.

    Every method raises ``StreamUnavailable`` when Redis does not answer.

    Args:
        client: For everything small.
        bulk: Opens a connection for a thread, which reads large bodies: a busy loop comes round to a reply fifty times a
            second, and takes a hundred kilobytes of it each time.
    """

    def __init__(self, client: Redis, bulk: Callable[[], redis.Redis] | None = None) -> None:
        self._client = plain(client)
        self._bulk = bulk

    async def pointers(self) -> dict[str, ListPointer]:
        """
        Return which version of each list is in force; lists that nobody ever changed are left out.
        """
        (flat,) = await self._run(("HGETALL", LISTS_ACTIVE))
        names = [name.decode() for name in flat[::2]]
        return {name: msgspec.json.decode(told, type=ListPointer) for name, told in zip(names, flat[1::2], strict=True)}

    async def body(self, version: str) -> StoredBody:
        """
        Return a body that has the hash that it is called by.

        Raises:
            InvalidRule: It is not there, or is not what its hash says.
        """
        key = lists_key("body", version)
        (told,) = await self._run(("HMGET", key, *_META))
        if told[1] is None:
            raise InvalidRule(f"version {version} of a list is not in Redis")
        meta = dict(zip(_META, (b"" if one is None else one for one in told), strict=True))
        numbers = range(-(-int(meta["bytes"]) // CHUNK_BYTES))
        if self._bulk is not None and len(numbers) > 1:
            payload, digest = await asyncio.to_thread(_read_in_bulk, self._bulk, key, numbers)
        else:
            payload = b"".join([(await self._run(("HGET", key, str(number))))[0] or b"" for number in numbers])
            digest = await asyncio.to_thread(_sha256, payload)
        if not digest.startswith(version) or digest != meta["sha"].decode():
            raise InvalidRule(f"version {version} of a list is damaged: its body has another hash")
        return StoredBody(
            kind=meta["kind"].decode(),
            payload=payload,
            entries=int(meta["entries"]),
            parent=meta["parent"].decode(),
            depth=int(meta["depth"]),
            author=meta["author"].decode(),
            at_ms=int(meta["at_ms"] or 0),
        )

    async def keep(self, body: StoredBody) -> bool:
        """
        Keep a body under its hash; return whether it is new. Again is harmless.
        """
        upload = lists_key("upload", secrets.token_hex(8))
        digest = await asyncio.to_thread(_sha256, body.payload)
        told = ("kind", body.kind, "sha", digest, "bytes", len(body.payload), "entries", body.entries)
        more = ("parent", body.parent, "depth", body.depth, "author", body.author, "at_ms", body.at_ms)
        await self._run(("HSET", upload, *told, *more), ("EXPIRE", upload, _UPLOAD_LIFE_S))
        for number, at in enumerate(range(0, len(body.payload), CHUNK_BYTES)):
            await self._run(("HSET", upload, str(number), body.payload[at : at + CHUNK_BYTES]))
        (new,) = await self._run(Call(_KEEP, (upload, lists_key("body", digest[:16])), ()))
        return bool(new)

    async def activate(self, name: str, seen: ListPointer, version: str, move: ListMove) -> int:
        """
        Point the fleet at a version of a list, in one step with the history, and return the new ``seq``.

        Args:
            name: The list.
            seen: The pointer that the change was decided on.
            version: A body that is kept, or empty for the file of each worker.
            move: What the history is told.

        Raises:
            RuleSetRefused: Somebody else changed the list meanwhile, or there is no such body; nothing is changed.
        """
        body = lists_key("body", version) if version else LISTS_ACTIVE
        args = (name, seen.seq, version, move.kind, move.actor, move.reason, move.entries, move.added, move.removed)
        (seq,) = await self._run(Call(_ACTIVATE, (LISTS_ACTIVE, LISTS_LOG, body), args))
        if seq == -1:
            raise RuleSetRefused(f"somebody else changed @{name} meanwhile; look again: fraudstream lists history {name}")
        if seq == -2:
            raise RuleSetRefused(f"version {version} of @{name} is not in Redis")
        return int(seq)

    async def history(self) -> list[ListChange]:
        """
        Return everything that ever happened to the lists, the oldest first.
        """
        changes: list[ListChange] = []
        begin: Argument = "-"
        while True:
            (page,) = await self._run(("XRANGE", LISTS_LOG, begin, "+", "COUNT", _PAGE))
            changes += [_change(entry_id, flat) for entry_id, flat in page]
            if len(page) < _PAGE:
                return changes
            begin = b"(" + page[-1][0]

    async def count_hits(self, hits: Mapping[tuple[str, str], int], *, now_ms: int) -> None:
        """
        Add to the hits of entries, by list and entry; a lost reply may count them twice.
        """
        commands: list[Sequence[Argument]] = []
        for (name, entry), count in hits.items():
            written = entry.encode(errors="surrogatepass")
            commands.append(("HINCRBY", lists_key("hits", name), written, count))
            commands.append(("HSET", lists_key("last", name), written, now_ms))
        if commands:
            await self._run(*commands)

    async def hits(self, name: str) -> dict[str, ListHits]:
        """
        Return the hits of every entry of a list that ever had one.
        """
        counts = await self._scanned(lists_key("hits", name), int)
        last = await self._scanned(lists_key("last", name), int)
        return {entry: ListHits(count, last.get(entry, 0)) for entry, count in counts.items()}

    async def _scanned(self, key: str, read: Callable[[bytes], _T]) -> dict[str, _T]:
        found: dict[str, _T] = {}
        cursor: Argument = "0"
        while True:
            ((cursor, flat),) = await self._run(("HSCAN", key, cursor, "COUNT", 1000))
            names = (name.decode(errors="surrogatepass") for name in flat[::2])
            found.update(zip(names, map(read, flat[1::2]), strict=True))
            if cursor == b"0":
                return found

    async def _run(self, *commands: Call | Sequence[Argument]) -> list[Any]:
        with translated("lists"):
            return await run(self._client, commands)


def _read_in_bulk(bulk: Callable[[], redis.Redis], key: str, numbers: range) -> tuple[bytes, str]:
    """
    Return a payload and its hash, both by this thread.
    """
    with translated("lists"), bulk() as client:
        # Each read asks for the interpreter again, which the loop has; the fewer the better.
        client.connection_pool.connection_kwargs["socket_read_size"] = _READ_BYTES
        payload = b"".join(client.execute_command("HGET", key, str(number)) or b"" for number in numbers)
    return payload, _sha256(payload)


def _sha256(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def _change(entry_id: bytes, flat: Sequence[bytes]) -> ListChange:
    texts = [value.decode() for value in flat]
    at_ms = int(entry_id.partition(b"-")[0])
    return msgspec.convert({**dict(zip(texts[::2], texts[1::2], strict=True)), "at_ms": at_ms}, ListChange, strict=False)
