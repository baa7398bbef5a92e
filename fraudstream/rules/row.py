"""
The reference evaluator: one transaction at a time, closures over plain Python values, None for missing and unknown.

It shares no arithmetic with the vectorised evaluator, so that the two can prove each other.
"""

import math
from collections.abc import Callable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import TypeVar, assert_never

import msgspec

from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.geometry import distance_km
from fraudstream.rules.lists import ListContents, Networks, email_domain, read_network
from fraudstream.rules.matching import text_test
from fraudstream.rules.plan import (
    Always,
    And,
    Calculation,
    Compare,
    Constant,
    Feature,
    InNetworks,
    Major,
    Missing,
    MoneyConstant,
    Not,
    Number,
    NumberCall,
    NumberField,
    NumberIn,
    Or,
    Text,
    TextCall,
    TextConstant,
    TextEquals,
    TextField,
    TextIn,
    TextLength,
    TextListed,
    TextMatches,
    Truth,
)
from fraudstream.rules.rates import Rates
from fraudstream.rules.vocabulary import NUMBER_FIELDS, TEXT_FIELDS


class Row(msgspec.Struct, frozen=True):
    """
    One transaction with its features, float32 widened; NaN is missing.
    """

    transaction: Transaction
    features: list[float]


Verdict = Callable[[Row], bool | None]
NumberOf = Callable[[Row], float | None]
TextOf = Callable[[Row], str | None]

_T = TypeVar("_T")

_COMPARE: dict[str, Callable[[float, float], bool]] = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


def build_row(condition: Truth, lists: Mapping[str, ListContents], rates: Rates | None = None) -> Verdict:
    """
    Return a function that says of one row whether the condition is true, false or unknown (None).
    """
    return _Builder(lists, rates).truth(condition)


def build_number(value: Number, lists: Mapping[str, ListContents], rates: Rates | None = None) -> NumberOf:
    """
    Return a function that gives the number of one row; None where it is missing.
    """
    return _Builder(lists, rates).number(value)


def build_text(value: Text) -> TextOf:
    """
    Return a function that gives the text of one row; None where it is missing.
    """
    return _Builder({}, None).text(value)


class _Builder:
    def __init__(self, lists: Mapping[str, ListContents], rates: Rates | None) -> None:
        self._lists = lists
        self._rates = rates

    def truth(self, node: Truth) -> Verdict:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of condition
        match node:
            case Always():
                value = node.value
                return lambda _: value
            case Compare():
                return _compare(_COMPARE[node.op], self.number(node.left), self.number(node.right))
            case NumberIn():
                return _known(self.number(node.value), frozenset(node.members).__contains__)
            case TextEquals():
                return _equal(self.text(node.left), self.text(node.right))
            case TextIn():
                return _known(self.text(node.value), frozenset(node.members).__contains__)
            case TextListed():
                return _listed(self.text(node.value), self._lists[node.name].contains)
            case TextMatches():
                return _known(self.text(node.value), text_test(node.op, node.pattern))
            case InNetworks():
                if node.name:
                    return _listed(self.text(node.value), self._lists[node.name].in_network)
                networks = Networks(network for text in node.networks if (network := read_network(text)))
                return _known(self.text(node.value), networks.contains)
            case Missing():
                operand = self.value(node.operand)
                return lambda row: operand(row) is None
            case Not():
                return _inverse(self.truth(node.operand))
            case And():
                return _chain([self.truth(term) for term in node.operands], decides=False)
            case Or():
                return _chain([self.truth(term) for term in node.operands], decides=True)
            case _:
                assert_never(node)

    def value(self, node: Number | Text) -> NumberOf | TextOf:
        if isinstance(node, TextConstant | TextField | TextCall):
            return self.text(node)
        return self.number(node)

    def number(self, node: Number) -> NumberOf:  # noqa: PLR0911 - one case for each kind of number
        match node:
            case Constant():
                constant = node.value
                return lambda _: constant
            case MoneyConstant():
                return _money(node.minor, node.currency, self._rates)
            case NumberField():
                field = NUMBER_FIELDS[node.name]
                return lambda row: _finite(field(row.transaction))
            case Feature():
                column = node.column
                return lambda row: _finite(row.features[column])
            case Major():
                return _major(self.number(node.operand))
            case Calculation():
                return _calculate(node.op, self.number(node.left), self.number(node.right))
            case NumberCall():
                return _call(node.function, [self.number(argument) for argument in node.arguments])
            case TextLength():
                text = self.text(node.operand)
                return lambda row: None if (found := text(row)) is None else float(len(found))
            case _:
                assert_never(node)

    def text(self, node: Text) -> TextOf:
        match node:
            case TextConstant():
                value = node.value
                return lambda _: value
            case TextField():
                field = TEXT_FIELDS[node.name]
                return lambda row: field(row.transaction)
            case TextCall(function="coalesce"):
                choices = [self.text(argument) for argument in node.arguments]
                return lambda row: next((found for choice in choices if (found := choice(row)) is not None), None)
            case TextCall():
                change: Callable[[str], str | None] = str.lower if node.function == "lower" else email_domain
                text = self.text(node.arguments[0])
                return lambda row: None if (found := text(row)) is None else change(found)
            case _:
                assert_never(node)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _compare(test: Callable[[float, float], bool], left: NumberOf, right: NumberOf) -> Verdict:
    def compared(row: Row) -> bool | None:
        one, other = left(row), right(row)
        return None if one is None or other is None else test(one, other)

    return compared


def _equal(left: TextOf, right: TextOf) -> Verdict:
    def equal(row: Row) -> bool | None:
        one, other = left(row), right(row)
        return None if one is None or other is None else one == other

    return equal


def _known(value: Callable[[Row], _T | None], test: Callable[[_T], bool | None]) -> Verdict:
    def asked(row: Row) -> bool | None:
        found = value(row)
        return None if found is None else test(found)

    return asked


def _listed(value: TextOf, test: Callable[[str, float], bool | None]) -> Verdict:
    def asked(row: Row) -> bool | None:
        found = value(row)
        return None if found is None else test(found, row.transaction.occurred_at_ms)

    return asked


def _money(minor: float, currency: str, rates: Rates | None) -> NumberOf:
    def amount(row: Row) -> float | None:
        paid = row.transaction
        if paid.currency == currency:
            return minor
        return None if rates is None else rates.convert(minor, currency, paid.currency, paid.occurred_at_ms)

    return amount


def _inverse(verdict: Verdict) -> Verdict:
    return lambda row: None if (found := verdict(row)) is None else not found


def _chain(verdicts: list[Verdict], *, decides: bool) -> Verdict:
    """
    Join by and (a false decides) or by or (a true decides).
    """

    def joined(row: Row) -> bool | None:
        answer: bool | None = not decides
        for verdict in verdicts:
            found = verdict(row)
            if found is decides:
                return decides
            if found is None:
                answer = None
        return answer

    return joined


def _major(value: NumberOf) -> NumberOf:
    def major(row: Row) -> float | None:
        minor = value(row)
        return None if minor is None else minor / 10.0 ** EXPONENTS[row.transaction.currency]

    return major


def _calculate(op: str, left: NumberOf, right: NumberOf) -> NumberOf:
    def calculated(row: Row) -> float | None:
        one, other = left(row), right(row)
        return None if one is None or other is None else _finite(_apply(op, one, other))

    return calculated


def _apply(op: str, one: float, other: float) -> float | None:
    match op:
        case "+":
            return one + other
        case "-":
            return one - other
        case "*":
            return one * other
        case _:
            return None if other == 0.0 else one / other


def _call(function: str, arguments: list[NumberOf]) -> NumberOf:
    if function == "coalesce":
        return lambda row: next((found for argument in arguments if (found := argument(row)) is not None), None)
    apply = _CALLS[function]

    def called(row: Row) -> float | None:
        values = [argument(row) for argument in arguments]
        known = [value for value in values if value is not None]
        return _finite(apply(row, known)) if len(known) == len(values) else None

    return called


def _bucket(value: float, width: float) -> float | None:
    steps = _finite(_apply("/", value, width))
    return None if steps is None else float(math.floor(steps)) * width


_CALLS: dict[str, Callable[[Row, list[float]], float | None]] = {
    "abs": lambda _, values: abs(values[0]),
    "min": lambda _, values: min(values),
    "max": lambda _, values: max(values),
    "hour": lambda _, values: float(int(values[0]) // 3_600_000 % 24),
    "weekday": lambda _, values: float((int(values[0]) // 86_400_000 + 3) % 7),
    "age_days": lambda row, values: (row.transaction.occurred_at_ms - values[0] * 1000.0) / 86_400_000.0,
    "distance_km": lambda _, values: distance_km(*values),
    "log10": lambda _, values: math.log10(values[0]) if values[0] > 0.0 else None,
    "bucket": lambda _, values: _bucket(*values),
}
