"""
Changing the rules of a running fleet: push, activate, roll back, disable, compare, each validated before anything is written.
"""

import difflib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_rules import Applied, Entry, Expected, Pointer, RedisRuleSets
from fraudstream.adapters.redis_token_key import RedisTokenKey
from fraudstream.app.connections import address
from fraudstream.app.fleet_lists import FleetLists
from fraudstream.app.people import tokens_of
from fraudstream.app.rule_files import RuleBench
from fraudstream.app.rule_watch import BELIEVED_S
from fraudstream.domain.errors import InvalidRule, RuleSetRefused
from fraudstream.domain.evidence import Action
from fraudstream.rules.edit import asleep_until, in_shadow, out_of_shadow
from fraudstream.rules.guard import fingerprint
from fraudstream.rules.load import canonical, read_rules
from fraudstream.rules.rule import Rule
from fraudstream.rules.ruleset import RuleSet
from fraudstream.settings import Settings, locate

#: What a set that came from no push is called.
FROM_FILE = "the file of the settings"
#: Fewest digits by which a set may be named.
_FEWEST_DIGITS = 6


class Named(msgspec.Struct, frozen=True):
    """
    A rule set, and in words where it was found.
    """

    rules: RuleSet
    where: str


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """
    A set that can be activated. ``blocking`` are rules in it that block payments and are not in force as they stand.
    """

    rule_set: str
    new: bool
    author: str
    blocking: tuple[str, ...]


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """
    A change of the rules in force; an empty set is the file of the settings.
    """

    seq: int
    rule_set: str
    before: str
    kind: str
    actor: str
    reason: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """
    Two sets side by side: rule ids by what became of them, and the texts as a unified diff.
    """

    old: str
    new: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    text: str


class RuleDesk:
    """
    Where people change the rules in force.

    Args:
        sets: The sets in Redis.
        bench: Features and lists that every set is validated against.
        actor: Who sits here; the name is believed.
        file: Rules that are in force while the pointer names none.
        four_eyes: Whether rules that block must be activated by somebody else than who pushed them.
    """

    def __init__(self, sets: RedisRuleSets, bench: RuleBench, actor: str, *, file: Path, four_eyes: bool) -> None:
        self._sets = sets
        self._bench = bench
        self._actor = actor
        self._file = file
        self._four_eyes = four_eyes

    async def in_force(self) -> Named:
        """
        Return the set that the fleet works by.
        """
        return await self._named((await self._sets.pointer()).rule_set)

    async def find(self, what: str) -> Named:
        """
        Return a set by the path of a file, or by the first digits of its hash.

        Raises:
            InvalidRule: There is none, several begin like this, or it cannot be used.
        """
        path = Path(what)
        if path.is_file():  # noqa: ASYNC240 - one look at a local file, for one person
            return Named(self._bench.load(read_rules(path), name=what), what)
        return await self._named(await self._full(what))

    async def push(self, path: Path, *, reason: str) -> Pushed:
        """
        Validate a file and keep it in Redis; it is not in force yet.

        Raises:
            InvalidRule: Something in it is wrong; nothing is written.
        """
        return await self._push(read_rules(path), name=str(path), reason=reason)

    async def activate(self, what: str, *, reason: str) -> Changed:
        """
        Put a pushed set in force.

        Raises:
            InvalidRule: It does not fit the features and lists of today.
            RuleSetRefused: Somebody else must do it, or was faster.
        """
        rule_set = await self._full(what)
        seen = await self._sets.pointer()
        body = await self._sets.body(rule_set)
        wanted = self._bench.load(body.text, name=f"rule set {rule_set[:12]}")
        if self._four_eyes and body.author == self._actor:
            await self._refuse_alone(wanted, seen)
        return await self._point(seen, rule_set, "activate", reason)

    async def rollback(self, *, reason: str) -> Changed:
        """
        Put the set in force again that was before the present one; again and again, down to the file of the settings.

        Raises:
            RuleSetRefused: There is nothing before, or somebody else was faster.
        """
        seen = await self._sets.pointer()
        stack = _stack(await self._sets.history())
        if not stack:
            raise RuleSetRefused(f"nothing to roll back: {FROM_FILE} is in force")
        before = stack[-2] if len(stack) > 1 else ""
        if before:
            self._bench.load((await self._sets.body(before)).text, name=f"rule set {before[:12]}")
        return await self._point(seen, before, "rollback", reason)

    async def disable(self, rule_id: str, *, until_ms: int | None, reason: str) -> Changed:
        """
        Take the force from one rule by a new set; one person may, whatever the rule does.

        Args:
            rule_id: A rule of the set in force.
            until_ms: Time of payments, in milliseconds, from which on it is in force again; None puts it in shadow.
            reason: Why, for the history.

        Raises:
            InvalidRule: There is no such rule.
            RuleSetRefused: It has no force already, or somebody else was faster.
        """
        seen = await self._sets.pointer()
        present = (await self._named(seen.rule_set)).rules
        text = in_shadow(present.source, rule_id) if until_ms is None else asleep_until(present.source, rule_id, until_ms)
        if text == present.source:
            raise RuleSetRefused(f"rule {rule_id} has no force already")
        pushed = await self._push(text, name=f"disable {rule_id}", reason=reason)
        return await self._point(seen, pushed.rule_set, "disable", reason)

    async def promote(self, rule_id: str, *, reason: str) -> Changed:
        """
        Give a rule in shadow its say by a new set; a rule that blocks needs a second person where four eyes are asked for.

        Args:
            rule_id: A rule of the set in force.
            reason: Why, for the history.

        Raises:
            InvalidRule: There is no such rule.
            RuleSetRefused: It has a say already, somebody else must activate the new set (which is kept), or was faster.
        """
        seen = await self._sets.pointer()
        present = (await self._named(seen.rule_set)).rules
        text = out_of_shadow(present.source, rule_id)
        if text == present.source:
            raise RuleSetRefused(f"rule {rule_id} is not in shadow")
        pushed = await self._push(text, name=f"promote {rule_id}", reason=reason)
        if self._four_eyes and pushed.author == self._actor:
            await self._refuse_alone(self._bench.load(text, name=f"promote {rule_id}"), seen)
        return await self._point(seen, pushed.rule_set, "promote", reason)

    def compare(self, new: Named, old: Named) -> Difference:
        """
        Return what becomes of each rule between two sets.
        """
        one, other = _essences(old.rules), _essences(new.rules)
        lines = difflib.unified_diff(
            old.rules.source.splitlines(), new.rules.source.splitlines(), old.where, new.where, lineterm="", n=2
        )
        return Difference(
            old=old.rules.id,
            new=new.rules.id,
            added=tuple(sorted(other.keys() - one.keys())),
            removed=tuple(sorted(one.keys() - other.keys())),
            changed=tuple(sorted(rule_id for rule_id in one.keys() & other.keys() if one[rule_id] != other[rule_id])),
            text="\n".join(lines),
        )

    async def expect(self, rules: RuleSet, rates: Mapping[str, float], *, payments: int) -> None:
        """
        Note how often rules fired in a backtest, so that one that fires far more often trips, wherever it stands unchanged.

        Args:
            rules: The set that was backtested.
            rates: Shares of payments in [0, 1] by rule.
            payments: How many the backtest went over.

        Raises:
            InvalidRule: There is no such rule.
        """
        known = {rule.rule_id: rule for rule in rules.rules}
        unknown = sorted(rates.keys() - known.keys())
        if unknown:
            raise InvalidRule(f"there is no rule {', '.join(unknown)}")
        now_ms = int(time.time() * 1000)
        await self._sets.expect(
            {
                fingerprint(known[rule_id]): Expected(
                    rule_id=rule_id, rate=rate, payments=payments, actor=self._actor, at_ms=now_ms
                )
                for rule_id, rate in rates.items()
            }
        )

    async def expected(self, rules: RuleSet) -> dict[str, Expected]:
        """
        Return how often each rule of a set fired in its backtest; rules that had none are left out.
        """
        known = await self._sets.expected()
        return {rule.rule_id: known[name] for rule in rules.rules if (name := fingerprint(rule)) in known}

    async def workers(self) -> list[Applied]:
        """
        Return what each live worker judges by.
        """
        return await self._sets.applied(now_ms=int(time.time() * 1000), live_ms=int(BELIEVED_S * 1000))

    async def history(self) -> tuple[Pointer, list[Entry]]:
        """
        Return the pointer, and everything that happened, the oldest first.
        """
        return await self._sets.pointer(), await self._sets.history()

    async def _push(self, source: str, *, name: str, reason: str) -> Pushed:
        rules = self._bench.load(source, name=name)
        blocking = blockers(rules, (await self.in_force()).rules)
        new = await self._sets.push(rules.id, canonical(source), author=self._actor, reason=reason, name=name)
        author = (await self._sets.body(rules.id)).author
        return Pushed(rule_set=rules.id, new=new, author=author, blocking=blocking)

    async def _refuse_alone(self, wanted: RuleSet, seen: Pointer) -> None:
        blocking = blockers(wanted, (await self._named(seen.rule_set)).rules)
        if blocking:
            raise RuleSetRefused(
                f"{', '.join(blocking)}: rules that block need four eyes, and {self._actor} pushed this set; "
                f"somebody else must run: fraudstream rules activate {wanted.id[:12]}"
            )

    async def _point(self, seen: Pointer, rule_set: str, kind: str, reason: str) -> Changed:
        seq = await self._sets.activate(seen, rule_set, kind=kind, actor=self._actor, reason=reason)
        return Changed(seq=seq, rule_set=rule_set, before=seen.rule_set, kind=kind, actor=self._actor, reason=reason)

    async def _named(self, rule_set: str) -> Named:
        if not rule_set:
            return Named(self._bench.load(read_rules(self._file), name=str(self._file)), f"{self._file}, {FROM_FILE}")
        body = await self._sets.body(rule_set)
        return Named(self._bench.load(body.text, name=f"rule set {rule_set[:12]}"), f"Redis, {rule_set[:12]}")

    async def _full(self, digits: str) -> str:
        known = {entry.rule_set for entry in await self._sets.history() if entry.rule_set}
        found = [one for one in sorted(known) if one.startswith(digits.lower())] if len(digits) >= _FEWEST_DIGITS else []
        if len(found) != 1:
            count = "several sets begin" if found else "no set that was pushed begins"
            raise InvalidRule(f"{count} with {digits!r}; give a file, or at least {_FEWEST_DIGITS} digits of a set's hash")
        return found[0]


@asynccontextmanager
async def open_rule_desk(settings: Settings, actor: str) -> AsyncIterator[RuleDesk]:
    """
    Lend the desk for the rules of the fleet on the Redis that the settings name.
    """
    async with connected(address(settings), connections=2) as client:
        lists = FleetLists(settings, RedisLists(client), await tokens_of(settings, RedisTokenKey(client)))
        await lists.start()
        bench = RuleBench(settings, lists.contents, lists.rates, written=lists.written)
        file = locate(settings.rules_path)
        yield RuleDesk(RedisRuleSets(client), bench, actor, file=file, four_eyes=settings.rules_four_eyes)


def blockers(new: RuleSet, old: RuleSet) -> tuple[str, ...]:
    """
    Return the rules of a set that block payments and do not stand so in the other one.
    """
    known = _essences(old)
    found = [rule for rule in new.rules if rule.action in (Action.HARD_BLOCK, Action.BLOCK) and not rule.shadow]
    return tuple(sorted(rule.rule_id for rule in found if known.get(rule.rule_id) != _essence(rule)))


def _essences(rules: RuleSet) -> dict[str, tuple[object, ...]]:
    return {rule.rule_id: _essence(rule) for rule in rules.rules}


def _essence(rule: Rule) -> tuple[object, ...]:
    """
    Return what a rule does, without its layout, tests and place in the file.
    """
    rollout = None if rule.rollout is None else (rule.rollout.share, rule.rollout.field)
    times = (rule.active_from_ms, rule.active_until_ms)
    said = (rule.reason, rule.tags, rule.guard_max_rate, rule.on_missing, rule.priority)
    return rule.action, rule.points, rule.shadow, " ".join(rule.text.split()), rollout, times, said


def _stack(history: Sequence[Entry]) -> list[str]:
    """
    Return the sets that a rollback goes back through, the present one last.
    """
    stack: list[str] = []
    for entry in history:
        if entry.kind == "rollback":
            stack = stack[:-1]
        elif entry.kind != "push":
            stack.append(entry.rule_set)
    return stack
