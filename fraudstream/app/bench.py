"""
End to end under load: transactions per second from XADD to committed row, latency at a constant rate, and who used the CPU.
"""

import os
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from fraudstream.adapters.postgres_account import stored
from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.redis_account import waiting
from fraudstream.adapters.redis_client import connected
from fraudstream.app.connections import address, intake
from fraudstream.app.demo import Progress, settle
from fraudstream.app.local_system import DEMO_GROUPS, LocalSystem
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.produce import produce
from fraudstream.producers.synthetic import generate

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long and how hard: ``rate_per_s`` for ``seconds`` for the latency, then ``burst`` transactions at once for throughput.
    """

    rate_per_s: float = 2_000.0
    seconds: float = 10.0
    burst: int = 60_000
    inherited: dict[str, str] = {}
    commit: str = ""


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The figures of one run on one machine.

    ``throughput_tps`` counts the burst, from its first XADD to its last committed row. ``latency_ms`` is from
    XADD to decision at ``rate_tps``. ``cpu_us_per_transaction`` and ``rss_mb`` are per kind of process, over the burst.
    """

    machine: str
    commit: str
    topology: list[str]
    seconds: float
    transactions: int
    throughput_tps: float
    rate_tps: float
    latency_ms: dict[str, float]
    degraded: int
    lag_end: int
    cpu_us_per_transaction: dict[str, float]
    rss_mb: dict[str, float]


async def run_bench(plan: BenchPlan, progress: Progress) -> BenchReport:
    """
    Measure a system of our own: AOF everysec, deduplication, database, deadline, shipped rules and model, all on.

    Raises:
        ConfigurationError: A server of our own did not start.
        TransientError: The system stopped moving.
    """
    calm = int(plan.rate_per_s * plan.seconds)
    bodies = list(generate(demo_plan(end_ms=int(time.time() * 1000), transactions=calm + plan.burst)))
    progress.step("starting servers and workers")
    with LocalSystem(inherited=plan.inherited, deadline_ms=250, horizon_s=0) as system:
        await migrate(system.postgres.url)
        system.start_workers()
        await _send(system, bodies[:200], None, progress)  # the first batches pay for imports and compilation
        quiet = await _phase(system, bodies[200:calm], plan.rate_per_s, progress)
        before = _usage(system)
        loud = await _phase(system, bodies[calm:], None, progress)
        cpu, rss = _difference(before, _usage(system), len(bodies) - calm)
        return BenchReport(
            machine=_machine(),
            commit=plan.commit,
            topology=[f"1 x {group}" for group in DEMO_GROUPS],
            seconds=round(loud.wall_s, 2),
            transactions=loud.recorded,
            throughput_tps=round(loud.recorded / loud.wall_s, 1),
            rate_tps=plan.rate_per_s,
            latency_ms={
                name: round(value, 2) for name, value in zip(("p50", "p95", "p99", "p999"), quiet.latency_ms, strict=True)
            },
            degraded=quiet.degraded + loud.degraded,
            lag_end=loud.lag_end,
            cpu_us_per_transaction=cpu,
            rss_mb=rss,
        )


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one stretch of load gave.
    """

    wall_s: float
    recorded: int
    degraded: int
    lag_end: int
    latency_ms: list[float]


async def _phase(system: LocalSystem, bodies: Sequence[Labelled], rate_per_s: float | None, progress: Progress) -> Phase:
    started, since = time.monotonic(), datetime.now(UTC) - timedelta(milliseconds=5)
    await _send(system, bodies, rate_per_s, progress)
    wall_s = time.monotonic() - started
    rows = await stored(system.postgres.url, since)
    async with connected(address(system.settings())) as client:
        lag = sum((await waiting(client, DEMO_GROUPS)).values())
    return Phase(
        wall_s=wall_s, recorded=rows["recorded"], degraded=rows["degraded"], lag_end=lag, latency_ms=rows["latency_ms"]
    )


async def _send(system: LocalSystem, bodies: Iterable[Labelled], rate_per_s: float | None, progress: Progress) -> None:
    """
    Send and wait until all of it is recorded.
    """
    async with intake(system.settings()) as target:
        done = await produce(bodies, target, rate_per_s=rate_per_s)
    await settle(system, done.appended, progress)


def _usage(system: LocalSystem) -> dict[str, tuple[float, float]]:
    """
    Return CPU seconds and resident megabytes per kind of process, the producer (this process) included.
    """
    pids = {worker.groups: worker.pid for worker in system.workers}
    pids |= {"redis": system.valkey.pid, "postgres": system.postgres.pid, "producer": os.getpid()}
    return {name.replace("-", "_"): _of_family(pid, alone=name == "producer") for name, pid in pids.items()}


def _of_family(pid: int, *, alone: bool) -> tuple[float, float]:
    family = [pid] if alone else [pid, *_descendants(pid)]
    return sum(map(_cpu_s, family)), sum(map(_rss_mb, family))


def cpu_s(pid: int) -> float:
    """
    Return the CPU seconds that a process and its descendants have used so far.
    """
    return sum(map(_cpu_s, [pid, *_descendants(pid)]))


def _stat(pid: int) -> list[str]:
    """
    Return the fields of /proc/<pid>/stat after the name, or none when the process has gone.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    # utime, stime, and those of children that have been waited for: PostgreSQL's backends come and go.
    return sum(map(int, fields[11:15])) / _TICKS_PER_S if fields else 0.0


def _rss_mb(pid: int) -> float:
    fields = _stat(pid)
    return int(fields[21]) * _PAGE_BYTES / 1e6 if fields else 0.0


def _descendants(pid: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) and int(fields[1]) == pid:
            yield int(entry.name)
            yield from _descendants(int(entry.name))


def _difference(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]], transactions: int
) -> tuple[dict[str, float], dict[str, float]]:
    cpu = {name: round((after[name][0] - before[name][0]) * 1e6 / transactions, 1) for name in after}
    return cpu, {name: round(after[name][1], 1) for name in after}


def _machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
