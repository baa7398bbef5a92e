"""
More than a system can do, for long: does its memory stay where it is, and what are producers told?
"""

import re
from collections import Counter

import msgspec

from fraudstream.adapters.postgres_account import counted
from fraudstream.adapters.redis_account import limit_memory
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_keys import RAW
from fraudstream.app.bench import machine
from fraudstream.app.bench_load import Payments, stretch
from fraudstream.app.bench_samples import REDIS, REDIS_DATA, REDIS_RESIDENT, Sample, Sampler, Trend, as_if_even, trend
from fraudstream.app.bench_system import bench_system, processes_of
from fraudstream.app.bench_world import rounds
from fraudstream.app.connections import address, intake
from fraudstream.app.demo import Progress, settle
from fraudstream.app.local_system import LocalSystem
from fraudstream.domain.errors import TransientError
from fraudstream.producers.produce import Produced, produce

#: What grows by design ends here: the record of a decided transaction lives for 301 s in this system.
_RECORDS_S = 301
#: What memory may grow by over the second half: a part of itself, or so many megabytes. Redis lets up to a tenth of what has
#: expired lie, by default, and what has begins to be there with the second half.
_MEMORY_SHARE, _REDIS_SHARE, _MEMORY_MB = 0.05, 0.1, 8.0
_WARM_UP = 3_000
#: Between two looks of the admission (0.5 s) one producer can append so many, and the janitor leaves what was done in a second.
_BETWEEN_LOOKS = 20_000
_NUMBER = re.compile(r"\d+%?")


class BoundsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    ``share`` of what the system can do is offered for ``seconds``.

    What it can do is ``capacity_tps``, or what ``burst`` payments at once tell where that is 0. Producers are refused while
    ``lag_limit_entries`` wait, or ``memory_limit_ratio`` (a setting) of ``memory_mb`` is in use.
    """

    seconds: float = 600.0
    share: float = 1.2
    capacity_tps: float = 0.0
    burst: int = 20_000
    lag_limit_entries: int = 20_000
    memory_mb: int = 2_048
    processes: int = 1
    inherited: dict[str, str] = {}
    commit: str = ""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a producer was told, in the words of the last time, and how often it was told so.
    """

    words: str
    times: int


class BoundsReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What came of it. ``accepted_tps`` is what the intake took; a producer that was refused waited, ``waited_s`` altogether.

    ``flat`` is None where the run was too short for it: what is kept of each transaction lives for ``records_live_s``, and the
    second half must begin after that. ``longest_raw`` is what lay in the raw stream at most, ``raw_bound`` what may.
    """

    machine: str
    commit: str
    server: str
    topology: list[str]
    seconds: float
    capacity_tps: float
    offered_tps: float
    accepted_tps: float
    accepted: int
    refused: list[Refusal]
    waited_s: float
    lag_limit_entries: int
    records_live_s: int
    longest_raw: int
    raw_bound: int
    recorded: int
    lost: int
    doubled: int
    degraded: int
    flat: bool | None
    trends: list[Trend]
    samples: list[Sample]

    @property
    def good(self) -> bool:
        """
        Whether nothing was lost or doubled, the raw stream stayed within its bound, and memory did not grow.
        """
        return not self.lost and not self.doubled and self.longest_raw <= self.raw_bound and self.flat is not False


async def run_bench_bounds(plan: BoundsPlan, progress: Progress) -> BoundsReport:
    """
    Overload a system of our own and look at it every second.

    Raises:
        ConfigurationError: A server of our own did not start.
        TransientError: The system stopped moving.
    """
    groups = processes_of(plan.processes)
    short = {"FRAUDSTREAM_DEDUP_ANY_AGE_S": "1"}
    async with bench_system(plan.inherited, groups, progress, settings=short) as system:
        capacity = plan.capacity_tps or await _capacity(system, plan.burst, progress)
        async with connected(address(system.settings()), connections=1) as client:
            await limit_memory(client, plan.memory_mb * 1_000_000)
        offered = capacity * plan.share
        progress.step(f"offering {offered:,.0f}/s, {plan.share:.0%} of {capacity:,.0f}/s, for {plan.seconds:,.0f} s")
        before, refused = await counted(system.postgres.url), _Refused()
        async with Sampler(system, told=lambda one: _tell(one, plan, progress)) as sampler:
            sent = await _offer(system, plan, offered, refused)
        await settle(system, sent.appended, progress, told=False)
        after = await counted(system.postgres.url)
        server = system.valkey.name_and_allocator
    longest = max(one.streams.get(RAW, 0) for one in sampler.samples)
    curves = trends(sampler.samples)
    recorded = after.transactions - before.transactions
    return BoundsReport(
        machine=machine(),
        commit=plan.commit,
        server=server,
        topology=[f"{groups.count(one)} x {one}" for one in dict.fromkeys(groups)],
        seconds=round(sent.elapsed_s, 1),
        capacity_tps=round(capacity, 1),
        offered_tps=round(offered, 1),
        accepted_tps=round(sent.appended / sent.elapsed_s, 1),
        accepted=sent.appended,
        refused=refused.all(),
        waited_s=round(sent.waited_s, 1),
        lag_limit_entries=plan.lag_limit_entries,
        records_live_s=_RECORDS_S,
        longest_raw=longest,
        raw_bound=round(plan.lag_limit_entries + _BETWEEN_LOOKS + capacity),
        recorded=recorded,
        lost=sent.appended - recorded,
        doubled=(after.rows - after.transactions) - (before.rows - before.transactions),
        degraded=after.degraded - before.degraded,
        flat=all(one.flat for one in curves) if plan.seconds >= 2 * _RECORDS_S - 2 else None,
        trends=curves,
        samples=sampler.samples,
    )


async def _capacity(system: LocalSystem, burst: int, progress: Progress) -> float:
    payments = Payments(system.folder / "payments.jsonl", _WARM_UP + burst, progress)
    try:
        await stretch(system, payments, _WARM_UP, None, progress)
        progress.step("what it can do at most")
        return (await stretch(system, payments, burst, None, progress)).recorded_tps
    finally:
        payments.close()


async def _offer(system: LocalSystem, plan: BoundsPlan, offered: float, refused: "_Refused") -> Produced:
    source = rounds(round(offered * plan.seconds), seconds=plan.seconds)
    settings = msgspec.structs.replace(system.settings(), lag_limit_entries=plan.lag_limit_entries)
    async with intake(settings) as target:
        return await produce(source, target, rate_per_s=offered, waiting=refused.note)


def _tell(sample: Sample, plan: BoundsPlan, progress: Progress) -> None:
    progress.count("seconds", min(round(sample.at_s), round(plan.seconds)), round(plan.seconds))


class _Refused:
    """
    What a producer was told, each sentence once whatever its numbers.
    """

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()
        self._last: dict[str, str] = {}

    def note(self, why: TransientError, _pause_s: float) -> None:
        kind = _NUMBER.sub("…", str(why))
        self._times[kind] += 1
        self._last[kind] = str(why)

    def all(self) -> list[Refusal]:
        return [Refusal(words=self._last[kind], times=times) for kind, times in self._times.most_common()]


def trends(samples: list[Sample]) -> list[Trend]:
    """
    Return the data in Redis and the memory of each worker as curves; the rest of Redis is left to the samples: the tables by
    which keys are found double when they are full, 68 MB at once with 1.5 million.

    The line through that of Redis is as if as many payments had always been remembered as in the end: see ``as_if_even``.
    """
    names = [REDIS_DATA, *(name for name in samples[0].memory_mb if name not in (REDIS, REDIS_DATA, REDIS_RESIDENT))]
    return [
        trend(
            name, "MB", [(one.at_s, one.memory_mb[name]) for one in samples if name in one.memory_mb],
            share=_REDIS_SHARE if name == REDIS_DATA else _MEMORY_SHARE, least=_MEMORY_MB,
            even=as_if_even(samples, _RECORDS_S) if name == REDIS_DATA else None,
        )
        for name in names
    ]  # fmt: skip
