"""
A fleet at full speed whose rules change all the time: is anything lost, does every decision name its rules, what pauses.
"""

import asyncio
import itertools
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.adapters.redis_stream import plain
from fraudstream.app.bench_calendar import WORLD_DAYS, Calendar
from fraudstream.app.bench_hold import Held, measure_hold
from fraudstream.app.connections import address
from fraudstream.app.demo import Progress
from fraudstream.app.loaded_fleet import (
    BY_TAKEOVERS,
    EVERY_LOOK,
    IN_TAKEOVERS,
    OWN,
    TAKEOVER_CPU,
    LoadedFleet,
    Looks,
    Stalls,
    loaded_fleet,
    looks_between,
    stalls_in,
)
from fraudstream.app.rule_files import RuleBench
from fraudstream.app.rule_sets import RuleDesk
from fraudstream.domain.decision import Decision
from fraudstream.domain.errors import InvalidRule
from fraudstream.producers.plan import DAY_MS
from fraudstream.producers.synthetic import generate
from fraudstream.rules.load import read_rules
from fraudstream.rules.ruleset import RuleSet
from fraudstream.settings import Settings, locate

#: Payments that are made up; the ids of the next round have another end.
_ROUND = 20_000
#: The time in a body.
_STAMP = re.compile(rb'"timestamp":"[^"]*"')
#: Decisions that are executed again at once.
_AGAIN_AT_ONCE = 2_048
#: Every so many pushes one is wrong, and must be refused.
_WRONG_EVERY = 10
#: Stretches of each kind, with pushes and without, in turns: what else a machine does comes and goes over a minute.
_TURNS = 10
#: How much whoever pushes gives way to the fleet.
_NICE = 10


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """
    One stretch at full speed, or several of a kind.

    ``stalls`` is what the clock says. ``own_stalls`` leaves out what the loops waited for a core that others had, as the
    scheduler counts it: at full speed there are more processes than cores.
    """

    seconds: float
    transactions_per_second: float
    stalls: Stalls
    own_stalls: Stalls


class Takeovers(msgspec.Struct, frozen=True, kw_only=True):
    """
    What taking rule sets over did to the loops of the workers.

    ``stalls`` are the looks that met a takeover, late for whatever reason; ``because`` is the most of each that the takeover
    can have caused: the time that the loop worked for it. ``longest_cpu_ms`` is the most that one set took in all its slices,
    as the upper bound of its bucket.
    """

    stalls: Stalls
    because: Stalls
    longest_cpu_ms: float | None


class ReloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a fleet did while its rules changed.

    ``applied`` counts sets that a worker took over, all workers together. ``refused`` are wrong sets that were refused with
    the place of the mistake. ``lost``, ``doubled``, ``unknown_rule_set`` and ``other_hits`` count decisions and must be 0:
    missing, made twice, naming a set that was never in force, and giving other hits when executed again by the set they name.
    ``without_pushes`` and ``with_pushes`` took turns, so that whatever else the machine did was the same for both.
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
    takeovers: Takeovers
    held: list[Held]

    @property
    def good(self) -> bool:
        """
        Whether nothing happened that must not: no wrong decision, and no takeover that held a worker up for 50 ms.
        """
        wrong = self.lost or self.doubled or self.degraded or self.unknown_rule_set or self.other_hits
        return not (wrong or self.takeovers.because.over["50_ms"])


async def bench_reload(
    *, pushes: int, every_s: float, baseline_s: float, inherited: Mapping[str, str], progress: Progress
) -> ReloadReport:
    """
    Push and activate so many rule sets on a busy fleet of our own, in turns with stretches without, and execute every decision
    again.

    Raises:
        ConfigurationError: A server of our own did not start.
    """
    progress.step("starting servers and workers")
    async with loaded_fleet(endless(), inherited=inherited) as fleet:
        with _Pusher(fleet, every_s) as pusher:
            stop = asyncio.Event()
            feeding = asyncio.create_task(fleet.busy(stop))
            await asyncio.sleep(3.0)  # the first batches pay for imports and caches
            calm, loud = Stretches(), Stretches()
            for number in range(_TURNS):
                progress.step(f"at full speed, without pushes and with, {number + 1} of {_TURNS}")
                await calm.add(fleet, asyncio.sleep(baseline_s / _TURNS))
                await loud.add(fleet, pusher.run(range(number * pushes // _TURNS, (number + 1) * pushes // _TURNS)))
            stop.set()
            await feeding
            await fleet.done()
        progress.step("executing every decision again")
        return await _report(fleet, pusher, calm, loud)


class Stretches:
    """
    What a busy fleet did in some stretches of one kind.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._sent = 0
        self._pages: list[tuple[list[str], list[str]]] = []

    async def add(self, fleet: LoadedFleet, work: Awaitable[None]) -> None:
        """
        Measure the fleet while something goes on.
        """
        before, sent, started = await fleet.pages(), fleet.sent, time.perf_counter()
        await work
        self._seconds += time.perf_counter() - started
        self._sent += fleet.sent - sent
        self._pages.append((before, await fleet.pages()))

    def phase(self) -> Phase:
        """
        Return what they were like, all together.
        """
        return Phase(
            seconds=round(self._seconds, 1),
            transactions_per_second=round(self._sent / self._seconds, 1),
            stalls=self.stalls(EVERY_LOOK),
            own_stalls=self.stalls(OWN),
        )

    def stalls(self, name: str) -> Stalls:
        """
        Return what one histogram of the workers says of them.
        """
        counts: Looks = Counter()
        for before, after in self._pages:
            counts.update(looks_between(before, after, name))
        return stalls_in(counts)


async def phase(fleet: LoadedFleet, work: Awaitable[None]) -> Phase:
    """
    Measure a busy fleet while something goes on.
    """
    stretches = Stretches()
    await stretches.add(fleet, work)
    return stretches.phase()


class _Pusher:
    """
    Somebody who changes the rules all the time, and is wrong now and then: a process of its own, as a person has one, that
    gives way to the fleet where both want the same core.
    """

    def __init__(self, fleet: LoadedFleet, every_s: float) -> None:
        settings = fleet.system.settings()
        self._work = Pushes(settings=settings, path=fleet.system.folder / "pushed.rules", every_s=every_s)
        self.source = read_rules(locate(settings.rules_path))
        self.bench = RuleBench(settings)
        self._process = ProcessPoolExecutor(1, get_context("spawn"), initializer=os.nice, initargs=(_NICE,))
        self.sources = [self.source]
        self.refused = 0

    def __enter__(self) -> Self:
        self._process.submit(sources_of, self.source, range(0)).result()  # it is there, and has imported everything
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown(cancel_futures=True)

    async def run(self, numbers: range) -> None:
        loop = asyncio.get_running_loop()
        self.refused += await loop.run_in_executor(self._process, push_all, self._work, numbers)
        self.sources += sources_of(self.source, numbers)

    def sets(self) -> dict[str, RuleSet]:
        loaded = (self.bench.load(source, name="again") for source in self.sources)
        return {rules.id: rules for rules in loaded}


class Pushes(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where to push to, by which file, and how many seconds apart.
    """

    settings: Settings
    path: Path
    every_s: float


def push_all(work: Pushes, numbers: range) -> int:
    """
    Push and activate the sets of these numbers; return how many wrong ones were refused with the place of the mistake.
    """
    return asyncio.run(_push_all(work, numbers))


async def _push_all(work: Pushes, numbers: range) -> int:
    file = locate(work.settings.rules_path)
    source, refused = read_rules(file), 0
    async with connected(address(work.settings)) as client:
        desk = RuleDesk(RedisRuleSets(plain(client)), RuleBench(work.settings), "bench", file=file, four_eyes=False)
        for number, changed in zip(numbers, sources_of(source, numbers), strict=True):
            due = time.monotonic() + work.every_s
            if number % _WRONG_EVERY == 0:
                refused += await _push_wrong(desk, _written(work.path, f"{source}\nrule wrong block if\n"))
            pushed = await desk.push(_written(work.path, changed), reason=f"push {number}")
            await desk.activate(pushed.rule_set, reason="on")
            await asyncio.sleep(max(0.0, due - time.monotonic()))
    return refused


async def _push_wrong(desk: RuleDesk, path: Path) -> bool:
    try:
        await desk.push(path, reason="wrong")
    except InvalidRule as exc:
        return bool(exc.places)
    return False


def sources_of(source: str, numbers: range) -> list[str]:
    """
    Return the sets of these numbers: the rules in force and one more.
    """
    return [f"{source}\nrule push_{number} score +1 if :amount: > {number + 1}\n" for number in numbers]


async def _report(fleet: LoadedFleet, pusher: _Pusher, calm: Stretches, loud: Stretches) -> ReloadReport:
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
        without_pushes=calm.phase(),
        with_pushes=loud.phase(),
        takeovers=Takeovers(
            stalls=loud.stalls(IN_TAKEOVERS),
            because=loud.stalls(BY_TAKEOVERS),
            longest_cpu_ms=loud.stalls(TAKEOVER_CPU).longest_ms,
        ),
        held=await asyncio.to_thread(measure_hold, pusher.bench, pusher.source),
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
    Return synthetic payments without end: one round made up, its ids told apart from round to round, each round after the other
    in event time.
    """
    made = [(_STAMP.sub(b'"timestamp":%.3f', one.body), one.occurred_at_ms) for one in generate(Calendar().world(_ROUND))]
    for number in itertools.count():
        later_ms = number * WORLD_DAYS * DAY_MS
        for body, at_ms in made:
            yield (body % ((at_ms + later_ms) / 1000)).replace(b'"transaction_id":"', b'"transaction_id":"%d_' % number, 1)


def _written(path: Path, source: str) -> Path:
    path.write_text(source, encoding="utf-8")
    return path
