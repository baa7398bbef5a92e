"""
What a server spends: CPU between two moments, by command, and the memory of keys.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_scripts import run

#: Commands whose time is told apart: the scripts, which include what they call, and the reads beside them.
_COMMANDS = ("evalsha", "mget")


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """
    Seconds of the server's CPU, and of them those inside commands; the rest is reading, writing and the append-only file.
    """

    cpu_s: float
    commands_s: dict[str, float]
    server: str


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


class ServerMeter:
    """
    Measures one server, from a beginning to an end.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._cpu_s = 0.0

    async def begin(self) -> None:
        """
        Start anew; the server's own statistics of commands are reset.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("cost"):
            await self._client.config_resetstat()
            self._cpu_s = await self._cpu()

    async def end(self) -> Spent:
        """
        Return what was spent since the beginning.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("cost"):
            spent = await self._cpu() - self._cpu_s
            stats: dict[str, Any] = await self._client.info("commandstats")
            server: dict[str, Any] = await self._client.info("server")
        commands = {name: float(stats.get(f"cmdstat_{name}", {}).get("usec", 0)) / 1e6 for name in _COMMANDS}
        name = f"{server.get('server_name', 'redis')} {server.get('valkey_version', server.get('redis_version'))}"
        return Spent(cpu_s=spent, commands_s=commands, server=name)

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

    async def _cpu(self) -> float:
        cpu: dict[str, Any] = await self._client.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
