"""
A set of rules ready to run: every hit of every rule, in the order in which they win, whatever any one rule does.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.errors import InvalidRule
from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.columns import Batch
from fraudstream.rules.explain import Explain
from fraudstream.rules.lists import ListContents, versions
from fraudstream.rules.plan import has_money, lists_of
from fraudstream.rules.rates import RATES, Rates
from fraudstream.rules.row import Row, Verdict, build_row
from fraudstream.rules.rule import PRECEDENCE, Rule
from fraudstream.rules.syntax import OnMissing
from fraudstream.rules.vector import Condition


class RowHits(msgspec.Struct, frozen=True):
    """
    What the rules said of one transaction.

    ``hits`` stand by class (hard block, allow, block, challenge, review, score), then priority, then id: the first that is no
    score decides. ``shadow_hits`` stand likewise and must change nothing. ``errors`` are the ids of rules that failed on this
    transaction and therefore said nothing.
    """

    hits: tuple[RuleHit, ...] = ()
    shadow_hits: tuple[RuleHit, ...] = ()
    errors: tuple[str, ...] = ()


_NOTHING = RowHits()


def count_errors(rows: Iterable[RowHits]) -> dict[str, int]:
    """
    Return on how many transactions each rule failed; rules that never did are left out.
    """
    return dict(Counter(rule_id for row in rows for rule_id in row.errors))


_Order = tuple[int, int, str]
_Found = tuple[_Order, bool, RuleHit]
_ORDER = itemgetter(0)


class ReadyRule:
    """
    A rule with what the two evaluators made of it, and what does not change from hit to hit.

    ``always`` says that neither dates nor a rollout limit it.
    """

    __slots__ = ("_known", "_unknown", "always", "condition", "explain", "rule", "verdict")

    def __init__(self, rule: Rule, condition: Condition, verdict: Verdict, explain: Explain) -> None:
        self.rule = rule
        self.condition = condition
        self.verdict = verdict
        self.explain = explain
        self.always = rule.rollout is None and rule.active_from_ms is None and rule.active_until_ms is None
        self._known = _answer(rule, rule.action)
        self._unknown = _answer(rule, Action.REVIEW if rule.on_missing is OnMissing.REVIEW else rule.action)

    def judging_by(self, lists: Mapping[str, ListContents], rates: Rates | None) -> "ReadyRule":
        """
        Return this rule over other lists and rates; itself where it reads neither.
        """
        condition = self.rule.condition
        if not lists_of(condition) and not has_money(condition):
            return self
        return ReadyRule(self.rule, self.condition, build_row(condition, lists, rates), self.explain)

    def hit(self, transaction: Transaction, vector: NDArray[np.float32], *, known: bool) -> _Found:
        """
        Return the hit of this rule on one transaction, with its place among others and whether it is a shadow.
        """
        order, action, points = self._known if known else self._unknown
        rule = self.rule
        hit = RuleHit(
            rule_id=rule.rule_id,
            action=action,
            reason=rule.reason,
            points=points,
            priority=rule.priority,
            explanation=self._explanation(transaction, vector),
            tags=rule.tags,
        )
        return order, rule.shadow, hit

    def _explanation(self, transaction: Transaction, vector: NDArray[np.float32]) -> str:
        try:
            return self.explain(transaction, vector)
        except Exception:  # noqa: BLE001 - a value that cannot be shown must not save anybody from the rule
            return "the values cannot be shown"


def _answer(rule: Rule, action: Action) -> tuple[_Order, Action, float]:
    points = rule.points if action is Action.SCORE else 0.0
    return (PRECEDENCE[action], rule.priority, rule.rule_id), action, points


@dataclass(frozen=True, slots=True)
class RuleSet:
    """
    An immutable set of rules; the same transactions, features and lists always give the same hits.

    ``id`` is the SHA-256 (64 hex digits) of ``source``, the canonical text. ``lists`` maps each list that a rule looks into to
    the version of its contents, and ``$rates`` to that of the rates where a rule names an amount of a currency; ``contents``
    and ``rates`` are they. ``features`` are the columns that the matrix must have, in order.
    ``doubtful`` says that some rule does something when its condition is unknown.
    """

    id: str
    source: str
    rules: tuple[Rule, ...]
    features: tuple[str, ...]
    lists: Mapping[str, str]
    ready: tuple[ReadyRule, ...]
    slots: int
    doubtful: bool
    contents: Mapping[str, ListContents]
    rates: Rates | None = None

    def judging_by(self, lists: Mapping[str, ListContents], rates: Rates | None) -> "RuleSet":
        """
        Return the same rules over other lists and rates; nothing is parsed or tested again.

        Raises:
            InvalidRule: A list that a rule looks into is not there.
        """
        contents = lists_read(self.rules, lists)
        return replace(
            self,
            contents=contents,
            rates=rates,
            lists=versions_read(self.rules, contents, rates),
            ready=tuple(ready.judging_by(contents, rates) for ready in self.ready),
        )

    def evaluate(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> list[RowHits]:
        """
        Return the hits of each transaction, all rules over the whole batch at once.

        A rule that fails on the batch is tried on each transaction alone, so that only the culprit goes without it; its id then
        stands in that row's ``errors``. Nothing is ever raised for the sake of one rule.

        Args:
            transactions: In any order; one answer for each, in the same order.
            matrix: Shape (batch, features), float32, columns as in ``features``; NaN means missing.

        Raises:
            ValueError: The matrix has another shape.
        """
        self._expect(transactions, matrix)
        if not transactions:
            return []
        tally = _Tally()
        with np.errstate(all="ignore"):
            batch = Batch(transactions, matrix, self.slots)
            batch.lists, batch.rates = self.contents, self.rates
            known = np.zeros((len(self.ready), batch.size), np.bool_)
            unknown = np.zeros((len(self.ready) if self.doubtful else 0, batch.size), np.bool_)
            for place, ready in enumerate(self.ready):
                try:
                    known[place] = ready.condition.truth(batch)
                    if ready.condition.unknown is not None:
                        unknown[place] = ready.condition.unknown(batch)
                except Exception:  # noqa: BLE001 - one rule must not take the batch down; its rows are worked alone
                    fires = _one_by_one(ready, batch, matrix, tally)
                    known[place] = fires[:, 0]
                    if ready.condition.unknown is not None:
                        unknown[place] = fires[:, 1]
        for fired, sure in ((known, True), (unknown, False)):
            for at in fired.ravel().nonzero()[0].tolist():
                place, row = divmod(at, batch.size)
                tally.note(row, self.ready[place], transactions[row], matrix[row], known=sure)
        return tally.rows(batch.size)

    def evaluate_by_row(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> list[RowHits]:
        """
        Return the same as ``evaluate`` by the reference evaluator, one transaction and one rule at a time.

        Raises:
            ValueError: The matrix has another shape.
        """
        self._expect(transactions, matrix)
        tally = _Tally()
        for place, (transaction, vector) in enumerate(zip(transactions, matrix, strict=True)):
            row = Row(transaction, vector.tolist())
            for ready in self.ready:
                fires = _verdict(ready, row, place, tally)
                if any(fires):
                    tally.note(place, ready, transaction, vector, known=fires[0])
        return tally.rows(len(transactions))

    def _expect(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> None:
        wanted = (len(transactions), len(self.features))
        if matrix.shape != wanted:
            raise ValueError(f"the feature matrix has shape {matrix.shape}, these rules need {wanted}")


def lists_read(rules: Iterable[Rule], lists: Mapping[str, ListContents]) -> dict[str, ListContents]:
    """
    Return the lists that some rule looks into.

    Raises:
        InvalidRule: One of them is not there.
    """
    wanted = sorted(frozenset[str]().union(*(lists_of(rule.condition) for rule in rules)))
    missing = [name for name in wanted if name not in lists]
    if missing:
        raise InvalidRule(f"rules look into lists that are not there: {', '.join(f'@{name}' for name in missing)}")
    return {name: lists[name] for name in wanted}


def versions_read(rules: Iterable[Rule], lists: Mapping[str, ListContents], rates: Rates | None) -> dict[str, str]:
    """
    Return the versions of what the rules read beside features: lists by name, and the rates where an amount needs them.
    """
    told = versions(lists)
    if rates is not None and any(has_money(rule.condition) for rule in rules):
        told[RATES] = rates.version
    return told


class _Tally:
    """
    Collects hits and errors by row; most rows have neither and cost nothing.
    """

    def __init__(self) -> None:
        self._hits: dict[int, list[_Found]] = {}
        self._errors: dict[int, list[str]] = {}

    def note(self, row: int, ready: ReadyRule, transaction: Transaction, vector: NDArray[np.float32], *, known: bool) -> None:
        try:
            if ready.always or ready.rule.concerns(transaction):
                self._hits.setdefault(row, []).append(ready.hit(transaction, vector, known=known))
        except Exception:  # noqa: BLE001 - a key that cannot be hashed costs this rule its hit, nothing else
            self.fail(row, ready)

    def fail(self, row: int, ready: ReadyRule) -> None:
        self._errors.setdefault(row, []).append(ready.rule.rule_id)

    def rows(self, size: int) -> list[RowHits]:
        answers = [_NOTHING] * size
        for row in self._hits.keys() | self._errors.keys():
            found = self._hits.get(row, [])
            if len(found) > 1:
                found.sort(key=_ORDER)
            answers[row] = RowHits(
                tuple([hit for _, shadow, hit in found if not shadow]),
                tuple([hit for _, shadow, hit in found if shadow]),
                tuple(sorted(self._errors.get(row, ()))),
            )
        return answers


def _one_by_one(ready: ReadyRule, batch: Batch, matrix: NDArray[np.float32], tally: _Tally) -> NDArray[np.bool_]:
    """
    Return, shape (batch, 2), where a rule is true and where its doubt counts, by the reference evaluator.
    """
    rows = [Row(transaction, vector) for transaction, vector in zip(batch.transactions, matrix.tolist(), strict=True)]
    return np.array([_verdict(ready, row, place, tally) for place, row in enumerate(rows)], np.bool_)


def _verdict(ready: ReadyRule, row: Row, place: int, tally: _Tally) -> tuple[bool, bool]:
    """
    Return whether a rule fires because its condition is true, or because it is unknown.
    """
    try:
        verdict = ready.verdict(row)
    except Exception:  # noqa: BLE001 - the culprit is found: this rule says nothing of this row
        tally.fail(place, ready)
        return False, False
    return verdict is True, verdict is None and ready.rule.on_missing is not OnMissing.SKIP
