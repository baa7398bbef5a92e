"""
What the replies of Redis say about streams, groups and consumers.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from fraudstream.adapters.redis_intake import fields, group_lag
from fraudstream.adapters.redis_keys import STREAM_OF
from fraudstream.adapters.redis_stream import STEPPING_IN
from fraudstream.adapters.redis_troubles import complaints_in
from fraudstream.fleet.overview import Consumer, GroupState, Letters, PendingEntry, StreamState

#: Most entries that are counted where the lag that Redis tells may be wrong.
COUNTED = 1000
#: Owner, in the books of a group, of entries that wait for their next try.
_RETRY = "__retry__"


class Found(NamedTuple):
    """
    What the first round trip told of one stream; ``head`` is None where there is no such stream.
    """

    head: dict[str, Any] | None
    groups: dict[str, dict[str, Any]]
    memory_bytes: int


def found_in(replies: Sequence[Any]) -> Found:
    """
    Read the replies of XINFO STREAM, XINFO GROUPS and MEMORY USAGE of one stream.
    """
    head, groups, memory = replies
    if head is None:
        return Found(None, {}, 0)
    infos = [fields(group) for group in groups or ()]
    return Found(fields(head), {one["name"].decode(): one for one in infos}, int(memory or 0))


def absent_group(stream: str, group: str, found: Found, now_ms: int) -> GroupState:
    """
    Return the state of a group that should be on a stream and is not.
    """
    lag = int(found.head["length"]) if found.head else 0
    age_s = _age_s(found.head["first-entry"][0], now_ms) if found.head and lag else 0.0
    return GroupState(stream=stream, group=group, exists=False, lag_entries=lag, oldest_unread_age_s=age_s)


def group_state(stream: str, group: str, found: Found, told: Sequence[Any], now_ms: int) -> GroupState:
    """
    Read what the second round trip told of one group: pending in sum and the oldest, consumers, heartbeats, what is unread.
    """
    summary, oldest, infos, beats, (unread, first_unread), complaints = told
    assert found.head is not None
    about, lives = found.groups[group], lives_in(beats)
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
        oldest_pending=pending_entry(stream, group, oldest[0], lives, now_ms) if oldest else None,
        consumers=_consumers(infos, owners, lives, now_ms),
        complaints=complaints_in(complaints, now_ms),
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


def lives_in(flat: Sequence[bytes]) -> dict[str, float]:
    """
    Read the heartbeats: consumer and when its life runs out, in milliseconds by the server's clock.
    """
    return {name.decode(): float(until) for name, until in zip(flat[::2], flat[1::2], strict=True)}


def pending_entry(stream: str, group: str, entry: Sequence[Any], lives: dict[str, float], now_ms: int) -> PendingEntry:
    """
    Read one entry of the long form of XPENDING.
    """
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


def stream_state(name: str, found: Found, now_ms: int) -> StreamState:
    """
    Return how a stream stands.
    """
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


def letters_in(stream: str, kind: bytes, found: Found, newest: Any, now_ms: int) -> Letters:
    """
    Count letters by one of their fields; of the rest of them nothing is kept.
    """
    state = stream_state(stream, found, now_ms)
    entries = newest if isinstance(newest, list) else []
    named = [dict(zip(flat[::2], flat[1::2], strict=True)).get(kind, b"unknown") for _, flat in entries]
    counts = Counter(name.decode("utf-8", "replace") for name in named)
    return Letters(
        stream=stream,
        entries=state.entries,
        oldest_age_s=state.oldest_age_s,
        counted=len(entries),
        counts=dict(counts.most_common()),
    )
