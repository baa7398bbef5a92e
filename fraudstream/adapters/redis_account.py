"""
What is still open on the streams.
"""

from collections import Counter
from collections.abc import Iterable

from redis.asyncio import Redis

from fraudstream.adapters.redis_intake import fields, group_lag
from fraudstream.adapters.redis_keys import GROUPS, Keys, Partitions
from fraudstream.adapters.redis_scripts import run
from fraudstream.adapters.redis_stream import plain


async def waiting(client: Redis, groups: Iterable[str], partitions: Partitions | None = None) -> dict[str, int]:
    """
    Return, for each group that is served, how many entries it has not read or not acknowledged, in all partitions.

    A worker that has just started may not have made its stream yet: its group then has one entry left, so that nobody takes it
    for done.
    """
    wanted, found = set(groups), Counter[str]()
    for keys in (partitions or Partitions()).all():
        found.update(await _waiting(client, wanted, keys))
    return dict(found)


async def _waiting(client: Redis, wanted: set[str], keys: Keys) -> dict[str, int]:
    served = [(keys.stream(stream), group) for stream, names in GROUPS.items() for group in names if group in wanted]
    there = await run(plain(client), [("EXISTS", stream) for stream, _ in served])
    open_entries = {group: 1 for (_, group), exists in zip(served, there, strict=True) if not exists}
    served = [(stream, group) for stream, group in served if group not in open_entries]
    replies = await run(
        plain(client),
        [command for stream, _ in served for command in (("XINFO", "STREAM", stream), ("XINFO", "GROUPS", stream))],
    )
    for (_, group), head, infos in zip(served, replies[::2], replies[1::2], strict=True):
        for info in map(fields, infos):
            if info["name"].decode() == group:
                open_entries[group] = group_lag(info, fields(head)) + int(info["pending"])
    return open_entries


async def untold(client: Redis, channels: Iterable[str] = ("console",), partitions: Partitions | None = None) -> int:
    """
    Return how many alert groups wait to be told on these channels.
    """
    every = (partitions or Partitions()).all()
    replies = await run(plain(client), [("ZCARD", keys.alert_due(channel)) for channel in channels for keys in every])
    return sum(map(int, replies))


async def has_groups(client: Redis, stream: str) -> bool:
    """
    Say whether any group reads a stream yet.
    """
    (exists,) = await run(plain(client), [("EXISTS", stream)])
    if not exists:
        return False
    (groups,) = await run(plain(client), [("XINFO", "GROUPS", stream)])
    return bool(groups)
