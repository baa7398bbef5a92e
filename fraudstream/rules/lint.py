"""
What is allowed and still looks like a mistake: rules that never or always fire, repeat others, or can never decide.
"""

from collections.abc import Collection, Iterator
from enum import StrEnum

import msgspec

from fraudstream.domain.evidence import Action
from fraudstream.rules.implication import always, implies, never
from fraudstream.rules.plan import lists_of
from fraudstream.rules.rule import PRECEDENCE, Rule
from fraudstream.rules.ruleset import RuleSet
from fraudstream.rules.syntax import OnMissing


class FindingKind(StrEnum):
    """
    What a finding is about; a stable word for tools.
    """

    NEVER_TRUE = "never_true"
    ALWAYS_TRUE = "always_true"
    DUPLICATE = "duplicate"
    REDUNDANT = "redundant"
    UNREACHABLE = "unreachable"
    UNTESTED = "untested"
    UNUSED_LIST = "unused_list"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """
    One suspicion. ``line`` counts from 1 in the canonical source; it is 0, and ``rule_id`` empty, where no rule is meant.
    """

    kind: FindingKind
    message: str
    rule_id: str = ""
    line: int = 0


def lint(rules: RuleSet, lists: Collection[str] = ()) -> list[Finding]:
    """
    Return what looks wrong in a rule set, by line.

    The proofs are sound and not complete: they follow thresholds, sets of words and equal conditions through and, or, not.

    Args:
        rules: A set that has been loaded.
        lists: Names of the lists that exist; those that no rule names are reported.
    """
    found = [finding for rule in rules.rules for finding in _alone(rule)]
    found += _pairs(rules.rules)
    used = frozenset[str]().union(*(lists_of(rule.condition) for rule in rules.rules))
    for name in sorted(set(lists) - used):
        found.append(Finding(kind=FindingKind.UNUSED_LIST, message=f"no rule looks into @{name}"))
    return sorted(found, key=lambda finding: (finding.line, finding.rule_id, finding.kind))


def _alone(rule: Rule) -> Iterator[Finding]:
    if never(rule.condition) and rule.on_missing is OnMissing.SKIP:
        yield _about(rule, FindingKind.NEVER_TRUE, "the condition can never be true")
    if always(rule.condition):
        yield _about(rule, FindingKind.ALWAYS_TRUE, "the condition is true for every transaction")
    if not rule.tests:
        yield _about(rule, FindingKind.UNTESTED, "the rule has no test; write one that must hit, and one that must miss")


def _pairs(rules: Collection[Rule]) -> Iterator[Finding]:
    """
    Yield, for each rule, the first reason why another one leaves it nothing to do.
    """
    deciding = [rule for rule in rules if rule.action is not Action.SCORE and not rule.shadow and not never(rule.condition)]
    # A rule that fires on doubt does so where no other need to.
    for rule in (rule for rule in deciding if rule.on_missing is OnMissing.SKIP):
        for other in deciding:
            if other is not rule and _always_in_force(other) and implies(rule.condition, other.condition):
                finding = _covered(rule, other)
                if finding is not None:
                    yield finding
                    break


def _always_in_force(rule: Rule) -> bool:
    return rule.rollout is None and rule.active_from_ms is None and rule.active_until_ms is None


def _covered(rule: Rule, other: Rule) -> Finding | None:
    own, its = PRECEDENCE[rule.action], PRECEDENCE[other.action]
    if own == its and implies(other.condition, rule.condition):
        # Of two equals the one that comes second in the file is told.
        return _about(rule, FindingKind.DUPLICATE, f"says the same as {other.rule_id}") if other.line < rule.line else None
    if own == its:
        return _about(rule, FindingKind.REDUNDANT, f"{other.rule_id} hits whenever this rule does, and asks for the same")
    if its < own:
        return _about(
            rule, FindingKind.UNREACHABLE, f"can never decide: {other.rule_id} hits whenever it does, and goes before"
        )
    return None


def _about(rule: Rule, kind: FindingKind, message: str) -> Finding:
    return Finding(kind=kind, message=f"rule {rule.rule_id}: {message}", rule_id=rule.rule_id, line=rule.line)
