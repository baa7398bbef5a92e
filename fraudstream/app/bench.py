"""
End to end under load: the highest constant rate that keeps lag flat, latency at a given rate, and who used the CPU.
"""

import os
import platform
from pathlib import Path

import msgspec
import numpy as np

from fraudstream.app.bench_calendar import Calendar
from fraudstream.app.bench_load import Payments, Stretch, stretch
from fraudstream.app.bench_peer import peer_throughput
from fraudstream.app.bench_system import RULES, bench_system, processes_of
from fraudstream.app.demo import Progress
from fraudstream.app.local_system import LocalSystem
from fraudstream.domain.errors import TransientError

#: What the first batches of new processes cost more than later ones is paid by these.
_WARM_UP = 3_000
#: By what a rate is lowered, at the least, that held in its trial and not in the measurement; the share that is tried of what
#: it came to, drained to the end; and how often.
_STEP_DOWN, _BELOW_DONE, _MEASUREMENTS = 0.93, 0.97, 6
#: What an operator sets who wants throughput before all else: what a batch costs at all is shared by more payments, and more
#: are on their way to Redis while others are computed. Loops then stand still for longer than by default.
TUNED = {"FRAUDSTREAM_BATCH_ENTRIES": "512", "FRAUDSTREAM_BATCHES_IN_HAND": "3"}
#: Where the append-only file is rewritten from on. Below, a second process had one core of two for ten seconds every 105 at
#: 7,700/s, and payments came up to three seconds late; with this none falls into five minutes.
_REWRITE_FROM = "32gb"
_PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    How long and how hard: ``rate_per_s`` for ``seconds`` for the latency, then ``throughput_s`` at the highest rate that holds.

    Which rate that is, ``burst`` transactions at once and trials of ``trial_s`` at these ``shares`` of what they gave tell, the
    highest first. ``processes`` is how many of each deciding group run, over so many ``partitions``: a single one serves both,
    unless they are to be ``apart``. ``peer`` is the script of the same job written otherwise, to be measured in the same run.
    """

    rate_per_s: float = 5_000.0
    seconds: float = 60.0
    throughput_s: float = 300.0
    burst: int = 30_000
    trial_s: float = 12.0
    shares: tuple[float, ...] = (1.1, 1.0, 0.92, 0.84, 0.76, 0.68, 0.6, 0.5, 0.4)
    processes: int = 1
    apart: bool = False
    partitions: int = 1
    peer: Path | None = None
    inherited: dict[str, str] = {}
    commit: str = ""


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The figures of one run on one machine.

    ``throughput_tps`` is the highest constant rate found at which lag stayed flat and no decision was degraded, over
    ``seconds`` and ``transactions``, from XADD to committed row; 0 when none held. ``settings`` are those that differ from the
    defaults. ``latency_ms`` is from the moment each was
    due to its decision at ``rate_tps``; ``latency_held`` says whether that rate was kept at all. ``degraded`` and ``lag_end``
    are of the throughput; ``trials`` are the rates that were tried. CPU and memory are per kind of process, of the throughput.
    ``burst_tps`` and ``peer_throughput_tps`` (None when there was no comparison) are both of a burst: as much as is at hand.
    """

    machine: str
    commit: str
    server: str
    topology: list[str]
    settings: dict[str, str]
    rules: int
    seconds: float
    transactions: int
    throughput_tps: float
    rate_tps: float
    latency_ms: dict[str, float]
    latency_held: bool
    latency_degraded: int
    degraded: int
    lag_end: int
    burst_tps: float
    trials: list[dict[str, float | bool]]
    cpu_us_per_transaction: dict[str, float]
    rss_mb: dict[str, float]
    peer_throughput_tps: float | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """
    The report, and the stretches that it was made from.
    """

    report: BenchReport
    calm: Stretch
    steady: Stretch


async def run_bench(plan: BenchPlan, progress: Progress) -> Measured:
    """
    Measure a system of our own: AOF everysec, deduplication, database, deadline, fifty rules and the shipped model, all on.

    Raises:
        ConfigurationError: A server of our own did not start.
        TransientError: The system stopped moving.
    """
    groups = processes_of(plan.processes, apart=plan.apart)
    more = ("--auto-aof-rewrite-min-size", _REWRITE_FROM)
    async with bench_system(
        plan.inherited, groups, progress, partitions=plan.partitions, settings=TUNED, server_arguments=more
    ) as system:
        measured = await _Bench(plan, system, progress).run(groups)
    if plan.peer is None:
        return measured
    progress.step("the same job, written the ordinary way")
    try:
        peer_tps = await peer_throughput(plan.peer, plan.burst, plan.inherited, progress)
    except TransientError as exc:
        progress.step(f"not compared: {exc}")  # ten minutes of our own figures are not thrown away for it
        return measured
    return msgspec.structs.replace(measured, report=msgspec.structs.replace(measured.report, peer_throughput_tps=peer_tps))


class _Bench:
    """
    One run over a system that is up.
    """

    def __init__(self, plan: BenchPlan, system: LocalSystem, progress: Progress) -> None:
        self._plan = plan
        self._system = system
        self._progress = progress
        self._trials: list[dict[str, float | bool]] = []
        self._calendar = Calendar()

    async def run(self, groups: list[str]) -> Measured:
        plan = self._plan
        calm = await self._at(plan.rate_per_s, plan.seconds, warm_up=_WARM_UP, what=f"latency at {plan.rate_per_s:,.0f}/s")
        burst = await self._at(None, 0.0, warm_up=0, what="what it can do at most")
        steady = await self._steady(burst.recorded_tps)
        held = steady.flat
        report = BenchReport(
            machine=machine(),
            commit=plan.commit,
            server=f"{self._system.valkey.name_and_allocator}, append-only file rewritten from {_REWRITE_FROM} on",
            topology=[f"{groups.count(one)} x {one}" for one in dict.fromkeys(groups)],
            settings=TUNED,
            rules=RULES,
            seconds=steady.seconds,
            transactions=steady.recorded,
            throughput_tps=round(steady.recorded / steady.seconds, 1) if held else 0.0,
            rate_tps=plan.rate_per_s,
            latency_ms={name: round(float(np.percentile(calm.latency_ms, at)), 2) for name, at in _PERCENTILES.items()},
            latency_held=calm.flat,
            latency_degraded=calm.degraded,
            degraded=steady.degraded,
            lag_end=steady.lag_end,
            burst_tps=burst.recorded_tps,
            trials=self._trials,
            cpu_us_per_transaction=steady.after.micros_since(steady.before, max(1, steady.recorded)),
            rss_mb=dict(steady.after.rss_mb),
        )
        return Measured(report=report, calm=calm, steady=steady)

    async def _steady(self, most_tps: float) -> Stretch:
        """
        Look for the highest rate that holds for a short while, then hold it for as long as the plan says.
        """
        rate = most_tps * self._plan.shares[-1]
        for share in self._plan.shares:
            trial = await self._at(
                most_tps * share, self._plan.trial_s, warm_up=0, what=f"does {most_tps * share:,.0f}/s hold?"
            )
            self._note(trial)
            if trial.flat:
                rate = trial.rate_tps
                break
        for _ in range(_MEASUREMENTS):
            found = await self._at(rate, self._plan.throughput_s, warm_up=0, what=f"throughput at {rate:,.0f}/s")
            self._note(found)
            if found.flat:
                break
            rate = min(rate * _STEP_DOWN, found.recorded_tps * _BELOW_DONE)
        return found

    def _note(self, found: Stretch) -> None:
        self._trials.append(
            {"rate_tps": round(found.rate_tps, 1), "seconds": found.seconds, "held": found.flat,
             "degraded": found.degraded, "lag_end": found.lag_end, "behind_s": found.behind_s}
        )  # fmt: skip

    async def _at(self, rate: float | None, seconds: float, *, warm_up: int, what: str) -> Stretch:
        count = self._plan.burst if rate is None else round(rate * seconds)
        payments = Payments(self._system.folder / "payments.jsonl", warm_up + count, self._progress, self._calendar)
        try:
            if warm_up:
                await stretch(self._system, payments, warm_up, None, self._progress)
            self._progress.step(what)
            return await stretch(self._system, payments, count, rate, self._progress)
        finally:
            payments.close()


def machine() -> str:
    """
    Return what this machine is, in one line.
    """
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
