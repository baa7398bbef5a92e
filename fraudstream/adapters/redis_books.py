"""
What Redis holds during and after a proof: everything that was ever emitted, dead letters, entity states, leftovers.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import RedisAddress, translated
from fraudstream.adapters.redis_intake import fields
from fraudstream.adapters.redis_janitor import RedisJanitor
from fraudstream.adapters.redis_keys import DECISIONS, DLQ, FRAUD, GROUPS, RAW, Keys
from fraudstream.adapters.redis_scripts import TRIM, Argument, Call, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.decision_codec import decode_decision

_PAGE = 1000
#: Keys that live for ever by design: work, what people must look at, the rules and models in force, and who is at work.
_FOR_EVER = (
    "transactions:",
    "alerts:",
    "alertdue:",
    "alertdesk:",
    "heartbeat:",
    "retry:",
    "waiting:",
    "rules:",
    "tokens:",
    "models:",
    "lists:",
)


class Letter(msgspec.Struct, frozen=True):
    """
    One dead letter: where its entry stood, and what it says; ``fields`` are all of them as they stand.
    """

    source: str
    entry_id: str
    reason: str
    fields: dict[bytes, bytes]


class Emitted(msgspec.Struct):
    """
    What one history of the server emitted: decisions and entries of the fraud stream by transaction id, and the flagged ones.
    """

    decisions: Counter[str]
    frauds: Counter[str]
    flagged: set[str]


class Tap:
    """
    Reads the decisions and the fraud stream beside the groups, and trims right after, so that nothing goes unseen.
    """

    def __init__(self) -> None:
        self._trims = [Call(TRIM, (stream,), groups) for stream, groups in GROUPS.items()]
        self._cursors: dict[str, bytes] = {DECISIONS: b"0", FRAUD: b"0"}
        self._seen: list[tuple[str, tuple[int, int], str, bool]] = []

    async def read(self, client: Redis) -> int:
        """
        Read what is new; return how many entries.

        Raises:
            StreamUnavailable: The server is away; the next call goes on from here.
        """
        words: list[Argument] = ["XREAD", "COUNT", _PAGE, "STREAMS", *self._cursors, *self._cursors.values()]
        with translated("tap"):
            reply, *_ = await run(client, [words, *self._trims])
        count = 0
        for name, entries in reply or []:
            stream = name.decode()
            for entry_id, flat in entries:
                count += 1
                self._cursors[stream] = entry_id
                self._note(stream, entry_id, flat)
        return count

    def _note(self, stream: str, entry_id: bytes, flat: list[bytes]) -> None:
        order = entry_order(entry_id)
        if stream == FRAUD:
            self._seen.append((stream, order, flat[1].decode(), True))
            return
        for name, body in zip(flat[::2], flat[1::2], strict=True):
            self._seen.append((stream, order, name.decode(), _flagged(body)))

    def restart(self) -> None:
        """
        Begin a new history: everything was flushed.
        """
        self._seen.clear()
        self._cursors = dict.fromkeys(self._cursors, b"0")

    async def forget_lost(self, client: Redis) -> None:
        """
        Forget what a server that takes over never had.
        """
        last = {}
        for stream in self._cursors:
            last[stream] = (0, 0)
            if await ask(client, "EXISTS", stream):
                last[stream] = entry_order(fields(await ask(client, "XINFO", "STREAM", stream))["last-generated-id"])
        self._seen = [one for one in self._seen if one[1] <= last[one[0]]]
        self._cursors = {
            stream: min(cursor, b"%d-%d" % last[stream], key=entry_order) for stream, cursor in self._cursors.items()
        }

    def emitted(self) -> Emitted:
        """
        Return what this history emitted.
        """
        decided = [(name, flagged) for stream, _, name, flagged in self._seen if stream == DECISIONS]
        return Emitted(
            decisions=Counter(name for name, _ in decided),
            frauds=Counter(name for stream, _, name, _ in self._seen if stream == FRAUD),
            flagged={name for name, flagged in decided if flagged},
        )


def entry_order(entry_id: bytes) -> tuple[int, int]:
    """
    Return what entry ids sort by.
    """
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence or 0)


def _flagged(body: bytes) -> bool:
    try:
        return decode_decision(body).flagged
    except msgspec.MsgspecError:
        return False


def direct(url: str) -> Redis:
    """
    Return a client that goes round every proxy.
    """
    return plain(RedisAddress(url=url).commands(4))


async def ask(client: Redis, *words: Argument) -> Any:
    """
    Send one command.

    Raises:
        StreamUnavailable: The server is away.
    """
    with translated(str(words[0])):
        (reply,) = await run(client, [words])
    return reply


async def letters(client: Redis) -> list[Letter]:
    """
    Return all dead letters.
    """
    return [_letter(flat) for _, flat in await ask(client, "XRANGE", DLQ, "-", "+")]


async def flush(client: Redis) -> list[Letter]:
    """
    Take everything away, and return the dead letters that stood there at that very moment.
    """
    with translated("FLUSHALL"):
        replies = await run(client, [("MULTI",), ("XRANGE", DLQ, "-", "+"), ("FLUSHALL",), ("EXEC",)])
    return [_letter(flat) for _, flat in replies[-1][0]]


def _letter(flat: list[bytes]) -> Letter:
    found = dict(zip(flat[::2], flat[1::2], strict=True))
    return Letter(found[b"source"].decode(), found[b"entry_id"].decode(), found[b"reason"].decode(), found)


async def open_entries(client: Redis, groups: Iterable[str]) -> dict[str, int]:
    """
    Return, by group, entries that are not read or not acknowledged; a group that is not there yet counts as one.
    """
    found: dict[str, int] = {}
    for stream, names in GROUPS.items():
        wanted = set(names) & set(groups)
        if not wanted:
            continue
        if not await ask(client, "EXISTS", stream):
            found |= dict.fromkeys(wanted, 0 if stream != RAW else 1)
            continue
        about = fields(await ask(client, "XINFO", "STREAM", stream))
        infos = [fields(flat) for flat in await ask(client, "XINFO", "GROUPS", stream)]
        open_now = {info["name"].decode(): _open(info, about) for info in infos}
        found |= {name: open_now.get(name, 1) for name in wanted}
    return found


def _open(info: dict[str, Any], about: dict[str, Any]) -> int:
    return int(info["pending"]) + (0 if info["last-delivered-id"] == about["last-generated-id"] else 1)


async def consumers(client: Redis) -> list[str]:
    """
    Return the consumers that are left in any group, the pseudo-consumer for what is to be tried again left out.
    """
    found: list[str] = []
    for stream, groups in GROUPS.items():
        if await ask(client, "EXISTS", stream):
            for group in groups:
                names = [fields(flat)["name"].decode() for flat in await ask(client, "XINFO", "CONSUMERS", stream, group)]
                found += [f"{group}: {name}" for name in names if name != "__retry__"]
    return found


async def forget_the_dead(client: Redis, *, within_s: float) -> None:
    """
    Have the janitor forget consumers until none is left: one sweep takes some of them, and a full run leaves hundreds.

    Args:
        client: Where they are.
        within_s: How long one that was killed a moment ago may still count as alive; who is left then holds something.
    """
    janitor = RedisJanitor(client, Keys(), silence_ms=0)
    until = time.monotonic() + within_s
    while await janitor.forget():
        continue
    while await consumers(client) and time.monotonic() < until:
        await asyncio.sleep(0.1)
        await janitor.forget()


async def keys_of(client: Redis, pattern: str) -> list[bytes]:
    """
    Return every key that fits a pattern.
    """
    found: set[bytes] = set()
    cursor: bytes = b"0"
    while True:
        cursor, page = await ask(client, "SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE)
        found.update(page)
        if cursor == b"0":
            return sorted(found)


async def values(client: Redis, pattern: str) -> dict[str, bytes]:
    """
    Return every string whose key fits a pattern.
    """
    keys = await keys_of(client, pattern)
    found: dict[str, bytes] = {}
    for at in range(0, len(keys), _PAGE):
        page = keys[at : at + _PAGE]
        found.update(zip((key.decode() for key in page), await ask(client, "MGET", *page), strict=True))
    return found


async def ownerless(client: Redis) -> list[str]:
    """
    Return keys that would stay for ever though nobody owns them: without a time to live and not meant to last.
    """
    keys = [key for key in await keys_of(client, "*") if not key.decode().startswith(_FOR_EVER)]
    found: list[str] = []
    for at in range(0, len(keys), _PAGE):
        page = keys[at : at + _PAGE]
        with translated("PTTL"):
            lives = await run(client, [("PTTL", key) for key in page])
        found += [key.decode() for key, life in zip(page, lives, strict=True) if life == -1]
    return found
