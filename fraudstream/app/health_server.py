"""
What the state of the server means: may it lose our data, and does it take more.
"""

from collections.abc import Iterator

from fraudstream.app.findings import Finding, Level, Limits, size
from fraudstream.fleet.overview import ServerState

#: What to do about each kind of problem.
_REMEDIES = {
    "version": "upgrade to Redis 7.0, Valkey 7.2 or newer",
    "eviction": "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
    "persistence": "redis-cli CONFIG SET appendonly yes, and the same in its configuration file",
    "cluster": "name the cluster: redis+cluster://host:port in REDIS_URL, and FRAUDSTREAM_PARTITIONS",
}

#: Share of the admission limit from which on it is near.
_NEAR = 0.9


def judge_server(server: ServerState, limits: Limits) -> Iterator[Finding]:
    """
    Yield what there is to say of a server, also where all is well.
    """
    for problem in server.problems:
        yield Finding(level=Level.FAIL, about="redis", says=problem.says, command=_REMEDIES[problem.kind])
    yield from _troubles(server, limits)
    yield _memory(server, limits)
    if not server.problems:
        says = f"{server.name} {server.version} answered in {server.answer_ms:.1f} ms"
        yield Finding(level=Level.OK, about="redis", says=says)


def advise(server: ServerState) -> Iterator[Finding]:
    """
    Yield what would be better otherwise, though nothing is wrong now.
    """
    if not server.memory_limit_bytes:
        says = "maxmemory is not set: producers cannot be refused in time, and the kernel may kill Redis when memory ends"
        yield Finding(level=Level.WARN, about="memory", says=says, command="redis-cli CONFIG SET maxmemory <bytes>")


def _troubles(server: ServerState, limits: Limits) -> Iterator[Finding]:
    if server.replica:
        says = "this server is a replica: nothing can be written"
        yield Finding(level=Level.FAIL, about="redis", says=says, command="point REDIS_URL at the primary")
    if not server.last_append_ok:
        says = "the append-only file cannot be written: is the disk full?"
        yield Finding(level=Level.FAIL, about="redis", says=says, command="df -h; redis-cli INFO persistence")
    if not server.last_rewrite_ok:
        says = "the last rewrite of the append-only file failed; it only grows"
        yield Finding(level=Level.WARN, about="redis", says=says, command="df -h; redis-cli BGREWRITEAOF")
    if server.evicted_keys:
        says = f"{server.evicted_keys:,} keys were evicted since its start: states and transactions may be lost"
        yield Finding(level=Level.FAIL, about="redis", says=says, command=_REMEDIES["eviction"])
    if abs(server.clock_ahead_s) - server.answer_ms / 2000 > limits.clock_s:
        side = "ahead of" if server.clock_ahead_s > 0 else "behind"
        says = f"its clock is {abs(server.clock_ahead_s):.1f} s {side} ours"
        yield Finding(level=Level.WARN, about="redis", says=says, command="timedatectl   # on both machines")


def _memory(server: ServerState, limits: Limits) -> Finding:
    used, most = server.memory_bytes, server.memory_limit_bytes
    if not most:
        return Finding(level=Level.OK, about="memory", says=f"{size(used)} in use, without a limit")
    ratio = used / most / limits.memory_ratio
    says = f"{size(used)} of {size(most)} in use ({used / most:.0%})"
    says += f"; producers are refused above {limits.memory_ratio:.0%}"
    level = Level.FAIL if ratio > 1 else Level.WARN if ratio > _NEAR else Level.OK
    command = "" if level is Level.OK else "fraudstream streams; fraudstream lag; redis-cli CONFIG SET maxmemory <bytes>"
    return Finding(level=level, about="memory", says=says, command=command)
