"""
A transaction as it stands on the stream, and what becomes of it: tolerant where producers differ, strict in what comes out.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.limits import MAX_BODY_BYTES, MAX_ID_BYTES, MAX_METADATA_DEPTH, MAX_TEXT_BYTES
from fraudstream.domain.masking import CARD_DIGITS, has_card_number, is_card_number_id, may_hold_card_number, without_sensitive
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_values import (
    amount_minor_of,
    balance_minor_of,
    currency_of,
    degrees_of,
    occurred_at_ms_of,
    text_of,
    transaction_id_of,
)


class _Wire(msgspec.Struct):
    """
    The fields that a producer may send, in the types that it may send them in.
    """

    transaction_id: str | int
    amount: Decimal
    timestamp: int | float | str
    currency: str | None = None
    user_id: str | int | None = None
    card_id: str | int | None = None
    merchant: str | int | None = None
    merchant_id: str | int | None = None
    merchant_category: str | int | None = None
    device_id: str | int | None = None
    ip: str | None = None
    email: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    channel: str | None = None
    type: str | None = None
    counterparty_id: str | int | None = None
    balance_before: Decimal | None = None
    balance_after: Decimal | None = None
    counterparty_balance_before: Decimal | None = None
    counterparty_balance_after: Decimal | None = None
    metadata: dict[str, Any] | None = None


class _WireOnly(_Wire, forbid_unknown_fields=True):
    """
    The same, and nothing beside them: the quick way in, which most bodies take.
    """


#: A text of so many characters has no more than MAX_TEXT_BYTES bytes, an id no more than MAX_ID_BYTES.
_PlainText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT_BYTES // 4)]
_PlainId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_BYTES // 4)]


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """
    A body that holds nothing but what can be taken over as it stands: most are, and take half the time.
    """

    transaction_id: _PlainId
    amount: Decimal
    timestamp: int | float | str
    currency: str | None = None
    user_id: _PlainText | None = None
    card_id: _PlainText | None = None
    merchant: _PlainText | None = None
    merchant_category: _PlainText | None = None
    device_id: _PlainText | None = None
    ip: _PlainText | None = None
    email: _PlainText | None = None
    country: _PlainText | None = None
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)] | None = None
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)] | None = None
    channel: _PlainText | None = None
    type: _PlainText | None = None
    counterparty_id: _PlainText | None = None


_plain_decoder = msgspec.json.Decoder(_Plain)
_quick_decoder = msgspec.json.Decoder(_WireOnly)
_tolerant_decoder = msgspec.json.Decoder(_Wire)
_any_decoder = msgspec.json.Decoder()


def decode_transaction(fields: Mapping[bytes, bytes], *, now_ms: int, default_currency: str) -> Transaction:
    """
    Read the transaction of one raw entry.

    Args:
        fields: The entry as it stands in the stream; field ``data`` holds one JSON object.
        now_ms: The clock of Redis; a payment more than 300 s ahead of it is refused.
        default_currency: ISO 4217 code for bodies that name none.

    Raises:
        InvalidTransaction: With reason ``schema_invalid`` (no ``data``; a field is missing, mistyped or out of range),
            ``decode_error`` (not UTF-8, not JSON), ``too_large`` or ``card_number``. The detail never holds a value.
    """
    body = fields.get(b"data")
    if body is None:
        raise InvalidTransaction("schema_invalid", "the entry has no field 'data'; it must hold one JSON object")
    return parse_transaction(body, now_ms=now_ms, default_currency=default_currency)


def parse_transaction(body: bytes, *, now_ms: int, default_currency: str) -> Transaction:
    """
    Read one JSON body; see ``decode_transaction``.
    """
    if len(body) > MAX_BODY_BYTES:
        raise InvalidTransaction("too_large", f"the body has {len(body)} bytes; at most {MAX_BODY_BYTES} are taken")
    escaped = b"\\u" in body
    if not escaped and (plain := _read_plain(body)) is not None:
        return _taken_over(plain, now_ms, default_currency)
    wire, extra = _read_wire(body)
    if (extra or wire.metadata) and (
        _deeper_than(MAX_METADATA_DEPTH, extra) or _deeper_than(MAX_METADATA_DEPTH, wire.metadata)
    ):
        raise InvalidTransaction("schema_invalid", f"metadata is nested more than {MAX_METADATA_DEPTH} levels deep")
    # An escape or a foreign script can hide digits from the look over the bytes: such bodies are looked through value by value.
    if escaped or not body.isascii() or may_hold_card_number(body):
        _refuse_card_number(wire, extra)
    owner = transaction_id_of(wire.transaction_id)
    if escaped:
        wire, extra = _without_nul(wire), _without_nul(extra)
    return _normalise(owner, wire, extra, now_ms, default_currency)


def _read_plain(body: bytes) -> _Plain | None:
    """
    Return a body whose every field is what it should be; None for one that must be looked through.
    """
    if not body.isascii() or may_hold_card_number(body):
        return None
    try:
        plain = _plain_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return plain if plain.transaction_id.isprintable() else None


def _taken_over(plain: _Plain, now_ms: int, default_currency: str) -> Transaction:
    owner = plain.transaction_id
    currency, exponent = currency_of(plain.currency, default_currency, owner)
    return Transaction(
        transaction_id=owner,
        amount_minor=amount_minor_of(plain.amount, exponent, owner),
        currency=currency,
        occurred_at_ms=occurred_at_ms_of(plain.timestamp, now_ms, owner),
        user_id=plain.user_id,
        card_id=plain.card_id,
        merchant=plain.merchant,
        merchant_category=plain.merchant_category,
        device_id=plain.device_id,
        ip=plain.ip,
        email=plain.email,
        country=plain.country,
        latitude=plain.latitude,
        longitude=plain.longitude,
        channel=plain.channel,
        type=plain.type,
        counterparty_id=plain.counterparty_id,
    )


def _read_wire(body: bytes) -> tuple[_Wire, dict[str, Any]]:
    """
    Return the known fields and, by name, those that we do not know.
    """
    whole: Any = None
    try:
        try:
            return _quick_decoder.decode(body), {}
        except msgspec.ValidationError:
            whole = _any_decoder.decode(body)
            wire = _tolerant_decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise InvalidTransaction("schema_invalid", str(exc), _readable_id(whole)) from None
    except UnicodeDecodeError:
        raise InvalidTransaction("decode_error", "the body is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as exc:
        detail = "the body is not UTF-8" if not _is_utf8(body) else f"the body is not JSON: {exc}"
        raise InvalidTransaction("decode_error", detail) from None
    return wire, {name: value for name, value in whole.items() if name not in _Wire.__struct_fields__}


def _deeper_than(levels: int, value: object) -> bool:
    """
    Say whether objects and lists stand inside each other more than so many levels deep; level by level, not by recursion.
    """
    layer: list[Any] = [value] if value else []
    for _ in range(levels):
        inner = [one for outer in layer for one in (outer.values() if isinstance(outer, dict) else outer)]
        layer = [one for one in inner if isinstance(one, dict | list)]
        if not layer:
            return False
    return True


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _readable_id(whole: object) -> str | None:
    value = whole.get("transaction_id") if isinstance(whole, dict) else None
    if not isinstance(value, str | int) or isinstance(value, bool) or has_card_number(str(value)):
        return None
    return str(value)[:MAX_ID_BYTES]


def _refuse_card_number(wire: _Wire, extra: dict[str, Any]) -> None:
    for name in wire.__struct_fields__:
        value = getattr(wire, name)
        if name == "transaction_id" and isinstance(value, int | str) and str(value).isdecimal():
            found = is_card_number_id(str(value))
        else:
            found = name != "timestamp" and any(map(has_card_number, _texts(value)))
        if found:
            raise InvalidTransaction("card_number", f"field '{name}' holds a clear card number; send a token instead")
    if any(map(has_card_number, _texts(extra))):
        raise InvalidTransaction(
            "card_number", "a field that is kept as metadata holds a clear card number; send a token instead"
        )


def _texts(value: object) -> Iterator[str]:
    """
    Yield every key and text inside a JSON value, and of every number that may be a card number what stands before the point.

    Of the long fractions that computed numbers have (coordinates, 0.1 + 0.2) one in ten would pass for a card.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, Decimal):
        if value.is_finite() and value.adjusted() < CARD_DIGITS:
            yield str(int(value))
    elif isinstance(value, int | float) and abs(value) < 10**CARD_DIGITS:
        yield str(int(value))


def _without_nul(value: Any) -> Any:
    """
    Replace NUL, which no text column of PostgreSQL can hold, by U+FFFD.
    """
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nul(inner) for inner in value]
    if isinstance(value, _Wire):
        return _Wire(**{name: _without_nul(getattr(value, name)) for name in value.__struct_fields__})
    return value


def _normalise(owner: str, wire: _Wire, extra: dict[str, Any], now_ms: int, default_currency: str) -> Transaction:
    currency, exponent = currency_of(wire.currency, default_currency, owner)
    return Transaction(
        transaction_id=owner,
        amount_minor=amount_minor_of(wire.amount, exponent, owner),
        currency=currency,
        occurred_at_ms=occurred_at_ms_of(wire.timestamp, now_ms, owner),
        user_id=text_of("user_id", wire.user_id, owner),
        card_id=text_of("card_id", wire.card_id, owner),
        merchant=text_of("merchant", wire.merchant_id if wire.merchant in (None, "") else wire.merchant, owner),
        merchant_category=text_of("merchant_category", wire.merchant_category, owner),
        device_id=text_of("device_id", wire.device_id, owner),
        ip=text_of("ip", wire.ip, owner),
        email=text_of("email", wire.email, owner),
        country=text_of("country", wire.country, owner),
        latitude=degrees_of("latitude", wire.latitude, 90.0, owner),
        longitude=degrees_of("longitude", wire.longitude, 180.0, owner),
        channel=text_of("channel", wire.channel, owner),
        type=text_of("type", wire.type, owner),
        counterparty_id=text_of("counterparty_id", wire.counterparty_id, owner),
        balance_before_minor=balance_minor_of("balance_before", wire.balance_before, exponent, owner),
        balance_after_minor=balance_minor_of("balance_after", wire.balance_after, exponent, owner),
        counterparty_balance_before_minor=balance_minor_of(
            "counterparty_balance_before", wire.counterparty_balance_before, exponent, owner
        ),
        counterparty_balance_after_minor=balance_minor_of(
            "counterparty_balance_after", wire.counterparty_balance_after, exponent, owner
        ),
        metadata=without_sensitive({**extra, **(wire.metadata or {})}) or None,
    )
