"""
Everything that an overview holds, read from Redis in two round trips; and the pending entries of groups in one.
"""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from fraudstream.adapters.redis_checks import server_state
from fraudstream.adapters.redis_client import is_no_group, translated
from fraudstream.adapters.redis_intake import fields, group_lag, info
from fraudstream.adapters.redis_keys import DLQ, GROUPS, STREAM_OF, UNDELIVERABLE, Keys
from fraudstream.adapters.redis_scripts import UNREAD, Argument, Call, run
from fraudstream.adapters.redis_stream import STEPPING_IN, plain
from fraudstream.fleet.overview import Consumer, GroupState, Letters, Overview, PendingEntry, StreamState

#: Most entries that are counted where the lag that Redis tells may be wrong.
COUNTED = 1000
#: Owner, in the books of a group, of entries that wait for their next try.
_RETRY = "__retry__"
#: Streams that no group reads, and the field that tells their entries apart.
_LETTERS = {DLQ: b"reason", UNDELIVERABLE: b"channel"}


class _Found(NamedTuple):
    """
    What the first round trip told of one stream; ``head`` is None where there is no such stream.
    """

    head: dict[str, Any] | None
    groups: dict[str, dict[str, Any]]
    memory_bytes: int


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
    """
    names = [*GROUPS, *_LETTERS]
    with translated("overview"):
        started, wall_ms = time.perf_counter(), time.time() * 1000
        facts, now, *replies = await _first_trip(plain(client), [keys.stream(name) for name in names], letters)
        answer_ms = (time.perf_counter() - started) * 1000
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
        found = {name: _found(replies[at * 4 : at * 4 + 3]) for at, name in enumerate(names)}
        groups = await _groups(client, keys, found, now_ms)
    newest = {name: replies[at * 4 + 3] for at, name in enumerate(names)}
    return Overview(
        at_ms=now_ms,
        server=server_state(
            info(facts), answer_ms, (now_ms - wall_ms - answer_ms / 2) / 1000, allow_no_persistence=allow_no_persistence
        ),
        streams=tuple(_stream(keys.stream(name), one, now_ms) for name, one in found.items()),
        groups=groups,
        dead_letters=_letters(keys.stream(DLQ), DLQ, found[DLQ], newest[DLQ], now_ms),
        undeliverable=_letters(keys.stream(UNDELIVERABLE), UNDELIVERABLE, found[UNDELIVERABLE], newest[UNDELIVERABLE], now_ms),
    )


async def read_pending(
    client: Redis, keys: Keys, groups: Collection[str], *, min_idle_s: float = 0.0, count: int = 20
) -> list[PendingEntry]:
    """
    Return pending entries of known groups, oldest first within each.

    Raises:
        StreamUnavailable: Redis did not answer.
    """
    streams = {group: keys.stream(STREAM_OF[group]) for group in groups}
    commands: list[Sequence[Argument]] = [("TIME",)]
    for group, stream in streams.items():
        commands.append(("ZRANGE", keys.heartbeat(group, stream), 0, -1, "WITHSCORES"))
        commands.append(("XPENDING", stream, group, "IDLE", int(min_idle_s * 1000), "-", "+", count))
    with translated("pending"):
        now, *replies = await _run_lenient(plain(client), commands)
    now_ms = int(now[0]) * 1000 + int(now[1]) // 1000
    found = []
    for (group, stream), beats, entries in zip(streams.items(), replies[::2], replies[1::2], strict=True):
        lives = _lives(beats)
        found += [_pending(stream, group, entry, lives, now_ms) for entry in entries or ()]
    return found


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


def _found(replies: Sequence[Any]) -> _Found:
    head, groups, memory = replies
    if head is None:
        return _Found(None, {}, 0)
    infos = [fields(group) for group in groups or ()]
    return _Found(fields(head), {one["name"].decode(): one for one in infos}, int(memory or 0))


async def _groups(client: Redis, keys: Keys, found: dict[str, _Found], now_ms: int) -> tuple[GroupState, ...]:
    """
    Look at every group, known or not, in one round trip.
    """
    there = [(name, group) for name, one in found.items() for group in one.groups]
    replies = await run(client, [command for name, group in there for command in _about(keys, name, group, found[name])])
    told = {pair: replies[at * 5 : at * 5 + 5] for at, pair in enumerate(there)}
    absent = [(name, group) for name, groups in GROUPS.items() for group in groups if group not in found[name].groups]
    states = {
        **{pair: _absent(keys.stream(pair[0]), pair[1], found[pair[0]], now_ms) for pair in absent},
        **{(name, group): _group(keys.stream(name), group, found[name], told[name, group], now_ms) for name, group in there},
    }
    order = [(name, group) for name, groups in GROUPS.items() for group in groups]
    return tuple(states[pair] for pair in [*order, *(pair for pair in there if pair not in order)])


def _about(keys: Keys, name: str, group: str, found: _Found) -> list[Call | Sequence[Argument]]:
    stream = keys.stream(name)
    return [
        ("XPENDING", stream, group),
        ("XPENDING", stream, group, "-", "+", 1),
        ("XINFO", "CONSUMERS", stream, group),
        ("ZRANGE", keys.heartbeat(group, stream), 0, -1, "WITHSCORES"),
        Call(UNREAD, (stream,), (found.groups[group]["last-delivered-id"], COUNTED)),
    ]


def _absent(stream: str, group: str, found: _Found, now_ms: int) -> GroupState:
    lag = int(found.head["length"]) if found.head else 0
    age_s = _age_s(found.head["first-entry"][0], now_ms) if found.head and lag else 0.0
    return GroupState(stream=stream, group=group, exists=False, lag_entries=lag, oldest_unread_age_s=age_s)


def _group(stream: str, group: str, found: _Found, told: Sequence[Any], now_ms: int) -> GroupState:
    summary, oldest, infos, beats, (unread, first_unread) = told
    assert found.head is not None
    about, lives = found.groups[group], _lives(beats)
    read_all = about["last-delivered-id"] == found.head["last-generated-id"]
    owners = {name.decode(): int(count) for name, count in summary[3] or ()}
    return GroupState(
        stream=stream,
        group=group,
        exists=True,
        known=STREAM_OF.get(group) is not None and stream.startswith(STREAM_OF[group]),
        lag_entries=_lag(about, found.head, unread),
        lag_told=read_all or about.get("lag") is not None,
        oldest_unread_age_s=_age_s(first_unread, now_ms) if first_unread else 0.0,
        last_delivered_id=about["last-delivered-id"].decode(),
        pending_entries=int(summary[0]),
        retrying_entries=owners.get(_RETRY, 0),
        oldest_pending_age_s=_age_s(summary[1], now_ms) if summary[1] else 0.0,
        oldest_pending=_pending(stream, group, oldest[0], lives, now_ms) if oldest else None,
        consumers=_consumers(infos, owners, lives, now_ms),
    )


def _lag(group: dict[str, Any], head: dict[str, Any], unread: int) -> int | None:
    """
    Return how many entries a group has not read, None where Redis cannot tell and there are too many to count.

    What was counted wins: Redis' own figure can be null, and wrong for good after a restart from the append-only file.
    """
    if unread < COUNTED:
        return unread
    return None if group.get("lag") is None else max(unread, group_lag(group, head))


def _consumers(infos: Sequence[Any], owners: dict[str, int], lives: dict[str, float], now_ms: int) -> tuple[Consumer, ...]:
    """
    Bring together who is in the books of the group and who beats: older servers enter nobody who has read nothing yet.
    """
    idle_ms = {one["name"].decode(): int(one["idle"]) for one in map(fields, infos)}
    return tuple(
        Consumer(
            name=name,
            pending=owners.get(name, 0),
            alive=lives.get(name, 0) >= now_ms,
            quiet_s=max(0.0, (now_ms - lives[name]) if name in lives else idle_ms[name]) / 1000,
            stepping_in=STEPPING_IN in name,
        )
        for name in sorted(idle_ms.keys() | lives.keys())
        if name != _RETRY
    )


def _lives(flat: Sequence[bytes]) -> dict[str, float]:
    """
    Read the heartbeats: consumer and when its life runs out, in milliseconds by the server's clock.
    """
    return {name.decode(): float(until) for name, until in zip(flat[::2], flat[1::2], strict=True)}


def _pending(stream: str, group: str, entry: Sequence[Any], lives: dict[str, float], now_ms: int) -> PendingEntry:
    entry_id, consumer, idle_ms, deliveries = entry
    return PendingEntry(
        stream=stream,
        group=group,
        entry_id=entry_id.decode(),
        consumer=consumer.decode(),
        consumer_alive=lives.get(consumer.decode(), 0) >= now_ms,
        idle_s=int(idle_ms) / 1000,
        age_s=_age_s(entry_id, now_ms),
        deliveries=int(deliveries),
    )


def _age_s(entry_id: bytes, now_ms: int) -> float:
    return max(0, now_ms - int(entry_id.partition(b"-")[0])) / 1000


def _stream(name: str, found: _Found, now_ms: int) -> StreamState:
    head = found.head
    if head is None:
        return StreamState(stream=name, exists=False)
    return StreamState(
        stream=name,
        exists=True,
        entries=int(head["length"]),
        memory_bytes=found.memory_bytes,
        oldest_age_s=_age_s(head["first-entry"][0], now_ms) if head["first-entry"] else 0.0,
        last_id=head["last-generated-id"].decode(),
        groups=len(found.groups),
    )


def _letters(stream: str, kind: str, found: _Found, newest: Any, now_ms: int) -> Letters:
    state = _stream(stream, found, now_ms)
    entries = newest if isinstance(newest, list) else []
    named = [dict(zip(flat[::2], flat[1::2], strict=True)).get(_LETTERS[kind], b"unknown") for _, flat in entries]
    counts = Counter(name.decode("utf-8", "replace") for name in named)
    return Letters(
        stream=stream,
        entries=state.entries,
        oldest_age_s=state.oldest_age_s,
        counted=len(entries),
        counts=dict(counts.most_common()),
    )
