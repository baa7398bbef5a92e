"""
One run from the first server to the report.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from fraudstream.adapters.postgres_books import recorded
from fraudstream.adapters.redis_books import consumers, forget_the_dead, letters, ownerless, values
from fraudstream.app.demo import Progress
from fraudstream.chaos.books import Evidence, Findings, audit
from fraudstream.chaos.changes import other_model
from fraudstream.chaos.faults import cause
from fraudstream.chaos.plan import AGAIN, HEAVY, Fault, Profile, beats
from fraudstream.chaos.stage import DEADLINE_MS, Stage
from fraudstream.chaos.traffic import Item, Poison, raising, traffic
from fraudstream.features.load import load_features
from fraudstream.fleet.crash import POINTS
from fraudstream.settings import Settings, locate

#: Longest wait for people to be told, once everything is decided, in seconds.
_TELLING_S = 45.0
#: Most beats that are added to either half of a run because a labelled place was not passed often enough.
_ENCORES = 40
#: Most faults of a kind that are repeated in one of these.
_AT_ONCE = 3
#: How many times the end of all work is waited for before the second half, on a machine that is busy with other things.
_PATIENCE = 3
#: Share of payments that are kept for those.
_SPARE = 0.2
#: How long one that was killed a moment ago may still count as alive, in seconds: longer than the life of a heartbeat.
_LAST_BEAT_S = 3.0
#: Labelled places that only few groups pass; the others are passed by both deciding groups.
_GROUPS_OF = {
    **dict.fromkeys(("recording", "inserted", "recorded"), ("recorder",)),
    **dict.fromkeys(("sending", "sent", "settled"), ("alerter",)),
    "labelled": ("labels",),
    "acknowledged": ("recorder", "labels"),
    "claimed": ("fraud-check", "ml-scoring", "recorder"),
}
_DECIDING = ("fraud-check", "ml-scoring")
#: Places that are passed seldom: everybody who may pass is told to die there.
_SELDOM = frozenset(("given_up", "later", "buried", "stepped_in", "labelled"))
#: Places that are passed only with the decision deadline on, and only with it off.
_ONLY_WITH, _ONLY_WITHOUT = frozenset(("overdue", "stepped_in")), frozenset(("given_up", "later"))


class ChaosPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    What to run: a profile, a seed, perhaps a negative control or another server's program.
    """

    name: str
    profile: Profile
    seed: int
    control: str = ""
    binary: str | None = None
    inherited: dict[str, str] = {}


class ChaosReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The account of a run. ``passed`` needs everything that must be nothing to be nothing, and every fault as often as planned.
    """

    profile: str
    seed: int
    server: str
    control: str
    transactions: int
    duplicates: int
    faults: dict[str, int]
    connection_faults: dict[str, int]
    crash_points: dict[str, int]
    fenced: int
    together: int
    lost: int
    doubled: int
    counter_errors: int
    counters_checked: int
    vector_errors: int
    vectors_checked: int
    dead_letter_innocents: int
    dead_letter_missing: int
    dead_letter_doubled: int
    dead_letters: int
    pending: int
    consumers_left: int
    keys_left: int
    alerts_missing: int
    alerts_lost_with_history: int
    alerts_doubled: int
    flagged: int
    degraded: int
    late_without_model: int
    labels_lost: int
    entries_lost_in_promotions: int
    drained_under_oom: bool
    unexpected_ends: int
    refused_appends: int
    seconds: float
    passed: bool
    problems: list[str]


async def run_chaos(plan: ChaosPlan, progress: Progress) -> ChaosReport:
    """
    Run a profile and keep its books.

    Raises:
        ConfigurationError: A server or worker did not start.
    """
    run = _Run(plan, progress)
    return await run.run()


class _LeftBehind(NamedTuple):
    """
    What stood there when everybody had gone home: entries before, consumers and keys after.
    """

    pending: int
    consumers: int
    keys: int


class _Run:
    def __init__(self, plan: ChaosPlan, progress: Progress) -> None:
        self._plan = plan
        self._profile = plan.profile
        self._progress = progress
        self._rng = random.Random(f"run {plan.seed}")  # noqa: S311 a replay needs the same

    async def run(self) -> ChaosReport:
        started = time.monotonic()
        profile = self._profile
        share, until = 1 / (1 + _SPARE), profile.whole * 0.9
        poison = Poison(profile.undecodable, profile.raises, profile.kills_poison, share, until)
        items = traffic(self._plan.seed, int(time.time() * 1000), round(profile.transactions * (1 + _SPARE)), poison)
        self._progress.step(f"chaos {self._plan.name}, seed {self._plan.seed}: starting servers and workers")
        stage = Stage(
            profile,
            self._plan.seed,
            control=self._plan.control,
            binary=self._plan.binary,
            inherited=self._plan.inherited,
        )
        async with stage:
            await self._play(stage, items)
            self._progress.step("waiting for the fleet to finish")
            await stage.calm(self._profile.finish_s)
            return await self._account(stage, started)

    async def _play(self, stage: Stage, items: list[Item]) -> None:
        """
        Play all beats: first with the decision deadline off, then on, under another model.
        """
        profile = self._profile
        main = round(len(items) / (1 + _SPARE))
        self._spare = items[main:]
        places = [round(main * n / profile.beats) for n in range(profile.beats + 1)]
        half = round(profile.beats * profile.whole)
        for number, faults in enumerate(beats(profile, self._plan.seed)):
            if number == half:
                await self._encore(stage, without=_ONLY_WITH)
                await self._change_over(stage)
            await self._beat(stage, faults, items[places[number] : places[number + 1]])
            self._progress.count("payments sent", len(stage.producer.sent), None)
        await self._encore(stage, without=_ONLY_WITHOUT)

    async def _change_over(self, stage: Stage) -> None:
        self._progress.step("every worker is replaced: decision deadline on, another model")
        # With the deadline on a poison that is still on its way may be decided without a letter.
        for _ in range(_PATIENCE):
            if await stage.calm(self._profile.finish_s):
                break
        stage.deadline_ms = DEADLINE_MS
        await asyncio.to_thread(other_model, stage)
        stage.producer.offer(self._take_spare(100))
        await stage.roll()

    def _take_spare(self, count: int) -> list[Item]:
        taken, self._spare = self._spare[:count], self._spare[count:]
        return taken

    async def _beat(self, stage: Stage, faults: Sequence[Fault], items: Sequence[Item]) -> None:
        ends = time.monotonic() + self._profile.beat_s
        stage.herd.check()
        self._set_traps(stage)
        heavy = [fault for fault in faults if fault.name in HEAVY]
        if not heavy:
            stage.producer.offer(items)
        for fault in faults:
            if fault.name in HEAVY:
                self._progress.step(f"{fault.name} at {len(stage.producer.sent)} sent")
                await cause(stage, fault, items if fault is heavy[0] else [])
            else:
                await cause(stage, fault, [])
        await asyncio.sleep(max(0.0, ends - time.monotonic()))

    def _missing(self, stage: Stage, without: frozenset[str]) -> list[str]:
        return [point for point in POINTS if point not in without and stage.herd.crashed[point] < self._profile.crash_hits]

    def _set_traps(self, stage: Stage) -> None:
        """
        Tell some workers to die at places that were not passed often enough.
        """
        missing = self._missing(stage, _ONLY_WITHOUT if stage.deadline_ms else _ONLY_WITH)
        seldom = [point for point in missing if point in _SELDOM]
        for animal in stage.herd.working():
            if places := [point for point in seldom if animal.serves & {*_GROUPS_OF.get(point, _DECIDING)}]:
                stage.herd.trap(animal, die=places)
        often = [point for point in missing if point not in _SELDOM]
        self._rng.shuffle(often)
        count = max(2, round(2 * self._profile.crash_hits * len(POINTS) / self._profile.beats))
        for point in often[:count]:
            if animals := stage.herd.working(*_GROUPS_OF.get(point, _DECIDING)):
                stage.herd.trap(self._rng.choice(animals), die=[point])

    async def _encore(self, stage: Stage, *, without: frozenset[str]) -> None:
        """
        Go on for a little until every labelled place was passed; at the very end also until each fault has met somebody often
        enough: a busy machine has fewer workers up to be met.
        """
        for number in range(_ENCORES if self._profile.encores else 0):
            missing = self._missing(stage, without)
            more = self._again(stage) if without is _ONLY_WITHOUT else []
            if not missing and not more:
                return
            wanted = ", ".join([*missing, *sorted({fault.name for fault in more})])
            self._progress.count(f"encore for {wanted}", len(stage.producer.sent), None)
            items = self._take_spare(max(20, len(self._spare) // 40))
            if _ONLY_WITHOUT.intersection(missing) and items[0].kind == "payment":
                items.append(raising(f"encore-{number}", items[0].body, number))
            await self._beat(stage, more, items)

    def _again(self, stage: Stage) -> list[Fault]:
        """
        Return some of the faults that happened too seldom.
        """
        counted = stage.faults | Counter(fenced=stage.herd.fenced)
        short = {name: least - counted[name] for name, least in self._profile.least.items() if name in AGAIN}
        return [AGAIN[name] for name, count in short.items() for _ in range(min(count, _AT_ONCE))]

    async def _account(self, stage: Stage, started: float) -> ChaosReport:
        """
        Let everybody go, and compare.
        """
        self._progress.step("letting all workers drain, then keeping the books")
        still_open = await stage.open_entries()
        await stage.all_told(_TELLING_S)
        await stage.herd.dismiss()
        await forget_the_dead(stage.admin, within_s=_LAST_BEAT_S)
        evidence = await self._evidence(stage)
        found = await asyncio.to_thread(audit, evidence)
        left, keys = await consumers(stage.admin), _unexplained(await ownerless(stage.admin), evidence)
        found.note("consumers left", left)
        found.note("keys that nobody owns", keys)
        found.note("ends of processes that nobody wanted", stage.herd.unexpected)
        pending = sum(still_open.values())
        if pending:
            found.notes.append(f"not finished: {still_open}")
        behind = _LeftBehind(pending, len(left), len(keys))
        report = self._report(stage, evidence, found, behind, time.monotonic() - started)
        if report.passed or self._plan.control:
            stage.keep_folder = False
        else:
            self._progress.step(f"the logs of all workers are kept in {stage.folder}")
        return report

    async def _evidence(self, stage: Stage) -> Evidence:
        features = load_features(locate(Settings().features_path).read_text(encoding="utf-8"))
        return Evidence(
            features=features,
            sent=stage.producer.sent,
            attempts=stage.producer.attempts,
            history=stage.producer.history,
            rewritten=stage.rewritten,
            without_model=stage.without_model,
            books=await recorded(stage.postgres.url),
            emitted=stage.tap.emitted(),
            letters=[*stage.archive, *await letters(stage.admin)],
            alerts=stage.herd.alerts(),
            logs=await values(stage.admin, "log:*"),
            rings=await values(stage.admin, "ring:*"),
            deadline_on=bool(stage.deadline_ms),
        )

    def _report(self, stage: Stage, evidence: Evidence, found: Findings, behind: _LeftBehind, seconds: float) -> ChaosReport:
        poison = sum(item.kind in ("poison", "undecodable") for item in evidence.sent.values())
        faults = {name: stage.faults[name] for name in FAULTS} | {"poison": poison}
        problems = [*found.notes, *self._too_few(stage, faults)]
        if not stage.drained_under_oom:
            problems.append("what was in Redis when it ran out of memory was not finished while it had none")
        payments = [key for key, item in evidence.sent.items() if item.kind in ("payment", "poison")]
        return ChaosReport(
            profile=self._plan.name,
            seed=self._plan.seed,
            server=stage.server,
            control=self._plan.control,
            transactions=len(payments),
            duplicates=sum(evidence.attempts[key] - 1 for key in payments),
            faults=faults,
            connection_faults={kind: stage.kinds[kind] for kind in ("cut", "reply_lost", "delay", "half_open")},
            crash_points={point: stage.herd.crashed[point] for point in POINTS},
            fenced=stage.herd.fenced,
            together=stage.herd.together,
            lost=found.lost,
            doubled=found.doubled,
            counter_errors=found.counter_errors,
            counters_checked=found.counters_checked,
            vector_errors=found.vector_errors,
            vectors_checked=found.vectors_checked,
            dead_letter_innocents=found.dead_letter_innocents,
            dead_letter_missing=found.dead_letter_missing,
            dead_letter_doubled=found.dead_letter_doubled,
            dead_letters=len(evidence.letters),
            pending=behind.pending,
            consumers_left=behind.consumers,
            keys_left=behind.keys,
            alerts_missing=found.alerts_missing,
            alerts_lost_with_history=found.alerts_lost_with_history,
            alerts_doubled=found.alerts_doubled,
            flagged=found.flagged,
            degraded=found.degraded,
            late_without_model=found.late,
            labels_lost=found.labels_lost,
            entries_lost_in_promotions=stage.promoted_entries_lost,
            drained_under_oom=stage.drained_under_oom,
            unexpected_ends=len(stage.herd.unexpected),
            refused_appends=stage.producer.refused,
            seconds=round(seconds, 1),
            passed=not problems,
            problems=problems,
        )

    def _too_few(self, stage: Stage, faults: Mapping[str, int]) -> list[str]:
        """
        Say which faults happened less often than planned: a run that spares the fleet proves nothing.
        """
        happened = {**faults, "fenced": stage.herd.fenced, "together": stage.herd.together}
        few = [
            f"too few: {name} {happened[name]}, at least {least} are needed"
            for name, least in self._profile.least.items()
            if happened[name] < least
        ]
        return few + [
            f"too few: labelled place {point} {stage.herd.crashed[point]} of {self._profile.crash_hits}"
            for point in POINTS
            if self._profile.encores and stage.herd.crashed[point] < self._profile.crash_hits
        ]


def _unexplained(keys: Sequence[str], evidence: Evidence) -> list[str]:
    """
    Leave out the records of transactions on record whose history was lost while a worker had them in hand: it touched them
    again, and nobody sends them again to be decided.
    """
    on_record = evidence.rewritten & evidence.books.ledger.keys()
    return [key for key in keys if not (key.startswith("txn:") and key.removeprefix("txn:") in on_record)]


#: Every fault by its name in the report.
FAULTS = (
    *("sigkill", "sigstop", "crash_point", "connection", "redis_kill", "flushall", "promotion", "oom", "postgres_stop"),
    *("poison", "sigterm"),
)
