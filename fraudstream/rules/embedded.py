"""
The tests that stand beside a rule: a transaction made up from a few values, and whether the rule must hit it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from math import nan
from typing import Any

import msgspec

from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.instants import instant_ms
from fraudstream.rules.lists import ListContents
from fraudstream.rules.parser import number_value
from fraudstream.rules.problems import Problem, Problems, Refused, did_you_mean
from fraudstream.rules.row import Row, build_row
from fraudstream.rules.rule import Rule
from fraudstream.rules.syntax import BoolLiteral, GivenValue, NumberLiteral, OnMissing, RuleTest, TextLiteral
from fraudstream.rules.vocabulary import Attribute, Kind, attributes

#: The transaction that a test begins with; every other field and every feature is missing until the test gives it.
DEFAULTS: dict[str, Any] = {
    "transaction_id": "test",
    "amount_minor": 0,
    "currency": "USD",
    # 2026-01-01T12:00:00Z
    "occurred_at_ms": 1_767_268_800_000,
}
_WORDS = {True: "hit", False: "miss"}


def run_tests(
    rule: Rule,
    known: Mapping[str, Attribute],
    lists: Mapping[str, ListContents],
    problems: Problems,
    written: Callable[[str], str] = str,
) -> None:
    """
    Run the tests of one rule by the reference evaluator and note those that fail, or cannot be run.

    A test asks about the condition (with ``on_missing``), not about rollout, shadow or dates. What it writes out
    stands in its payment as ``written`` says.
    """
    for test in rule.tests:
        try:
            hits = _hits(rule, test, known, lists, written)
        except Refused as refused:
            problems.add(refused.problem)
            continue
        if hits is not test.hit:
            wanted, got = ("hit", "missed") if test.hit else ("miss", "hit")
            message = f"rule {rule.rule_id} must {wanted} this transaction, and {got} it"
            problems.add(Problem(test.at, test.end - test.at, message, "mend the rule, or the test"))


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """
    How one test went. ``at`` and ``end`` are its characters in the source. ``expected`` and ``got`` are ``hit`` or ``miss``;
    ``got`` is ``error``, with ``problem`` in words, where the test cannot be run.
    """

    rule_id: str
    at: int
    end: int
    expected: str
    got: str
    problem: str = ""

    @property
    def passed(self) -> bool:
        """
        Whether the rule did what its test says.
        """
        return self.expected == self.got


def results(rules: Iterable[Rule], features: Sequence[str], lists: Mapping[str, ListContents]) -> list[Result]:
    """
    Run every test of every rule and return how each went, in the order of the rules given.
    """
    known = attributes(features)
    return [_result(rule, test, known, lists) for rule in rules for test in rule.tests]


def _result(rule: Rule, test: RuleTest, known: Mapping[str, Attribute], lists: Mapping[str, ListContents]) -> Result:
    problem = ""
    try:
        got = _WORDS[_hits(rule, test, known, lists)]
    except Refused as refused:
        got, problem = "error", refused.problem.message
    return Result(rule_id=rule.rule_id, at=test.at, end=test.end, expected=_WORDS[test.hit], got=got, problem=problem)


def _hits(
    rule: Rule,
    test: RuleTest,
    known: Mapping[str, Attribute],
    lists: Mapping[str, ListContents],
    written: Callable[[str], str] = str,
) -> bool:
    for given in test.lists:
        if given.name not in lists:
            hint = did_you_mean(given.name, lists, "@{}")
            raise Refused(Problem(given.at, len(given.name) + 1, f"unknown list @{given.name}", hint))
    contents = {**lists, **{given.name: ListContents(map(written, given.entries)) for given in test.lists}}
    verdict = build_row(rule.condition, contents)(_row(test, known, written))
    return verdict is True or (verdict is None and rule.on_missing is not OnMissing.SKIP)


def _row(test: RuleTest, known: Mapping[str, Attribute], written: Callable[[str], str]) -> Row:
    width = sum(attribute.column is not None for attribute in known.values())
    columns = [attribute.column for attribute in known.values() if attribute.column is not None]
    features = [nan] * (max(columns) + 1 if width else 0)
    fields = dict(DEFAULTS)
    # The currency first: it says how many digits an amount has.
    for given in sorted(test.values, key=lambda value: value.name != "currency"):
        attribute = known.get(given.name)
        if attribute is None:
            raise _refused(given, f"unknown attribute {given.name}", did_you_mean(given.name, known))
        if attribute.column is not None:
            features[attribute.column] = _number(given)
        else:
            fields.update(_field(given, attribute, fields["currency"]))
    told: dict[str, Any] = {name: written(value) if isinstance(value, str) else value for name, value in fields.items()}
    return Row(Transaction(**told), features)


def _field(given: GivenValue, attribute: Attribute, currency: str) -> dict[str, Any]:
    value = given.value
    name = attribute.name
    if given.name == "amount_minor":
        return {"amount_minor": int(_number(given))}
    if attribute.kind is Kind.MONEY:
        return _money(given, name, currency)
    if attribute.kind is Kind.TIME:
        return {"occurred_at_ms": _instant(given)}
    if attribute.kind is Kind.NUMBER:
        return {name: None if value is None else _number(given)}
    if value is not None and not isinstance(value, TextLiteral):
        raise _refused(given, f"{given.name} holds a string")
    if name == "currency" and (value is None or value.value not in EXPONENTS):
        raise _refused(given, "a currency is a code of ISO 4217, such as 'USD'")
    return {name: None if value is None else value.value}


def _money(given: GivenValue, name: str, currency: str) -> dict[str, Any]:
    value = given.value
    if value is None and name != "amount":
        return {f"{name}_minor": None}
    if not isinstance(value, NumberLiteral) or (value.unit and value.unit not in EXPONENTS):
        raise _refused(given, f"{given.name} holds an amount, such as 12.50")
    code = value.unit or currency
    minor = Decimal(value.digits).scaleb(EXPONENTS[code]).to_integral_value(ROUND_HALF_EVEN)
    fields: dict[str, Any] = {f"{name}_minor": int(minor)}
    return {**fields, "currency": code} if value.unit else fields


def _instant(given: GivenValue) -> int:
    value = given.value
    at_ms = instant_ms(value.value) if isinstance(value, TextLiteral) else None
    if isinstance(value, NumberLiteral) and not value.unit:
        at_ms = int(Decimal(value.digits) * 1000)
    if at_ms is None:
        raise _refused(given, "a time is written '2026-01-31T08:00:00Z', or in seconds since 1970")
    return at_ms


def _number(given: GivenValue) -> float:
    match given.value:
        case None:
            return nan
        case NumberLiteral() as literal if literal.unit not in EXPONENTS:
            return number_value(literal)
        case BoolLiteral() as literal:
            return float(literal.value)
        case _:
            raise _refused(given, f"{given.name} holds a number")


def _refused(given: GivenValue, message: str, hint: str = "") -> Refused:
    return Refused(Problem(given.at, max(1, given.end - given.at), message, hint))
