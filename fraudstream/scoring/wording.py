"""
Features in the words of an analyst: ``card_count_1h`` = 6 becomes "6 payments on this card in the last hour".

Names follow ``<entity>_<aggregate>_<field>_<window>``; what does not is told by its own name.
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
    "merchant": "merchant",
    "merchant_category": "kind of merchant",
    "category": "kind of merchant",
    "device": "device",
    "device_id": "device",
    "card": "card",
    "card_id": "card",
    "user": "customer",
    "user_id": "customer",
    "ip": "address",
    "country": "country",
    "counterparty": "counterparty",
    "counterparty_id": "counterparty",
    "email": "e-mail address",
}
_SPANS = {"s": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day"}
_WINDOW = r"(?P<window>\d+(?:s|m|min|h|d))"
_ENTITY = rf"(?P<entity>{'|'.join(_ENTITIES)})"
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Phrase = Callable[[float, str, re.Match[str]], str]


def describe(name: str, unit: str, value: float) -> str:
    """
    Say what a feature found, in one clause without a full stop.

    Args:
        name: The feature's name.
        unit: As its definition has it; money is in ``minor`` units of the transaction's currency.
        value: NaN means that there was nothing to measure.
    """
    for pattern, phrase in _PHRASES:
        found = pattern.fullmatch(name)
        if found:
            return f"no history for {_plain(name)}" if math.isnan(value) else phrase(value, unit, found)
    return f"{_plain(name)}: {'no history' if math.isnan(value) else _quantity(value, unit)}"


def _plain(name: str) -> str:
    """
    Return a name as words: its window spelled out at the end.
    """
    found = re.fullmatch(rf"(?P<rest>.+)_{_WINDOW}", name)
    if not found:
        return name.replace("_", " ")
    return f"{found['rest'].replace('_', ' ')} {_window(found['window'])}"


def _window(window: str) -> str:
    count, span = re.fullmatch(r"(\d+)(\w+)", window).groups()  # type: ignore[union-attr]
    return f"in the last {_SPANS[span]}" if count == "1" else f"in the last {count} {_SPANS[span]}s"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "beyond any number"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2g}"


def _count(value: float, noun: str) -> str:
    if value == 1:
        return f"{_number(value)} {noun}"
    plural = {"country": "countries", "kind of merchant": "kinds of merchant", "counterparty": "counterparties"}
    return f"{_number(value)} {plural.get(noun, noun + ('es' if noun.endswith('s') else 's'))}"


def _quantity(value: float, unit: str) -> str:
    """
    Return a number with its unit; spans of time in the unit that a person would choose.
    """
    if unit in {"s", "second", "seconds"}:
        return _duration(value)
    if unit in {"minor", "amount_minor", "money"}:
        return f"{_number(value)} minor units"
    if unit in {"share", "fraction", "probability"}:
        return f"{value:.0%}"
    return _number(value) if unit in {"", "count", "1", "ratio", "flag", "number"} else f"{_number(value)} {unit}"


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return _number(seconds)
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return _count(math.floor(seconds / size), noun)
    return _count(math.floor(seconds), "second")


def _payments(value: float, _: str, found: re.Match[str]) -> str:
    return f"{_count(value, 'payment')} {_ENTITIES[found['entity']]}{_when(found)}"


def _outcomes(value: float, _: str, found: re.Match[str]) -> str:
    return f"{_count(value, found['outcome'] + ' payment')} {_ENTITIES[found['entity']]}{_when(found)}"


def _distinct(value: float, _: str, found: re.Match[str]) -> str:
    noun = _FIELDS.get(found["field"], found["field"].replace("_", " "))
    return f"{_count(value, 'different ' + noun) if noun not in _FIELDS.values() else _different(value, noun)} {_place(found)}"


def _different(value: float, noun: str) -> str:
    number, _, plural = _count(value, noun).partition(" ")
    return f"{number} different {plural}"


def _place(found: re.Match[str]) -> str:
    return f"{_ENTITIES[found['entity']]}{_when(found)}"


def _when(found: re.Match[str]) -> str:
    return f" {_window(found['window'])}" if found.groupdict().get("window") else " so far"


def _aggregate(value: float, unit: str, found: re.Match[str]) -> str:
    words = {"sum": "total", "avg": "average", "mean": "average", "max": "largest", "min": "smallest", "stddev": "spread of"}
    return f"{words[found['aggregate']]} amount {_place(found)}: {_quantity(value, unit)}"


def _elapsed(value: float, _: str, found: re.Match[str]) -> str:
    return f"{_duration(value)} since the last payment {_ENTITIES[found['entity']]}"


def _age(value: float, _: str, found: re.Match[str]) -> str:
    return f"first payment {_ENTITIES[found['entity']]} was {_duration(value)} ago"


def _ratio(value: float, _: str, found: re.Match[str]) -> str:
    return f"amount is {_number(value)} times the usual {_ENTITIES[found['entity']]}"


def _fraud_share(value: float, _: str, found: re.Match[str]) -> str:
    return f"{value:.1%} of payments {_place(found)} were reported as fraud"


def _speed(value: float, _: str, found: re.Match[str]) -> str:
    return f"{_number(value)} km/h between this and the last payment {_ENTITIES[found['entity']]}"


def _amount(value: float, unit: str, _: re.Match[str]) -> str:
    return f"amount of {_quantity(value, unit)}"


def _hour(value: float, _: str, __: re.Match[str]) -> str:
    return f"paid between {value:02.0f}:00 and {value:02.0f}:59"


def _weekday(value: float, _: str, __: re.Match[str]) -> str:
    return f"paid on a {_DAYS[int(value) % 7]}" if math.isfinite(value) else "paid on no known weekday"


_PHRASES: tuple[tuple[re.Pattern[str], Phrase], ...] = tuple(
    (re.compile(pattern), phrase)
    for pattern, phrase in (
        (rf"{_ENTITY}_count(?:_{_WINDOW})?", _payments),
        (rf"{_ENTITY}_(?:count_)?(?P<outcome>declined|blocked|challenged|flagged|small)(?:_count)?(?:_{_WINDOW})?", _outcomes),
        (rf"{_ENTITY}_distinct_(?P<field>\w+?)s?(?:_{_WINDOW})?", _distinct),
        (rf"{_ENTITY}_(?P<aggregate>sum|avg|mean|max|min|stddev)(?:_amount)?(?:_minor)?(?:_{_WINDOW})?", _aggregate),
        (rf"{_ENTITY}_(?:seconds|time)_since_last", _elapsed),
        (rf"{_ENTITY}_(?:last_seen|since_last)(?:_s)?", _elapsed),
        (rf"{_ENTITY}_(?:age|first_seen|seconds_since_first|since_first)(?:_s)?", _age),
        (rf"{_ENTITY}_(?:amount_)?ratio(?:_amount)?(?:_{_WINDOW})?", _ratio),
        (rf"{_ENTITY}_fraud_(?:rate|share)(?:_{_WINDOW})?", _fraud_share),
        (rf"{_ENTITY}_speed(?:_kmh)?(?:_{_WINDOW})?", _speed),
        (r"amount(?:_minor)?", _amount),
        (r"hour(?:_of_day)?", _hour),
        (r"weekday|day_of_week", _weekday),
    )
)
