"""
What a server spends: CPU between two moments, by command, and the memory of keys.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_scripts import run

#: Commands whose time is told apart: the scripts, which include what they call, and the reads beside them.
_COMMANDS = ("evalsha", "mget")
#: Keys that are copied in one round trip.
_AT_ONCE = 1_000
_T = TypeVar("_T")


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """
    Seconds of the server's CPU, and of them those inside commands; the rest is reading, writing and the append-only file.

    ``aside_s`` are those of its other threads, which bring the append-only file to the disk.
    """

    cpu_s: float
    aside_s: float
    commands_s: dict[str, float]


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """
    What has come and gone since the server started, and what it holds now, in bytes.
    """

    came: int
    went: int
    appended: int
    held: int

    def since(self, before: "Flow", transactions: int) -> dict[str, float]:
        """
        Return the bytes of each transaction since then; what is held can have become less.
        """
        return {name: round((getattr(self, name) - getattr(before, name)) / transactions, 1) for name in self.__struct_fields__}


async def flow(client: Redis) -> Flow:
    """
    Look at a server: bytes that clients sent and got, the size of its append-only file, memory in use.

    Raises:
        StreamUnavailable: Redis did not answer.
    """
    with translated("flow"):
        about: dict[str, Any] = await client.info()
    return Flow(
        came=int(about["total_net_input_bytes"]),
        went=int(about["total_net_output_bytes"]),
        appended=int(about.get("aof_current_size", 0)),
        held=int(about["used_memory"]),
    )


class AllKeys:
    """
    All that a server held at one moment, to begin from there once more.
    """

    def __init__(self, client: Redis, kept: Sequence[tuple[bytes, int, bytes]]) -> None:
        self._client = client
        self._kept = kept

    @classmethod
    async def of(cls, client: Redis) -> Self:
        """
        Copy every key with the milliseconds that it still has.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("copy"):
            keys = [key async for key in client.scan_iter(count=_AT_ONCE)]
            kept: list[tuple[bytes, int, bytes]] = []
            for some in _portions(keys):
                replies = await run(client, [[word, key] for key in some for word in ("PTTL", "DUMP")])
                kept += zip(some, (max(0, ttl) for ttl in replies[::2]), replies[1::2], strict=True)
        return cls(client, kept)

    async def put_back(self) -> None:
        """
        Leave nothing but this, and return when it stands on disk: what writes it there is not the next measurement's.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("put back"):
            await self._client.flushall()
            for some in _portions(self._kept):
                await run(self._client, [["RESTORE", key, ttl_ms, body] for key, ttl_ms, body in some])
            await self._client.execute_command("WAITAOF", 1, 0, 0)


class ServerMeter:
    """
    Measures one server, from a beginning to an end.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._cpu_s = self._main_s = 0.0

    async def begin(self) -> None:
        """
        Start anew; the server's own statistics of commands are reset.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("cost"):
            await self._client.config_resetstat()
            self._cpu_s, self._main_s = await self._cpu()

    async def end(self) -> Spent:
        """
        Return what was spent since the beginning.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("cost"):
            cpu_s, main_s = await self._cpu()
            stats: dict[str, Any] = await self._client.info("commandstats")
        commands = {name: float(stats.get(f"cmdstat_{name}", {}).get("usec", 0)) / 1e6 for name in _COMMANDS}
        spent_s, by_main_s = cpu_s - self._cpu_s, main_s - self._main_s
        return Spent(cpu_s=spent_s, aside_s=spent_s - by_main_s, commands_s=commands)

    async def server(self) -> str:
        """
        Return the name and the version of what is measured.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("cost"):
            about: dict[str, Any] = await self._client.info("server")
        return f"{about.get('server_name', 'redis')} {about.get('valkey_version', about.get('redis_version'))}"

    async def key_bytes(self, keys: Sequence[str]) -> tuple[float, float]:
        """
        Return the mean memory and the mean length of strings, in bytes.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("memory"):
            used = await run(self._client, [["MEMORY", "USAGE", key, "SAMPLES", 0] for key in keys])
            lengths = await run(self._client, [["STRLEN", key] for key in keys])
        return sum(one or 0 for one in used) / len(keys), sum(lengths) / len(keys)

    async def _cpu(self) -> tuple[float, float]:
        cpu: dict[str, Any] = await self._client.info("cpu")
        whole, main = (float(cpu[f"used_cpu_user{of}"]) + float(cpu[f"used_cpu_sys{of}"]) for of in ("", "_main_thread"))
        return whole, main


def _portions(things: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (things[at : at + _AT_ONCE] for at in range(0, len(things), _AT_ONCE))
