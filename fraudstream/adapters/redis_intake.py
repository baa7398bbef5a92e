"""
The producer's end of ``transactions:raw``: appended in batches, refused while the system is full.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_scripts import Argument, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import AdmissionRefused

#: Most entries that are counted one by one where the server cannot tell the lag.
_COUNTED = 1000
#: How long one look at memory and lag is good for, in seconds.
_LOOK_EVERY_S = 0.5


class AdmissionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """
    When to refuse: ``memory_ratio`` of ``maxmemory`` in use, or ``lag_entries`` waiting for the slower group (0 = any).
    """

    memory_ratio: float = 0.8
    lag_entries: int = 1_000_000


class RedisIntake:
    """
    ``TransactionIntake`` over XADD: an id of Redis' own, no MAXLEN, no retry inside the client.

    A batch is one transaction of Redis. Groups that wait for the stream then see all of it: woken by its first entries, they
    would read it in pieces, each of which costs as much as a batch.
    """

    def __init__(self, client: Redis, *, stream: str, limits: AdmissionLimits) -> None:
        self._client = plain(client)
        self._stream = stream
        self._limits = limits
        self._looked_at = -1.0
        self._refusal = ""

    async def append(self, bodies: Sequence[bytes]) -> list[bytes]:
        """
        Append bodies in order and return their entry ids.

        Raises:
            AdmissionRefused: Memory or lag is over its limit; nothing was appended.
            StreamUnavailable: Some may have been appended; send them again, the fleet drops the second ones.
        """
        await self.admit()
        commands: list[Sequence[Argument]] = [("XADD", self._stream, "*", "data", body) for body in bodies]
        with translated("XADD"):
            *_, replies = await run(self._client, [("MULTI",), *commands, ("EXEC",)])
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return list(replies)

    async def admit(self) -> None:
        """
        Look now and then whether anything may be appended.

        Raises:
            AdmissionRefused: Memory or lag is over its limit.
            StreamUnavailable: Redis did not answer.
        """
        if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._refusal = await self._look()
            self._looked_at = time.monotonic()
        if self._refusal:
            raise AdmissionRefused(self._refusal)

    async def _look(self) -> str:
        """
        Return why nothing may be appended now, or nothing.
        """
        with translated("admission"):
            memory = info(await self._client.execute_command("INFO", "memory"))
            lag = await stream_lag(self._client, self._stream)
        used, most = int(memory["used_memory"]), int(memory["maxmemory"])
        if most and used > self._limits.memory_ratio * most:
            return f"Redis uses {used / most:.0%} of maxmemory, over the limit of {self._limits.memory_ratio:.0%}"
        if self._limits.lag_entries and lag > self._limits.lag_entries:
            return f"{lag} entries of {self._stream} wait for the slower group, over the limit of {self._limits.lag_entries}"
        return ""


def info(reply: bytes) -> dict[str, str]:
    """
    Read the reply of INFO.
    """
    pairs = (line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def fields(flat: Sequence[Any]) -> dict[str, Any]:
    """
    Read a flat reply of names and values.
    """
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


async def stream_lag(client: Redis, stream: str) -> int:
    """
    Return how many entries the slowest group of a stream has not read.

    XINFO's ``lag`` can be null, and wrong for good after a restart from the append-only file: where it cannot be right, entries
    are counted, and beyond a bound the stream's length is taken.
    """
    exists, *_ = await run(client, [("EXISTS", stream)])
    if not exists:
        return 0
    about, groups = await run(client, [("XINFO", "STREAM", stream), ("XINFO", "GROUPS", stream)])
    head = fields(about)
    lags = [await _counted(client, stream, fields(group), head) for group in groups]
    return max(lags, default=int(head["length"]))


async def _counted(client: Redis, stream: str, group: dict[str, Any], head: dict[str, Any]) -> int:
    lag = group_lag(group, head)
    if lag == 0 or (group.get("lag") is not None and int(group["lag"]) <= int(head["length"])):
        return lag
    unread = await client.execute_command("XRANGE", stream, b"(" + group["last-delivered-id"], "+", "COUNT", _COUNTED)
    return len(unread) if len(unread) < _COUNTED else lag


def group_lag(group: dict[str, Any], stream: dict[str, Any]) -> int:
    """
    Return the corrected lag of one group, from the replies of XINFO GROUPS and XINFO STREAM.

    Nothing where the group has read the last entry, and never more than the stream holds, which also stands for null.
    """
    if group["last-delivered-id"] == stream["last-generated-id"]:
        return 0
    length = int(stream["length"])
    return length if group.get("lag") is None else min(length, int(group["lag"]))
