"""
What is still open on the streams.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_intake import fields, group_lag, info
from fraudstream.adapters.redis_keys import DLQ, GROUPS, RAW, UNDELIVERABLE, Keys, Partitions
from fraudstream.adapters.redis_scripts import run, run_each
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
        for about in map(fields, infos):
            if about["name"].decode() == group:
                open_entries[group] = group_lag(about, fields(head)) + int(about["pending"])
    return open_entries


class Sizes(msgspec.Struct, frozen=True):
    """
    What a server holds: bytes in use altogether, those of data (without the tables by which keys are found), keys, and entries
    by stream.
    """

    used_bytes: int
    data_bytes: int
    keys: int
    streams: dict[str, int]


async def sizes(client: Redis) -> Sizes:
    """
    Return what the server holds at this moment.

    Raises:
        StreamUnavailable: Redis did not answer.
    """
    names = (*GROUPS, DLQ, UNDELIVERABLE)
    with translated("sizes"):
        memory, keys, *lengths = await run(
            plain(client), [("INFO", "memory"), ("DBSIZE",), *(("XLEN", name) for name in names)]
        )
    told = info(memory)
    entries = dict(zip(names, map(int, lengths), strict=True))
    return Sizes(int(told["used_memory"]), int(told["used_memory_dataset"]), int(keys), entries)


async def appended(client: Redis) -> int:
    """
    Return how many entries the raw stream ever got; 0 where there is none.

    Raises:
        StreamUnavailable: Redis did not answer.
    """
    with translated("appended"):
        (found,) = await run_each(plain(client), [("XINFO", "STREAM", RAW)])
    return 0 if isinstance(found, Exception) else int(dict(zip(found[::2], found[1::2], strict=True))[b"entries-added"])


async def limit_memory(client: Redis, most_bytes: int) -> None:
    """
    Give a server of our own a limit of memory, as a deployment has one.

    Raises:
        StreamUnavailable: Redis did not answer.
    """
    with translated("maxmemory"):
        await run(plain(client), [("CONFIG", "SET", "maxmemory", most_bytes)])


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


async def lag_and_untold(client: Redis, groups: Iterable[str], channel: str) -> dict[str, int]:
    """
    Return what each group has not finished, and under ``alerts`` how many alert groups a channel was not told of yet.

    Raises:
        StreamUnavailable: Redis did not answer.
    """
    with translated("lag"):
        return {**await waiting(client, groups), "alerts": await untold(client, (channel,))}
