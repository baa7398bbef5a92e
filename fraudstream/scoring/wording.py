"""
Features in the words of an analyst: ``card_count_1h`` = 6 becomes "6 payments on this card in the last hour".

Names follow ``<entity>_<aggregate>_<field>_<window>``. What does not is told by the sentence of its definition.
"""

import math
import re
from collections.abc import Callable

_ENTITIES = {
    "card": "on this card",
    "user": "by this customer",
    "device": "from this device",
    "merchant": "at this merchant",
    "ip": "from this address",
}
_FIELDS = {
    "merchant": ("merchant", "merchants"),
    "merchant_category": ("kind of merchant", "kinds of merchant"),
    "device_id": ("device", "devices"),
    "card_id": ("card", "cards"),
    "user_id": ("customer", "customers"),
    "ip": ("address", "addresses"),
    "country": ("country", "countries"),
    "counterparty_id": ("counterparty", "counterparties"),
    "email": ("e-mail address", "e-mail addresses"),
}
_AMOUNTS = {
    "sum": "total amount",
    "avg": "average amount",
    "median": "median amount",
    "max": "largest amount",
    "min": "smallest amount",
    "stddev": "spread of the amounts",
}
_SPANS = {"m": "minute", "h": "hour", "d": "day"}

Words = dict[str, str | None]
Phrase = Callable[[float, str, Words], str]


def teller(name: str, unit: str, description: str = "") -> Callable[[float], str]:
    """
    Return what says, of a value of a feature, what was found: one clause without a full stop. NaN is told as no history.

    Args:
        name: The feature's name.
        unit: As its definition has it; money is in minor units of the transaction's currency.
        description: The sentence of its definition, for names that follow no pattern.
    """
    subject = description.rstrip(".") or name.replace("_", " ")
    found = next(((phrase, match.groupdict()) for pattern, phrase in _PHRASES if (match := pattern.fullmatch(name))), None)

    def tell(value: float) -> str:
        if found and math.isfinite(value):
            return found[0](value, unit, found[1])
        return f"{subject}: {'no history' if math.isnan(value) else _quantity(value, unit)}"

    return tell


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "beyond measure"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2g}"


def _count(value: float, one: str, many: str) -> str:
    return f"{_number(value)} {one if value == 1 else many}"


def _quantity(value: float, unit: str) -> str:
    """
    Return a number with its unit; spans of time in the unit that a person would choose.
    """
    match unit:
        case "seconds":
            return _duration(value)
        case "share":
            return f"{value:.1%}"
        case "1 = yes" | "1 = new" | "1 = fraud":
            return "yes" if value else "no"
        case "" | "ratio" | "values" | "transactions" | "count":
            return _number(value)
        case _:
            return f"{_number(value)} {unit}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return _number(seconds)
    for size, one in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return _count(math.floor(seconds / size), one, f"{one}s")
    return _count(math.floor(seconds), "second", "seconds")


def _where(words: Words) -> str:
    """
    Return whose past is meant, and how far back.
    """
    entity, window = _ENTITIES[str(words["entity"])], words.get("window")
    if window is None:
        return entity
    count, span = int(window[:-1]), _SPANS[window[-1]]
    return f"{entity} in the last {span if count == 1 else f'{count} {span}s'}"


def _field(words: Words) -> tuple[str, str]:
    field = str(words["field"])
    plain = field.replace("_", " ")
    return _FIELDS.get(field, (f"value of {plain}", f"values of {plain}"))


def _payments(value: float, _: str, words: Words) -> str:
    small = "small " if words.get("small") else ""
    return f"{_count(value, f'{small}payment', f'{small}payments')} {_where(words)}"


def _distinct(value: float, _: str, words: Words) -> str:
    one, many = _field(words)
    return f"{_count(value, one, f'different {many}')} {_where(words)}"


def _is_new(value: float, _: str, words: Words) -> str:
    one, _many = _field(words)
    article = "an" if one[0] in "aeiou" else "a"
    return f"{article} {one} {'never seen' if value else 'seen'} before {_where(words)}"


def _amount_of(value: float, unit: str, words: Words) -> str:
    return f"{_AMOUNTS[str(words['aggregate'])]} {_where(words)}: {_quantity(value, unit)}"


def _elapsed(value: float, _: str, words: Words) -> str:
    return f"{_duration(value)} since the last payment {_where(words)}"


def _age(value: float, _: str, words: Words) -> str:
    return f"first payment {_where(words)} was {_duration(value)} ago"


def _times_usual(value: float, _: str, words: Words) -> str:
    return f"amount is {_number(value)} times what is usual {_where(words)}"


def _surge(value: float, _: str, words: Words) -> str:
    return f"{_number(value)} times as many payments as usual {_where(words)}"


def _speed(value: float, _: str, words: Words) -> str:
    return f"{_number(round(value))} km/h from the last place {_where(words)}"


def _fraud_share(value: float, _: str, words: Words) -> str:
    return f"{value:.1%} reported as fraud {_where(words)}"


def _amount(value: float, unit: str, _: Words) -> str:
    return f"amount of {_quantity(value, unit)}"


def _hour(value: float, _: str, __: Words) -> str:
    return f"paid between {value:02.0f}:00 and {value:02.0f}:59 UTC"


def _night(value: float, _: str, __: Words) -> str:
    return "paid before 7:00 UTC" if value else "paid after 7:00 UTC"


def _weekend(value: float, _: str, __: Words) -> str:
    return "paid on a weekend" if value else "paid on a weekday"


_ENTITY = rf"(?P<entity>{'|'.join(_ENTITIES)})"
_WINDOW = r"(?:_(?P<window>\d+[mhd]))?"
_PHRASES: tuple[tuple[re.Pattern[str], Phrase], ...] = tuple(
    (re.compile(pattern), phrase)
    for pattern, phrase in (
        (rf"{_ENTITY}(?P<small>_small)?_count{_WINDOW}", _payments),
        (rf"{_ENTITY}_distinct_(?P<field>[a-z_]+?){_WINDOW}", _distinct),
        (rf"{_ENTITY}_is_new_(?P<field>[a-z_]+?){_WINDOW}", _is_new),
        (rf"{_ENTITY}_(?P<aggregate>{'|'.join(_AMOUNTS)})_amount(?:_minor)?{_WINDOW}", _amount_of),
        (rf"{_ENTITY}_(?:time_since_last|last_seen){_WINDOW}", _elapsed),
        (rf"{_ENTITY}_first_seen", _age),
        (rf"{_ENTITY}_ratio_to_(?:baseline|mean|median){_WINDOW}", _times_usual),
        (rf"{_ENTITY}_surge{_WINDOW}", _surge),
        (rf"{_ENTITY}_speed_kmh{_WINDOW}", _speed),
        (rf"{_ENTITY}_fraud_(?:rate|share){_WINDOW}", _fraud_share),
        (r"amount(?:_minor)?", _amount),
        (r"hour(?:_of_day)?", _hour),
        (r"night", _night),
        (r"weekend", _weekend),
    )
)
