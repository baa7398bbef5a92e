"""
Everything that an overview holds, read from Redis in two round trips; and the pending entries of groups in one.
"""

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ResponseError

from fraudstream.adapters.redis_checks import server_state
from fraudstream.adapters.redis_client import is_no_group, translated
from fraudstream.adapters.redis_intake import info
from fraudstream.adapters.redis_keys import DLQ, GROUPS, STREAM_OF, UNDELIVERABLE, Keys
from fraudstream.adapters.redis_replies import (
    COUNTED,
    Found,
    absent_group,
    found_in,
    group_state,
    letters_in,
    lives_in,
    pending_entry,
    stream_state,
)
from fraudstream.adapters.redis_scripts import UNREAD, Argument, Call, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import UnsuitableServer
from fraudstream.fleet.overview import GroupState, Overview, PendingEntry
from fraudstream.telemetry.labels import NOTIFICATION_CHANNELS

#: What the user that looks must be allowed, in the words of ACL SETUSER.
RIGHTS = "~* +@read +@connection +info +time +evalsha +script|load"
#: Streams that no group reads, and the field that tells their entries apart.
_LETTERS = {DLQ: b"reason", UNDELIVERABLE: b"channel"}


async def read_overview(client: Redis, keys: Keys, *, letters: int = 200, allow_no_persistence: bool = False) -> Overview:
    """
    Look at the server, every stream, group and consumer, and at what people must look at.

    Args:
        client: Connections that nobody blocks.
        keys: The names of the partition.
        letters: How many of the newest dead letters and undeliverable alerts to tell apart; 0 leaves them unread.
        allow_no_persistence: Whether a server without an append-only file is meant to be.

    Raises:
        StreamUnavailable: Redis did not answer.
        UnsuitableServer: The user that we are to Redis may not look.
    """
    names = [*GROUPS, *_LETTERS]
    with _allowed("overview"):
        started, wall_ms = time.perf_counter(), time.time() * 1000
        facts, now, *replies = await _first_trip(plain(client), [keys.stream(name) for name in names], letters)
        answer_ms = (time.perf_counter() - started) * 1000
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        found = {name: found_in(replies[at * 4 : at * 4 + 3]) for at, name in enumerate(names)}
        groups, waiting = await asyncio.gather(_groups(client, keys, found, now_ms), _waiting(client, keys, now_ms))
    newest = {name: replies[at * 4 + 3] for at, name in enumerate(names)}
    return Overview(
        at_ms=now_ms,
        server=server_state(
            info(facts),
            answer_ms,
            (now_ms - wall_ms - answer_ms / 2) / 1000,
            allow_no_persistence=allow_no_persistence,
            clustered=bool(keys.tag),
        ),
        streams=tuple(stream_state(keys.stream(name), one, now_ms) for name, one in found.items()),
        groups=groups,
        alerts_waiting=waiting,
        dead_letters=letters_in(keys.stream(DLQ), _LETTERS[DLQ], found[DLQ], newest[DLQ], now_ms),
        undeliverable=letters_in(
            keys.stream(UNDELIVERABLE), _LETTERS[UNDELIVERABLE], found[UNDELIVERABLE], newest[UNDELIVERABLE], now_ms
        ),
    )


async def read_pending(
    client: Redis, keys: Keys, groups: Collection[str], *, min_idle_s: float = 0.0, count: int = 20
) -> list[PendingEntry]:
    """
    Return pending entries of known groups, oldest first within each.

    Raises:
        StreamUnavailable: Redis did not answer.
        UnsuitableServer: The user that we are to Redis may not look.
    """
    streams = {group: keys.stream(STREAM_OF[group]) for group in groups}
    commands: list[Sequence[Argument]] = [("TIME",)]
    for group, stream in streams.items():
        commands.append(("ZRANGE", keys.heartbeat(group, stream), 0, -1, "WITHSCORES"))
        commands.append(("XPENDING", stream, group, "IDLE", int(min_idle_s * 1000), "-", "+", count))
    with _allowed("pending"):
        now, *replies = await _run_lenient(plain(client), commands)
    now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
    found = []
    for (group, stream), beats, entries in zip(streams.items(), replies[::2], replies[1::2], strict=True):
        lives = lives_in(beats)
        found += [pending_entry(stream, group, entry, lives, now_ms) for entry in entries or ()]
    return found


@contextmanager
def _allowed(what: str) -> Iterator[None]:
    try:
        with translated(what):
            yield
    except NoPermissionError as exc:
        raise UnsuitableServer(
            f"the user in REDIS_URL may not look: {exc}; let it run +@read +info +time +xinfo +evalsha"
        ) from exc


async def _first_trip(client: Redis, streams: Sequence[str], letters: int) -> list[Any]:
    commands: list[Sequence[Argument]] = [("INFO",), ("TIME",)]
    for stream in streams:
        commands += [("XINFO", "STREAM", stream), ("XINFO", "GROUPS", stream), ("MEMORY", "USAGE", stream)]
        last: Sequence[Argument] = ("XREVRANGE", stream, "+", "-", "COUNT", letters)
        read = letters and stream.startswith(tuple(_LETTERS))
        commands.append(last if read else ("EXISTS", stream))
    return await _run_lenient(client, commands)


async def _run_lenient(client: Redis, commands: Sequence[Sequence[Argument]]) -> list[Any]:
    """
    Send plain commands in one round trip; what asks for a stream or a group that is not there is answered by None.
    """
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    replies = await pipeline.execute(raise_on_error=False)
    return [_reply(reply) for reply in replies]


def _reply(reply: Any) -> Any:
    if isinstance(reply, ResponseError) and (is_no_group(reply) or "no such key" in str(reply)):
        return None
    if isinstance(reply, Exception):
        raise reply
    return reply


async def _groups(client: Redis, keys: Keys, found: dict[str, Found], now_ms: int) -> tuple[GroupState, ...]:
    """
    Look at every group, known or not, in one round trip.
    """
    there = [(name, group) for name, one in found.items() for group in one.groups]
    replies = await run(client, [command for name, group in there for command in _about(keys, name, group, found[name])])
    told = {pair: replies[at * 6 : at * 6 + 6] for at, pair in enumerate(there)}
    absent = [(name, group) for name, groups in GROUPS.items() for group in groups if group not in found[name].groups]
    states = {
        **{pair: absent_group(keys.stream(pair[0]), pair[1], found[pair[0]], now_ms) for pair in absent},
        **{
            (name, group): group_state(keys.stream(name), group, found[name], told[name, group], now_ms)
            for name, group in there
        },
    }
    order = [(name, group) for name, groups in GROUPS.items() for group in groups]
    return tuple(states[pair] for pair in [*order, *(pair for pair in there if pair not in order)])


def _about(keys: Keys, name: str, group: str, found: Found) -> list[Call | Sequence[Argument]]:
    stream = keys.stream(name)
    return [
        ("XPENDING", stream, group),
        ("XPENDING", stream, group, "-", "+", 1),
        ("XINFO", "CONSUMERS", stream, group),
        ("ZRANGE", keys.heartbeat(group, stream), 0, -1, "WITHSCORES"),
        Call(UNREAD, (stream,), (found.groups[group]["last-delivered-id"], COUNTED)),
        ("HGETALL", keys.trouble(group, stream)),
    ]


async def _waiting(client: Redis, keys: Keys, now_ms: int) -> dict[str, int]:
    """
    Count what each channel is to be told of by now, or within a minute: what failed is put off by less.
    """
    channels = NOTIFICATION_CHANNELS
    soon_ms = now_ms + 60_000
    counts = await _run_lenient(plain(client), [("ZCOUNT", keys.alert_due(one), "-inf", soon_ms) for one in channels])
    return {channel: int(count or 0) for channel, count in zip(channels, counts, strict=True)}
