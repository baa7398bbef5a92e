"""
Near misses: rules that one condition kept from firing on a transaction, and how far that condition was away.
"""

from collections.abc import Sequence
from math import isfinite

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.currency import format_minor
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.checker import Checker
from fraudstream.rules.explain import build_explain, show_number
from fraudstream.rules.lexer import Token, tokenise
from fraudstream.rules.plan import And, Calculation, Compare, MoneyConstant, Number, NumberCall, NumberField, Truth
from fraudstream.rules.problems import Problems
from fraudstream.rules.row import Row, build_number, build_row
from fraudstream.rules.rule import Rule
from fraudstream.rules.ruleset import RuleSet
from fraudstream.rules.syntax import Expression, Inversion, Logical
from fraudstream.rules.vocabulary import FIELDS, Kind, attributes


class NearMiss(msgspec.Struct, frozen=True, kw_only=True):
    """
    A rule that would have fired but for one condition.

    ``condition`` is what was not true, with its values, personal ones masked. ``gap`` is how far a number was from the
    threshold, ``relative`` the same as a share of it; both are None where there is no distance: a value that is missing, or a
    text. ``words`` say it for people.
    """

    rule_id: str
    action: str
    shadow: bool
    condition: str
    gap: float | None
    relative: float | None
    words: str


def near_misses(rules: RuleSet, transaction: Transaction, vector: NDArray[np.float32]) -> list[NearMiss]:
    """
    Return the rules one condition short of firing, the nearest first; those without a distance stand last.

    Args:
        rules: With their lists and rates.
        transaction: Any; rules that are not in force for it, by time or rollout, are left out.
        vector: Its features, shape (columns,).
    """
    look = _Look(rules, transaction, vector)
    found = [miss for rule in rules.rules if rule.concerns(transaction) and (miss := look.at(rule)) is not None]
    return sorted(found, key=lambda miss: (miss.relative is None, miss.relative or 0.0, miss.rule_id))


class _Look:
    """
    One transaction, held against the conditions as they were written.
    """

    def __init__(self, rules: RuleSet, transaction: Transaction, vector: NDArray[np.float32]) -> None:
        self._rules = rules
        self._transaction = transaction
        self._vector = vector
        self._row = Row(transaction, vector.tolist())
        self._known = attributes(rules.features)
        self._checker = Checker(self._known, rules.contents)
        self._tokens = tokenise(rules.source, Problems(rules.source, "<rules>"))

    def at(self, rule: Rule) -> NearMiss | None:
        missing = self._short(rule.written, wanted=True)
        if len(missing) != 1:
            return None
        (written, wanted) = missing[0]
        plan = self._checker.condition(written)
        gap, threshold = self._gap(plan, wanted=wanted)
        shown = build_explain(self._rules.source, self._inside(written), written, self._known)(self._transaction, self._vector)
        return NearMiss(
            rule_id=rule.rule_id,
            action=rule.action.value,
            shadow=rule.shadow,
            condition=shown if wanted else f"not {shown}",
            gap=gap,
            relative=None if gap is None else gap / max(abs(threshold), 1.0),
            words=self._words(plan, gap),
        )

    def _short(self, written: Expression, *, wanted: bool) -> list[tuple[Expression, bool]]:
        """
        Return the fewest conditions that would have to change for an expression to become what is wanted.
        """
        match written:
            case Inversion():
                return self._short(written.operand, wanted=not wanted)
            case Logical():
                parts = [self._short(one, wanted=wanted) for one in written.operands]
                every = (written.op == "and") is wanted
                return [one for part in parts for one in part] if every else min(parts, key=len)
            case _:
                verdict = build_row(self._checker.condition(written), self._rules.contents, self._rules.rates)(self._row)
                return [] if verdict is wanted else [(written, wanted)]

    def _inside(self, written: Expression) -> Sequence[Token]:
        return [token for token in self._tokens if written.at <= token.at < written.end]

    def _gap(self, plan: Truth, *, wanted: bool) -> tuple[float | None, float]:
        """
        Return how far a comparison is from what is wanted, and its threshold.
        """
        if isinstance(plan, And) and wanted:
            gaps = [self._gap(one, wanted=True) for one in plan.operands if self._is_false(one)]
            return next((one for one in gaps if one[0] is not None), (None, 0.0))
        if not isinstance(plan, Compare):
            return None, 0.0
        left, right = (build_number(one, self._rules.contents, self._rules.rates)(self._row) for one in (plan.left, plan.right))
        if left is None or right is None or not isfinite(left - right):
            return None, 0.0
        return abs(left - right), right

    def _is_false(self, plan: Truth) -> bool:
        return build_row(plan, self._rules.contents, self._rules.rates)(self._row) is False

    def _words(self, plan: Truth, gap: float | None) -> str:
        if gap is None:
            verdict = build_row(plan, self._rules.contents, self._rules.rates)(self._row)
            return "a value is missing" if verdict is None else "another value is needed"
        if gap == 0.0:
            return "exactly on the threshold"
        compare = plan.operands[0] if isinstance(plan, And) else plan
        assert isinstance(compare, Compare), "only comparisons have a distance"
        counted = format_minor(round(gap), self._transaction.currency) if _is_money(compare.left) else show_number(gap)
        return f"{counted} from the threshold"


def _is_money(plan: Number) -> bool:
    match plan:
        case MoneyConstant():
            return True
        case NumberField():
            return FIELDS[plan.name].kind is Kind.MONEY
        case Calculation(op="/"):
            return _is_money(plan.left) and not _is_money(plan.right)
        case Calculation():
            return _is_money(plan.left) or _is_money(plan.right)
        case NumberCall():
            return any(map(_is_money, plan.arguments))
        case _:
            return False
