"""
What a rule set would have done to recorded payments, beside what was done: new catches, new false positives, the money.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fraudstream.decision.columns import outcomes
from fraudstream.decision.policy import SEVERITY, DecisionPolicy
from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import InvalidRule
from fraudstream.domain.evidence import Action
from fraudstream.rules.lists import ListContents
from fraudstream.rules.rule import Rule
from fraudstream.rules.ruleset import RuleSet
from fraudstream.rules.sweep import SLICE_ROWS, Fired, Rows, sweep
from fraudstream.rules.syntax import OnMissing
from fraudstream.training.payments import FRAUD, LEGITIMATE, NO_DECISION, UNKNOWN, Payments

DAY_MS = 86_400_000
#: Days after which a payment that nobody has reported counts as honest: two monthly statements and a chargeback.
MATURITY_DAYS = 60.0

#: Returns a list in a version, None when it is not at hand.
ListAt = Callable[[str, str], ListContents | None]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Sides:
    """
    Each payment by what is known of it, shape (rows,).

    ``fraud`` and ``honest`` are mature payments with a known truth; ``honest`` counts those whose silence says so. ``immature``
    ones are too young to say. ``unknown`` is what nobody will ever say: labelled unsure, or blocked and never reported.
    """

    fraud: Mask
    honest: Mask
    immature: Mask
    unknown: Mask


def sides_of(payments: Payments, *, known_at_ms: float, maturity_days: float) -> Sides:
    """
    Return which payments can be judged.

    Args:
        payments: With their truth.
        known_at_ms: The moment up to which labels have come in, milliseconds since 1970.
        maturity_days: How long a payment must have been left alone before silence means that it was honest.
    """
    immature = payments.occurred_ms > known_at_ms - maturity_days * DAY_MS
    fraud = ~immature & (payments.truth == FRAUD)
    silent = (payments.truth == UNKNOWN) & (payments.decided != SEVERITY.index(Outcome.BLOCK))
    honest = ~immature & ((payments.truth == LEGITIMATE) | silent)
    return Sides(fraud=fraud, honest=honest, immature=immature, unknown=~(fraud | honest | immature))


@dataclass(frozen=True)
class Run:
    """
    One rule set over all payments: where each rule fired, and the outcome of each payment as its place in ``SEVERITY``.
    """

    rules: RuleSet
    fired: tuple[Fired, ...]
    outcome: NDArray[np.uint8]

    @property
    def flagged(self) -> Mask:
        """
        Return which payments are not simply approved.
        """
        return self.outcome > 0


@dataclass(frozen=True)
class Backtest:
    """
    A candidate beside what it is compared with; ``before`` are the outcomes without it.

    ``baseline`` is None where the comparison is with the recorded decisions. ``changed`` are the rules of the candidate that
    the baseline has not, or not so. ``notes`` say in words what could not be as it was.
    """

    payments: Payments
    sides: Sides
    candidate: Run
    baseline: Run | None
    before: NDArray[np.uint8]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    notes: tuple[str, ...] = ()


def backtest(
    candidate: RuleSet,
    baseline: RuleSet | None,
    payments: Payments,
    policy: DecisionPolicy,
    *,
    known_at_ms: float,
    maturity_days: float = MATURITY_DAYS,
    list_at: ListAt | None = None,
    slice_rows: int = SLICE_ROWS,
) -> Backtest:
    """
    Run both rule sets over the payments; a rule that stands in both is run once.

    Args:
        candidate: The rules to try.
        baseline: The rules to compare with; None compares with the decisions as they were recorded.
        payments: With vectors in the columns of both sets.
        policy: How hits and score become an outcome.
        known_at_ms: The moment up to which labels have come in.
        maturity_days: See ``sides_of``.
        list_at: Gives lists in the versions that payments were decided with; today's without it.
        slice_rows: See ``sweep``.
    """
    lists = _AsOf(payments, list_at)
    fired = lists.sweep(candidate, slice_rows)
    run = Run(candidate, fired, _outcomes(policy, fired, payments))
    other = None
    if baseline is not None:
        again = _again(baseline, run.fired, lambda rest: lists.sweep(rest, slice_rows))
        other = Run(baseline, again, _outcomes(policy, again, payments))
    before = payments.decided if other is None else other.outcome
    if other is None and (payments.decided == NO_DECISION).any():
        raise InvalidRule("some payments have no recorded decision to compare with; name a baseline of rules")
    old = {} if baseline is None else {rule.rule_id: _work(rule) for rule in baseline.rules}
    new = {rule.rule_id: _work(rule) for rule in candidate.rules}
    return Backtest(
        payments=payments,
        sides=sides_of(payments, known_at_ms=known_at_ms, maturity_days=maturity_days),
        candidate=run,
        baseline=other,
        before=before,
        changed=tuple(rule_id for rule_id, work in new.items() if old.get(rule_id) != work),
        removed=tuple(rule_id for rule_id in old if rule_id not in new),
        notes=tuple(lists.notes),
    )


def _again(baseline: RuleSet, fired: Sequence[Fired], swept: Callable[[RuleSet], tuple[Fired, ...]]) -> tuple[Fired, ...]:
    """
    Return where the rules of the baseline fire, taken from the candidate where one of its rules fires alike.
    """
    known = {_fires(one.rule): one for one in fired}
    rest = [ready for ready in baseline.ready if _fires(ready.rule) not in known]
    own = iter(swept(replace(baseline, ready=tuple(rest))) if rest else ())
    return tuple(
        next(own) if (same := known.get(_fires(ready.rule))) is None else replace(same, rule=ready.rule)
        for ready in baseline.ready
    )


def _fires(rule: Rule) -> tuple[object, ...]:
    """
    Return what decides where a rule fires; two rules that are equal in it fire alike.
    """
    rollout = None if rule.rollout is None else (rule.rule_id, rule.rollout.share, rule.rollout.field)
    return rule.condition, rule.on_missing, rollout, rule.active_from_ms, rule.active_until_ms


def _work(rule: Rule) -> tuple[object, ...]:
    """
    Return all that a rule does to an outcome.
    """
    return (*_fires(rule), rule.action, rule.points, rule.shadow)


def _outcomes(policy: DecisionPolicy, fired: Sequence[Fired], payments: Payments) -> NDArray[np.uint8]:
    hits: list[tuple[Action, float, Rows]] = []
    for one in fired:
        if one.rule.shadow:
            continue
        if one.rule.on_missing is OnMissing.REVIEW:
            hits += [(one.rule.action, one.rule.points, one.known), (Action.REVIEW, 0.0, one.doubtful)]
        else:
            hits.append((one.rule.action, one.rule.points, one.rows))
    return outcomes(policy, hits, payments.probability)


class _AsOf:
    """
    Sweeps each payment by the lists that it was decided with.
    """

    def __init__(self, payments: Payments, list_at: ListAt | None) -> None:
        self._payments = payments
        self._list_at = list_at
        self.notes: list[str] = []

    def sweep(self, rules: RuleSet, slice_rows: int) -> tuple[Fired, ...]:
        wanted = {
            name: contents
            for name, contents in rules.contents.items()
            if any(versions.get(name, contents.version) != contents.version for versions, _ in self._payments.versions)
        }
        if not wanted:
            return tuple(sweep(rules, self._payments.table, slice_rows=slice_rows))
        parts = []
        for versions, rows in self._payments.versions:
            told = {name: self._contents(name, versions.get(name), today) for name, today in wanted.items()}
            then = rules.judging_by({**rules.contents, **told}, rules.rates)
            parts.append(sweep(then, self._payments.table, slice_rows=slice_rows, within=rows))
        return tuple(_merged(one) for one in zip(*parts, strict=True))

    def _contents(self, name: str, version: str | None, today: ListContents) -> ListContents:
        if version is None or version == today.version:
            return today
        found = None if self._list_at is None else self._list_at(name, version)
        if found is None:
            note = f"@{name} in version {version} is not at hand: payments decided with it are judged by {today.version}"
            if note not in self.notes:
                self.notes.append(note)
        return today if found is None else found


def _merged(parts: Sequence[Fired]) -> Fired:
    known = np.sort(np.concatenate([one.known for one in parts]))
    doubtful = np.sort(np.concatenate([one.doubtful for one in parts]))
    return replace(parts[0], known=known, doubtful=doubtful, errors=sum(one.errors for one in parts))
