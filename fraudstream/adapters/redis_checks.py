"""
What a server must be before we trust it with payments.
"""

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_intake import info
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import StreamUnavailable, UnsuitableServer
from fraudstream.fleet.overview import ServerProblem, ServerState

#: Oldest versions that the scripts run on.
_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}


async def check_server(client: Redis, *, allow_no_persistence: bool, clustered: bool) -> str:
    """
    Refuse a server that could lose our data as it is configured; return its name and version.

    Raises:
        UnsuitableServer: Names every problem with its remedy.
        StreamUnavailable: The server did not answer.
    """
    try:
        with translated("INFO"):
            facts = info(await plain(client).execute_command("INFO"))
    except StreamUnavailable as exc:
        if isinstance(exc.__cause__, AuthenticationError):
            raise UnsuitableServer(f"Redis refuses us: {exc.__cause__}; put user and password into REDIS_URL") from None
        raise
    if facts.get("loading") == "1":
        # While it reads its files back a server says that the append-only file is off: to believe that would be to give up.
        raise StreamUnavailable("the server is still loading its data")
    problems = server_problems(facts, allow_no_persistence=allow_no_persistence, clustered=clustered)
    shown = " ".join(server_version(facts))
    if problems:
        raise UnsuitableServer(f"{shown} is not safe to start on:\n" + "\n".join(f"  - {one.says}" for one in problems))
    return shown


def server_version(facts: dict[str, str]) -> tuple[str, str]:
    """
    Return name and version, from the reply of INFO.
    """
    name = facts.get("server_name", "redis")
    return name, facts.get(f"{name}_version", facts["redis_version"])


def server_problems(facts: dict[str, str], *, allow_no_persistence: bool, clustered: bool) -> list[ServerProblem]:
    """
    Return why our data is not safe on a server, from the reply of INFO; each says its remedy.
    """
    found = {
        "version": _version_problem(*server_version(facts)),
        "eviction": _eviction_problem(facts),
        "persistence": "" if allow_no_persistence else _persistence_problem(facts),
        "cluster": _cluster_problem(facts, clustered=clustered),
    }
    return [ServerProblem(kind=kind, says=says) for kind, says in found.items() if says]


def server_state(
    facts: dict[str, str], answer_ms: float, clock_ahead_s: float, *, allow_no_persistence: bool, clustered: bool = False
) -> ServerState:
    """
    Return how the server stands, from the reply of INFO.
    """
    name, version = server_version(facts)
    return ServerState(
        name=name,
        version=version,
        answer_ms=round(answer_ms, 3),
        clock_ahead_s=round(clock_ahead_s, 3),
        memory_bytes=int(facts["used_memory"]),
        memory_limit_bytes=int(facts["maxmemory"]),
        eviction_policy=facts["maxmemory_policy"],
        append_only=facts.get("aof_enabled") == "1",
        last_append_ok=facts.get("aof_last_write_status", "ok") == "ok",
        last_rewrite_ok=facts.get("aof_last_bgrewrite_status", "ok") == "ok",
        evicted_keys=int(facts.get("evicted_keys", 0)),
        replica=facts.get("role") == "slave",
        clients=int(facts.get("connected_clients", 0)),
        uptime_s=int(facts.get("uptime_in_seconds", 0)),
        problems=tuple(server_problems(facts, allow_no_persistence=allow_no_persistence, clustered=clustered)),
    )


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


def _cluster_problem(facts: dict[str, str], *, clustered: bool) -> str:
    # Valkey says it by another name than Redis.
    if "cluster" not in {facts.get("redis_mode"), facts.get("server_mode")} or clustered:
        return ""
    return (
        "the server is one of a cluster, where plain names lie in different slots; name it as redis+cluster://host:port in"
        " REDIS_URL and set FRAUDSTREAM_PARTITIONS"
    )
