"""
From one row of a foreign file to one transaction in wire form, by a column mapping; the truth is set apart on the way.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from fraudstream.domain.errors import InvalidSource
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.mapping import DEGREES, MONEY, SCENARIO_COLUMN, TRUTH_COLUMNS, ColumnMapping, Field, Truth
from fraudstream.producers.tokens import card_token

Row = Mapping[str, Any]
#: A bare number below this is seconds since 1970, from here on milliseconds: as the fleet reads it.
_MILLISECONDS_FROM = 10**11
#: A label that says that nobody knows.
_UNSURE = "unsure"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class UnmappedRow(ValueError):
    """
    A row that no transaction can be made of; the text names the column and never its value.
    """


class Translator:
    """
    A mapping made ready for many rows.

    Args:
        mapping: What goes where.
        card_key: Key for fields that are to be tokens; needed only where the mapping asks for one.
    """

    def __init__(self, mapping: ColumnMapping, *, card_key: bytes = b"") -> None:
        self._sources = [(name, _reader(name, field, card_key)) for name, field in mapping.fields.items()]
        self._truth = mapping.truth
        self._named = mapping.columns() | {*TRUTH_COLUMNS, SCENARIO_COLUMN}
        self._rest = mapping.rest

    def labelled(self, row: Row, number: int) -> Labelled:
        """
        Make one transaction of a row; ``number`` is its place among the rows of the file, from 1.

        Raises:
            UnmappedRow: A required field is empty, or a value is not of its kind.
        """
        body: dict[str, Any] = {}
        for name, read in self._sources:
            value = read(row, number)
            if value is not None:
                body[name] = value
        for name in ("transaction_id", "amount", "timestamp"):
            if name not in body:
                raise UnmappedRow(f"there is no value for '{name}'")
        if self._rest:
            body |= {key: value for key, value in row.items() if key.lower() not in self._named and not _empty(value)}
        fraud, scenario = judge(self._truth, row) if self._truth is not None else (None, "")
        return Labelled(
            body=msgspec.json.encode(body, enc_hook=str),
            transaction_id=str(body["transaction_id"]),
            occurred_at_ms=event_time_ms(body["timestamp"]),
            fraud=fraud,
            scenario=scenario,
        )


def event_time_ms(value: object) -> int:
    """
    Read a timestamp of the wire as milliseconds since 1970 UTC.

    Raises:
        UnmappedRow: It is no number and not RFC 3339 with an offset.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return round(value * 1000) if value < _MILLISECONDS_FROM else int(value)
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        raise UnmappedRow("'timestamp' is neither a number nor RFC 3339") from None
    if moment.tzinfo is None:
        raise UnmappedRow("'timestamp' has no offset from UTC; a mapping may say assume_utc")
    return (moment - _EPOCH) // _MILLISECOND


def _reader(name: str, field: Field, card_key: bytes) -> Callable[[Row, int], Any]:
    """
    Return the function that makes one field of a row; None is an absent value.
    """
    convert = _converter(name, field)
    if field.constant is not None:
        constant = convert(field.constant)
        return lambda _row, _number: constant
    if field.row_number:
        return lambda _row, number: f"{field.prefix}{number}"
    if field.token and not card_key:
        raise InvalidSource(f"the mapping wants a token for field '{name}', but no key for it was given")

    def read(row: Row, _number: int) -> Any:
        value = row.get(field.column)
        if _empty(value):
            return None
        try:
            return convert(card_token(card_key, _text(value)) if field.token else value)
        except UnmappedRow as exc:
            raise UnmappedRow(f"column '{field.column}': {exc}") from None

    return read


def _converter(name: str, field: Field) -> Callable[[Any], Any]:
    if name in MONEY:
        return _money(field.scale)
    if name in DEGREES:
        factor = field.scale if field.scale is not None else 1.0
        return lambda value: float(_number(value)) * factor
    if name == "timestamp":
        return lambda value: _time(value, field)
    if name == "metadata":
        return lambda value: value if isinstance(value, dict) else {"metadata": value}
    if field.words or field.starting or field.prefix:
        return lambda value: _word(_text(value), field)
    return _text


def _money(scale: float | None) -> Callable[[Any], str]:
    if scale is None:
        return lambda value: format(_number(value), "f")
    factor = Decimal(str(scale))
    return lambda value: format(_number(value) * factor, "f")


def _empty(value: object) -> bool:
    return value is None or value == "" or value != value  # noqa: PLR0124 (only NaN differs from itself)


def _number(value: object) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, int) else Decimal(str(value).strip())
    except InvalidOperation:
        raise UnmappedRow("this is no number") from None
    if not number.is_finite() or abs(number.adjusted()) > 40:
        raise UnmappedRow("this is no amount that could be paid")
    return number


def _text(value: object) -> str:
    """
    Write an identifier as text; a whole number that a table kept as a float loses its point.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise UnmappedRow("this is not UTF-8") from None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _word(text: str, field: Field) -> str | None:
    text = field.words.get(text, text)
    return f"{field.prefix}{text}" if text.startswith(field.starting) else None


def _time(value: object, field: Field) -> int | float | str:
    """
    Return a time as the wire wants it: seconds or milliseconds since 1970 as a number, or RFC 3339.
    """
    if field.start is not None:
        start_ms = (field.start - _EPOCH) // _MILLISECOND
        return _seconds(start_ms + round(_number(value) * 1000 * Decimal(field.unit_s)))
    if isinstance(value, datetime | date):
        value = value.isoformat()
    if isinstance(value, str):
        try:
            value = float(value) if "." in value else int(value)
        except ValueError:
            return _moment(str(value).strip(), field)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise UnmappedRow("this is no time")


def _seconds(at_ms: int) -> int | float:
    return at_ms // 1000 if at_ms % 1000 == 0 else at_ms / 1000


def _moment(text: str, field: Field) -> str:
    text = text.replace(" ", "T", 1)
    if field.assume_utc and text[-1:] != "Z" and "+" not in text and "-" not in text[10:]:
        text = f"{text}Z" if "T" in text else f"{text}T00:00:00Z"
    event_time_ms(text)
    return text


def judge(truth: Truth, row: Row) -> tuple[bool | None, str]:
    """
    Return the label of a row and its scenario; None where the column is empty or says unsure.
    """
    value = row.get(truth.column)
    scenario = _text(row.get(truth.scenario)) if truth.scenario and not _empty(row.get(truth.scenario)) else ""
    if _empty(value):
        return None, scenario
    if truth.above is not None:
        try:
            return _number(value) > Decimal(str(truth.above)), scenario
        except UnmappedRow as exc:
            raise UnmappedRow(f"column '{truth.column}': {exc}") from None
    word = _text(value).strip().lower()
    return (None if word == _UNSURE else word in truth.words), scenario
