"""
A fleet at full speed whose rules change all the time: is anything lost, does every decision name its rules, what pauses.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from fraudstream.app.bench_hold import Held, measure_hold
from fraudstream.app.demo import Progress
from fraudstream.app.loaded_fleet import LoadedFleet, Stalls, loaded_fleet, stalls_between
from fraudstream.app.rule_files import RuleBench
from fraudstream.app.rule_sets import RuleDesk
from fraudstream.domain.decision import Decision
from fraudstream.domain.errors import InvalidRule
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate
from fraudstream.rules.load import read_rules
from fraudstream.rules.ruleset import RuleSet
from fraudstream.settings import locate

#: Payments that are made up; the ids of the next round have another end.
_ROUND = 20_000
#: Decisions that are executed again at once.
_AGAIN_AT_ONCE = 2_048
#: Every so many pushes one is wrong, and must be refused.
_WRONG_EVERY = 10


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """
    One stretch at full speed.
    """

    seconds: float
    transactions_per_second: float
    stalls: Stalls


class ReloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a fleet did while its rules changed.

    ``applied`` counts sets that a worker took over, all workers together. ``refused`` are wrong sets that were refused with
    the place of the mistake. ``lost``, ``doubled``, ``unknown_rule_set`` and ``other_hits`` count decisions and must be 0:
    missing, made twice, naming a set that was never in force, and giving other hits when executed again by the set they name.
    """

    pushes: int
    refused: int
    applied: int
    rule_sets_seen: int
    transactions: int
    lost: int
    doubled: int
    degraded: int
    unknown_rule_set: int
    other_hits: int
    without_pushes: Phase
    with_pushes: Phase
    held: Held

    @property
    def good(self) -> bool:
        """
        Whether nothing happened that must not.
        """
        return not (self.lost or self.doubled or self.degraded or self.unknown_rule_set or self.other_hits)


async def bench_reload(
    *, pushes: int, every_s: float, baseline_s: float, inherited: Mapping[str, str], progress: Progress
) -> ReloadReport:
    """
    Push and activate so many rule sets on a busy fleet of our own, and execute every decision again.

    Raises:
        ConfigurationError: A server of our own did not start.
    """
    progress.step("starting servers and workers")
    async with loaded_fleet(endless(), inherited=inherited) as fleet:
        stop = asyncio.Event()
        feeding = asyncio.create_task(fleet.busy(stop))
        await asyncio.sleep(3.0)  # the first batches pay for imports and caches
        progress.step("at full speed, without pushes")
        calm = await phase(fleet, asyncio.sleep(baseline_s))
        progress.step("at full speed, with pushes")
        pusher = _Pusher(fleet, every_s)
        loud = await phase(fleet, pusher.run(pushes))
        stop.set()
        await feeding
        await fleet.done()
        progress.step("executing every decision again")
        return await _report(fleet, pusher, calm, loud)


class _Pusher:
    """
    Somebody who changes the rules all the time, and is wrong now and then.
    """

    def __init__(self, fleet: LoadedFleet, every_s: float) -> None:
        settings = fleet.system.settings()
        bench = RuleBench(settings)
        self._file = locate(settings.rules_path)
        self._source = read_rules(self._file)
        self._path = fleet.system.folder / "pushed.rules"
        self._desk = RuleDesk(fleet.redis.rule_sets, bench, "bench", file=self._file, four_eyes=False)
        self.bench = bench
        self._every_s = every_s
        self.sources = [self._source]
        self.refused = 0

    async def run(self, pushes: int) -> None:
        for number in range(pushes):
            due = time.monotonic() + self._every_s
            if number % _WRONG_EVERY == 0:
                await self._push_wrong()
            source = f"{self._source}\nrule push_{number} score +1 if :amount: > {number + 1}\n"
            pushed = await self._desk.push(_written(self._path, source), reason=f"push {number}")
            await self._desk.activate(pushed.rule_set, reason="on")
            self.sources.append(source)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _push_wrong(self) -> None:
        try:
            await self._desk.push(_written(self._path, f"{self._source}\nrule wrong block if\n"), reason="wrong")
        except InvalidRule as exc:
            self.refused += bool(exc.places)

    def sets(self) -> dict[str, RuleSet]:
        loaded = (self.bench.load(source, name="again") for source in self.sources)
        return {rules.id: rules for rules in loaded}


async def phase(fleet: LoadedFleet, work: Awaitable[None]) -> Phase:
    """
    Measure a busy fleet while something goes on.
    """
    before, sent, started = await fleet.pages(), fleet.sent, time.perf_counter()
    await work
    seconds = time.perf_counter() - started
    return Phase(
        seconds=round(seconds, 1),
        transactions_per_second=round((fleet.sent - sent) / seconds, 1),
        stalls=stalls_between(before, await fleet.pages()),
    )


async def _report(fleet: LoadedFleet, pusher: _Pusher, calm: Phase, loud: Phase) -> ReloadReport:
    sets = pusher.sets()
    times: Counter[str] = Counter()
    seen: set[str] = set()
    waiting: defaultdict[str, list[Decision]] = defaultdict(list)
    unknown = other = degraded = 0
    async for decision in fleet.redis.decisions():
        times[decision.transaction.transaction_id] += 1
        degraded += bool(decision.degraded)
        if decision.rule_set not in sets:
            unknown += 1
            continue
        seen.add(decision.rule_set)
        held = waiting[decision.rule_set]
        held.append(decision)
        if len(held) >= _AGAIN_AT_ONCE:
            other += _other_hits(sets[decision.rule_set], waiting.pop(decision.rule_set))
    other += sum(_other_hits(sets[rule_set], held) for rule_set, held in waiting.items())
    pages = await fleet.pages()
    return ReloadReport(
        pushes=len(pusher.sources) - 1,
        refused=pusher.refused,
        applied=sum(_applied(page) for page in pages),
        rule_sets_seen=len(seen),
        transactions=fleet.sent,
        lost=fleet.sent - len(times),
        doubled=sum(count - 1 for count in times.values()),
        degraded=degraded,
        unknown_rule_set=unknown,
        other_hits=other,
        without_pushes=calm,
        with_pushes=loud,
        held=await asyncio.to_thread(measure_hold, pusher.bench, pusher.sources[0]),
    )


def _other_hits(rules: RuleSet, decisions: Sequence[Decision]) -> int:
    """
    Count decisions whose hits are not what the rules say of the recorded vector.
    """
    matrix = np.frombuffer(b"".join(one.vector for one in decisions), "<f4").reshape(len(decisions), -1)
    rows = rules.evaluate([one.transaction for one in decisions], matrix)
    return sum(
        (row.hits, row.shadow_hits) != (one.rule_hits, one.shadow_hits) for row, one in zip(rows, decisions, strict=True)
    )


def _applied(page: str) -> int:
    found = [line for line in page.splitlines() if line.startswith("fraudstream_ruleset_applies_total ")]
    return int(float(found[0].split()[1])) if found else 0


def endless() -> Iterator[bytes]:
    """
    Return synthetic payments without end: one round made up, its ids told apart from round to round.
    """
    end_ms = int(time.time() * 1000)
    made = [one.body for one in generate(demo_plan(end_ms=end_ms, transactions=_ROUND))]
    number = 0
    while True:
        for body in made:
            yield body.replace(b'"transaction_id":"', b'"transaction_id":"%d_' % number, 1)
        number += 1


def _written(path: Path, source: str) -> Path:
    path.write_text(source, encoding="utf-8")
    return path
