"""
Transactions per second with more processes per group and more partitions: where a machine of so many cores ends.
"""

from collections.abc import Mapping, Sequence

import msgspec

from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_cost import flow
from fraudstream.app.bench import machine
from fraudstream.app.bench_calendar import Calendar
from fraudstream.app.bench_load import Payments, stretch
from fraudstream.app.bench_system import bench_system
from fraudstream.app.connections import address
from fraudstream.app.demo import Progress
from fraudstream.app.local_system import DEMO_GROUPS

_WARM_UP, _TRIAL = 3_000, 6_000


class Scaled(msgspec.Struct, frozen=True, kw_only=True):
    """
    One size: ``throughput_tps`` from XADD to committed row, as much as is at hand; CPU by kind of process.

    ``redis_bytes`` are those of each transaction: ``came`` and ``went`` over its sockets, ``appended`` to its file, ``held``
    more in memory at the end.
    """

    processes: int
    partitions: int
    transactions: int
    seconds: float
    throughput_tps: float
    cpu_us_per_transaction: dict[str, float]
    rss_mb: dict[str, float]
    redis_bytes: dict[str, float]


class ScalingReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    All sizes, one after the other, each with a system of its own.
    """

    machine: str
    commit: str
    server: str
    runs: list[Scaled]


async def run_bench_scaling(
    scales: Sequence[tuple[int, int]], *, seconds: float, inherited: Mapping[str, str], commit: str, progress: Progress
) -> ScalingReport:
    """
    Give each size as much as it takes in about so many seconds.

    Args:
        scales: Processes per group, and partitions.
        seconds: Of each.
        inherited: What the processes need of our environment.
        commit: What is measured.
        progress: Told what takes a moment.

    Raises:
        ConfigurationError: A server of our own did not start.
        TransientError: The system stopped moving.
    """
    runs, server = [], ""
    for count, partitions in scales:
        async with bench_system(inherited, DEMO_GROUPS * count, progress, partitions=partitions) as system:
            progress.step(f"{count} of each group, {partitions} partitions")
            server = system.valkey.name_and_allocator
            payments = Payments(system.folder / "trial.jsonl", _WARM_UP + _TRIAL, progress, calendar := Calendar())
            await stretch(system, payments, _WARM_UP, None, progress)
            trial = await stretch(system, payments, _TRIAL, None, progress)
            payments.close()
            wanted = max(_TRIAL, round(trial.recorded_tps * seconds))
            payments = Payments(system.folder / "payments.jsonl", wanted, progress, calendar)
            async with connected(address(system.settings()), connections=1) as client:
                before = await flow(client)
                done = await stretch(system, payments, wanted, None, progress)
                after = await flow(client)
            payments.close()
        runs.append(
            Scaled(
                processes=count,
                partitions=partitions,
                transactions=done.recorded,
                seconds=round(done.recorded / done.recorded_tps, 1),
                throughput_tps=done.recorded_tps,
                cpu_us_per_transaction=done.after.micros_since(done.before, done.transactions),
                rss_mb=dict(done.after.rss_mb),
                redis_bytes=after.since(before, done.transactions),
            )
        )
    return ScalingReport(machine=machine(), commit=commit, server=server, runs=runs)
