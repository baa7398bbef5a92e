"""
The functions of the language: how many values each takes, of what kinds, and what it gives.
"""

from collections.abc import Callable, Sequence

import msgspec

from fraudstream.rules.plan import Calculation, Number, NumberCall, TextCall, TextLength
from fraudstream.rules.values import Value, common_kind, in_kind, numeric
from fraudstream.rules.vocabulary import Kind

#: Most values that min, max and coalesce take.
MAX_ARGUMENTS = 8

Values = Sequence[Value]


class Function(msgspec.Struct, frozen=True):
    """
    ``arity`` is the least and the most values; ``usage`` is what a person is shown; ``build`` returns None for wrong kinds.
    """

    arity: tuple[int, int]
    usage: str
    build: Callable[[str, Values], Value | None]


def _same_kind(name: str, values: Values) -> Value | None:
    kind = common_kind(*values)
    if kind is None or not numeric(kind):
        return None
    return Value(kind, NumberCall(name, tuple(in_kind(value, kind) for value in values)))


def _coalesce(name: str, values: Values) -> Value | None:
    if all(value.kind is Kind.TEXT for value in values):
        return Value(Kind.TEXT, TextCall(name, tuple(value.text for value in values)))
    return _same_kind(name, values)


def _text_to_text(name: str, values: Values) -> Value | None:
    return Value(Kind.TEXT, TextCall(name, (values[0].text,))) if values[0].kind is Kind.TEXT else None


def _length(_: str, values: Values) -> Value | None:
    return Value(Kind.NUMBER, TextLength(values[0].text)) if values[0].kind is Kind.TEXT else None


def _of_time(name: str, values: Values) -> Value | None:
    return Value(Kind.NUMBER, NumberCall(name, (values[0].number,))) if values[0].kind is Kind.TIME else None


def _age_days(name: str, values: Values) -> Value | None:
    if values[0].kind is Kind.NUMBER:
        seconds: Number = values[0].number
        return Value(Kind.NUMBER, NumberCall(name, (seconds,)))
    return None


def _plain(name: str, values: Values) -> Value | None:
    if not all(value.kind in (Kind.NUMBER, Kind.MINOR) for value in values):
        return None
    return Value(Kind.NUMBER, NumberCall(name, tuple(value.number for value in values)))


def _ratio(_: str, values: Values) -> Value | None:
    kind = common_kind(*values)
    if kind is None or not numeric(kind):
        return None
    return Value(Kind.NUMBER, Calculation("/", in_kind(values[0], kind), in_kind(values[1], kind)))


def _log10(name: str, values: Values) -> Value | None:
    if not numeric(values[0].kind):
        return None
    number = in_kind(values[0], Kind.NUMBER) if values[0].kind is Kind.MONEY else values[0].number
    return Value(Kind.NUMBER, NumberCall(name, (number,)))


#: Every function but is_missing, which takes any value and gives a condition.
FUNCTIONS: dict[str, Function] = {
    "abs": Function((1, 1), "abs(:balance_after:)", _same_kind),
    "min": Function((2, MAX_ARGUMENTS), "min(a, b, ...), all numbers or all money", _same_kind),
    "max": Function((2, MAX_ARGUMENTS), "max(a, b, ...), all numbers or all money", _same_kind),
    "coalesce": Function((2, MAX_ARGUMENTS), "coalesce(:card_count_1h:, 0): the first that is not missing", _coalesce),
    "lower": Function((1, 1), "lower(:email:)", _text_to_text),
    "domain": Function((1, 1), "domain(:email:)", _text_to_text),
    "length": Function((1, 1), "length(:merchant:)", _length),
    "hour": Function((1, 1), "hour(:timestamp:), 0 to 23 in UTC", _of_time),
    "weekday": Function((1, 1), "weekday(:timestamp:), 0 is Monday, in UTC", _of_time),
    "age_days": Function((1, 1), "age_days(x), x in seconds since 1970; days from x to the transaction", _age_days),
    "distance_km": Function((4, 4), "distance_km(latitude, longitude, latitude, longitude)", _plain),
    "ratio": Function((2, 2), "ratio(a, b) is a / b; missing when b is 0", _ratio),
    "log10": Function((1, 1), "log10(:amount:), of major units", _log10),
    "bucket": Function((2, 2), "bucket(x, width): x rounded down to a multiple of width", _same_kind),
}
