"""
What a server must be before we trust it with payments.
"""

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_intake import info
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import UnsuitableServer

#: Oldest versions that the scripts run on.
_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}


async def check_server(client: Redis, *, allow_no_persistence: bool, partitioned: bool) -> str:
    """
    Refuse a server that could lose our data as it is configured; return its name and version.

    Raises:
        UnsuitableServer: Names every problem with its remedy.
        StreamUnavailable: The server did not answer.
    """
    with translated("INFO"):
        facts = info(await plain(client).execute_command("INFO"))
    name = facts.get("server_name", "redis")
    version = facts.get(f"{name}_version", facts["redis_version"])
    problems = [
        problem
        for problem in (
            _version_problem(name, version),
            _eviction_problem(facts),
            "" if allow_no_persistence else _persistence_problem(facts),
            _cluster_problem(facts, partitioned=partitioned),
        )
        if problem
    ]
    if problems:
        raise UnsuitableServer(f"{name} {version} is not safe to start on:\n" + "\n".join(f"  - {one}" for one in problems))
    return f"{name} {version}"


def _version_problem(name: str, version: str) -> str:
    major, minor = (int(part) for part in version.split(".")[:2])
    oldest = _OLDEST.get(name, _OLDEST["redis"])
    return "" if (major, minor) >= oldest else f"version {version} is too old; use {oldest[0]}.{oldest[1]} or newer"


def _eviction_problem(facts: dict[str, str]) -> str:
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return ""
    return f"maxmemory-policy is {policy}, which drops streams or transaction records under pressure; set it to noeviction"


def _persistence_problem(facts: dict[str, str]) -> str:
    if facts.get("aof_enabled") == "1":
        return ""
    return (
        "the append-only file is off, so a restart loses undecided payments; set appendonly yes "
        "(or FRAUDSTREAM_ALLOW_NO_PERSISTENCE=true if every producer can replay)"
    )


def _cluster_problem(facts: dict[str, str], *, partitioned: bool) -> str:
    if facts.get("redis_mode") != "cluster" or partitioned:
        return ""
    return "the server runs in cluster mode, where the plain stream names lie in different slots; use partitions"
