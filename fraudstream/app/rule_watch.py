"""
How a worker follows the rule set that is in force: looked for off the hot path, swapped in between two batches.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.redis_rules import Applied, Pointer, RedisRuleSets
from fraudstream.app.fleet_lists import FleetLists
from fraudstream.domain.errors import InvalidRule, RuleSetRefused, TransientError
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.stalls import Changes, in_slices
from fraudstream.rules.edit import in_shadow
from fraudstream.rules.guard import Trip
from fraudstream.rules.load import load_in_steps
from fraudstream.rules.ruleset import RuleSet, count_errors
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.telemetry.report import GroupReport

#: Pause between two looks at the pointer, in seconds; a change is in force everywhere within one.
LOOK_EVERY_S = 0.5
#: Pause before a set that could not be taken over is tried again, in seconds; what it lacked may be there by then.
_AGAIN_S = 30.0
#: Pause between two times that a worker tells what it judges by, in seconds, and silence after which it is not believed.
TELL_EVERY_S, BELIEVED_S = 10.0, 30.0
#: Who the history names where no person acted.
_GUARD = "guard"


class RuleWatch:
    """
    Keeps one judge on the rule set that the pointer names, on the file of the settings while it names none, and on the lists
    and rates in force.

    Args:
        sets: Where the sets are.
        judge: Who works by them.
        from_file: The set of the file.
        lists: What rules are judged over.
        report: Told of everything that is taken over or refused.
        guarded: Whether rules above their guard are put in shadow, on the whole fleet and by a set of their own.
        worker: Name under which the fleet is told what this worker judges by; empty tells nobody.
        changes: Told whenever something is being taken over.
    """

    def __init__(
        self,
        sets: RedisRuleSets,
        judge: RulesJudge,
        from_file: RuleSet,
        lists: FleetLists,
        report: GroupReport,
        *,
        guarded: bool = False,
        worker: str = "",
        changes: Changes | None = None,
    ) -> None:
        self._sets = sets
        self._judge = judge
        self._from_file = from_file
        self._lists = lists
        self._report = report
        self._guarded = guarded
        self._worker = worker
        self._changes = changes or Changes()
        self._applied = ""
        self._failed = ("", 0.0)
        self._lists_rest_until = 0.0
        self._problems: dict[str, str] = {}
        self._in_step_at = time.monotonic()
        self._told = ("", 0.0)

    async def start(self) -> None:
        """
        Take over what is in force, before the first batch is read. It only reads: who was killed while Redis is full must be
        able to come back, and tells what it judges by at its first look.

        Raises:
            InvalidRule: The set in force cannot be used here; to start with other rules than the fleet would be silently wrong.
            StreamUnavailable: Redis did not answer.
        """
        await self._lists.start()
        await self._apply((await self._sets.pointer()).rule_set)
        self._report.lists_applied(self._judge.rule_set.lists, self._lists.contents)

    async def look(self) -> int:
        """
        Take over what is new; return how many changes were. What cannot be used is reported, and what was there stays.

        Raises:
            StreamUnavailable: Redis did not answer, or has no memory for what there is to tell; what is new is in force then.
        """
        changes = await self._look_at_lists() + await self._look_at_rules()
        self._report.lists_hit(await self._lists.store_hits(self._judge.list_hits))
        await self._tell(self._applied)
        return changes

    async def _tell(self, in_force: str) -> None:
        """
        Say how far this worker is behind, and tell the fleet what it judges by when that has changed, or now and then.
        """
        now = time.monotonic()
        problem = "; ".join(self._problems.values())
        if not problem:
            self._in_step_at = now
        behind_s = now - self._in_step_at
        self._report.rules_behind(behind_s)
        rules = self._judge.rule_set
        what = f"{rules.id} {rules.lists} {problem}"
        told, at = self._told
        if self._worker and (what != told or now - at > TELL_EVERY_S):
            await self._sets.tell(
                Applied(
                    worker=self._worker,
                    rule_set=rules.id,
                    in_force=in_force,
                    lists=dict(rules.lists),
                    at_ms=int(time.time() * 1000),
                    behind_s=round(behind_s, 1),
                    problem=problem[:500],
                )
            )
            self._told = what, now

    async def _look_at_lists(self) -> int:
        if time.monotonic() < self._lists_rest_until:
            return 0
        try:
            names = await self._lists.look()
            if names:
                with self._changes.under_way():
                    await self._judge_by_lists()
        except TransientError:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with a new list, the old one goes on working
            self._lists_rest_until = time.monotonic() + _AGAIN_S
            self._problems["lists"] = str(exc)
            self._report.lists_refused(str(exc))
            return 0
        self._problems.pop("lists", None)
        return len(names)

    async def _look_at_rules(self) -> int:
        wanted = ""
        try:
            pointer = await self._sets.pointer()
            wanted = pointer.rule_set
            trips = self._judge.tripped() if self._guarded else []
            if wanted == self._applied:
                self._problems.pop("rules", None)
            if self._rests(wanted) or (wanted == self._applied and not trips):
                return 0
            if wanted == self._applied:
                wanted = await self._trip(pointer, trips)
            with self._changes.under_way():
                await self._lists.read_files()
                await self._apply(wanted)
        except TransientError:
            raise
        except RuleSetRefused:
            return 0  # somebody else was faster: the next look sees what they did
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with a new set, the old one goes on working
            self._failed = (wanted, time.monotonic() + _AGAIN_S)
            self._problems["rules"] = str(exc)
            self._report.rules_refused(wanted, str(exc))
            return 0
        return 1

    def _rests(self, wanted: str) -> bool:
        failed, until = self._failed
        return wanted == failed and time.monotonic() < until

    async def _trip(self, seen: Pointer, trips: Sequence[Trip]) -> str:
        """
        Put rules in shadow for the whole fleet, and return the set that does it.

        Raises:
            RuleSetRefused: Somebody else changed the rules meanwhile, perhaps another worker for the same reason.
        """
        text = self._judge.rule_set.source
        for trip in trips:
            text = in_shadow(text, trip.rule_id)
        rule_set = await self._build(text, "rules with what tripped in shadow")
        reason = "; ".join(trip.text for trip in trips)
        await self._sets.push(rule_set.id, rule_set.source, author=_GUARD, reason=reason, name=_GUARD)
        await self._sets.activate(seen, rule_set.id, kind="trip", actor=_GUARD, reason=reason)
        self._report.rules_tripped([trip.rule_id for trip in trips], reason, author=seen.author)
        return rule_set.id

    async def _apply(self, wanted: str) -> None:
        if wanted:
            body = await self._sets.body(wanted)
            before_s = self._changes.cpu_s
            rule_set = await self._ready(body.text, wanted)
            self._report.rules_built(self._changes.cpu_s - before_s)
        else:
            rule_set = self._from_file.judging_by(self._lists.contents, self._lists.rates)
        expected = {name: one.rate for name, one in (await self._sets.expected()).items()} if self._guarded else {}
        with self._changes.at_work():
            self._judge.use(rule_set, expected)
        self._applied = wanted
        self._problems.pop("rules", None)
        self._report.rules_applied(rule_set.id, [(rule.rule_id, rule.action.value) for rule in rule_set.rules])

    async def _judge_by_lists(self) -> None:
        """
        Judge by the same rules over the new lists: nothing is parsed, and the swap is one assignment.
        """
        rule_set = self._judge.rule_set.judging_by(self._lists.contents, self._lists.rates)
        if self._judge.last_batch is not None:
            with self._changes.at_work():
                _smoke(rule_set, *self._judge.last_batch)
        self._judge.use(rule_set)
        self._report.lists_applied(rule_set.lists, self._lists.contents)

    async def _build(self, text: str, name: str) -> RuleSet:
        lists = self._lists
        columns = self._from_file.features
        steps = load_in_steps(text, features=columns, lists=lists.contents, rates=lists.rates, name=name, written=lists.written)
        return await in_slices(steps, self._changes)

    async def _ready(self, text: str, wanted: str) -> RuleSet:
        rule_set = await self._build(text, f"rule set {wanted[:12]}")
        if rule_set.id != wanted:
            raise InvalidRule(f"rule set {wanted[:12]} reads as {rule_set.id[:12]} here")
        if self._judge.last_batch is not None:
            with self._changes.at_work():
                _smoke(rule_set, *self._judge.last_batch)
        return rule_set


def _smoke(rule_set: RuleSet, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> None:
    """
    Evaluate a set on a batch of real transactions and drop the answers.
    """
    errors = count_errors(rule_set.evaluate(transactions, matrix))
    if errors:
        names = ", ".join(sorted(errors))
        raise InvalidRule(f"rule set {rule_set.id[:12]}: rules that failed on the last batch: {names}")
