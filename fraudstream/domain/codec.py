"""
Between bytes on a stream and the nouns of this room: tolerant where producers differ, strict in what comes out.
"""

import struct
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.errors import InvalidLabel, InvalidTransaction
from fraudstream.domain.evidence import ModelVerdict, RulesVerdict, Verdict
from fraudstream.domain.masking import CARD_DIGITS, has_card_number, is_card_number_id, may_hold_card_number, without_sensitive
from fraudstream.domain.transaction import Transaction

#: Largest body of one transaction, in bytes.
MAX_BODY_BYTES = 64 * 1024
#: Longest transaction id, in bytes of UTF-8.
MAX_ID_BYTES = 128
#: Longest value of any other text field, in bytes of UTF-8: it becomes part of a key.
MAX_TEXT_BYTES = 1024
#: Largest amount, in minor units of its currency.
MAX_AMOUNT_MINOR = 10**12
#: Deepest nesting of what is kept as metadata: whoever reads it later has less stack left than the parser had.
MAX_METADATA_DEPTH = 32
#: How far ahead of Redis a payment's own time may be, in milliseconds: clocks differ, but not by more.
MAX_AHEAD_MS = 300_000
#: A bare number below this is seconds since 1970, from here on milliseconds.
_MILLISECONDS_FROM = 10**11
#: First second that the feature records cannot hold (they keep an unsigned 32-bit number).
_END_OF_SECONDS = 2**32
#: As many digits as a body can hold: scaling must not round before we do.
_MONEY = Context(prec=MAX_BODY_BYTES, rounding=ROUND_HALF_EVEN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


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
_decision_decoder = msgspec.json.Decoder(Decision)
_label_decoder = msgspec.json.Decoder(Label)
_encoder = msgspec.json.Encoder()
_verdict_encoder = msgspec.msgpack.Encoder()
_verdict_decoder: msgspec.msgpack.Decoder[Verdict] = msgspec.msgpack.Decoder(RulesVerdict | ModelVerdict)


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
    owner = _transaction_id(wire.transaction_id)
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
    currency, exponent = _currency(plain.currency, default_currency, owner)
    return Transaction(
        transaction_id=owner,
        amount_minor=_amount_minor(plain.amount, exponent, owner),
        currency=currency,
        occurred_at_ms=_occurred_at_ms(plain.timestamp, now_ms, owner),
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
    currency, exponent = _currency(wire.currency, default_currency, owner)
    return Transaction(
        transaction_id=owner,
        amount_minor=_amount_minor(wire.amount, exponent, owner),
        currency=currency,
        occurred_at_ms=_occurred_at_ms(wire.timestamp, now_ms, owner),
        user_id=_text("user_id", wire.user_id, owner),
        card_id=_text("card_id", wire.card_id, owner),
        merchant=_text("merchant", wire.merchant_id if wire.merchant in (None, "") else wire.merchant, owner),
        merchant_category=_text("merchant_category", wire.merchant_category, owner),
        device_id=_text("device_id", wire.device_id, owner),
        ip=_text("ip", wire.ip, owner),
        email=_text("email", wire.email, owner),
        country=_text("country", wire.country, owner),
        latitude=_degrees("latitude", wire.latitude, 90.0, owner),
        longitude=_degrees("longitude", wire.longitude, 180.0, owner),
        channel=_text("channel", wire.channel, owner),
        type=_text("type", wire.type, owner),
        counterparty_id=_text("counterparty_id", wire.counterparty_id, owner),
        balance_before_minor=_balance("balance_before", wire.balance_before, exponent, owner),
        balance_after_minor=_balance("balance_after", wire.balance_after, exponent, owner),
        counterparty_balance_before_minor=_balance(
            "counterparty_balance_before", wire.counterparty_balance_before, exponent, owner
        ),
        counterparty_balance_after_minor=_balance(
            "counterparty_balance_after", wire.counterparty_balance_after, exponent, owner
        ),
        metadata=without_sensitive({**extra, **(wire.metadata or {})}) or None,
    )


def _currency(named: str | None, default_currency: str, owner: str) -> tuple[str, int]:
    """
    Return the code of a currency and the digits of its minor units.
    """
    currency = (named or default_currency).upper()
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        raise InvalidTransaction("schema_invalid", "field 'currency' is not a code of ISO 4217 in use", owner)
    return currency, exponent


def _amount_minor(amount: Decimal, exponent: int, owner: str) -> int:
    amount_minor = _minor("amount", amount, exponent, owner)
    if amount_minor < 0:
        raise InvalidTransaction("schema_invalid", "field 'amount' is negative; send refunds as a type, not as a sign", owner)
    return amount_minor


def _transaction_id(value: str | int) -> str:
    text = str(value)
    if not 1 <= len(text.encode()) <= MAX_ID_BYTES:
        raise InvalidTransaction("schema_invalid", f"field 'transaction_id' must have 1 to {MAX_ID_BYTES} bytes")
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        raise InvalidTransaction("schema_invalid", "field 'transaction_id' holds a control character")
    return text


def _text(name: str, value: str | int | None, owner: str) -> str | None:
    """
    Return an identifier or word as text; an empty one is an absent one.
    """
    if value is None or value == "":
        return None
    text = str(value)
    if len(text) > MAX_TEXT_BYTES // 4 and len(text.encode()) > MAX_TEXT_BYTES:
        raise InvalidTransaction("schema_invalid", f"field '{name}' has more than {MAX_TEXT_BYTES} bytes", owner)
    return text


def _degrees(name: str, value: float | None, limit: float, owner: str) -> float | None:
    if value is not None and not -limit <= value <= limit:
        raise InvalidTransaction("schema_invalid", f"field '{name}' is outside {-limit:g} to {limit:g} degrees", owner)
    return value


def _balance(name: str, value: Decimal | None, exponent: int, owner: str) -> int | None:
    return None if value is None else _minor(name, value, exponent, owner)


def _minor(name: str, value: Decimal, exponent: int, owner: str) -> int:
    """
    Return major units as an integer of minor units, rounded half to even.
    """
    if not value.is_finite():
        raise InvalidTransaction("schema_invalid", f"field '{name}' is not a finite number", owner)
    if value and value.adjusted() + exponent > 13:
        raise InvalidTransaction("schema_invalid", f"field '{name}' is above {MAX_AMOUNT_MINOR} minor units", owner)
    minor = int(value.scaleb(exponent, _MONEY).to_integral_value(ROUND_HALF_EVEN)) if value.adjusted() > -20 else 0
    if abs(minor) > MAX_AMOUNT_MINOR:
        raise InvalidTransaction("schema_invalid", f"field '{name}' is above {MAX_AMOUNT_MINOR} minor units", owner)
    return minor


def _occurred_at_ms(value: float | str, now_ms: int, owner: str) -> int:
    """
    Return the payment's own time in milliseconds since 1970.
    """
    if isinstance(value, str):
        try:
            moment = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            raise InvalidTransaction("schema_invalid", "field 'timestamp' is not RFC 3339", owner) from None
        if moment.tzinfo is None:
            raise InvalidTransaction("schema_invalid", "field 'timestamp' has no offset from UTC; add one, or Z", owner)
        at_ms = (moment - _EPOCH) // _MILLISECOND
    elif value < _MILLISECONDS_FROM:
        at_ms = round(value * 1000)
    else:
        at_ms = int(value)
    if not 0 <= at_ms < _END_OF_SECONDS * 1000:
        raise InvalidTransaction("schema_invalid", "field 'timestamp' is before 1970 or after 2106", owner)
    if at_ms > now_ms + MAX_AHEAD_MS:
        raise InvalidTransaction("schema_invalid", "field 'timestamp' is more than 300 s in the future", owner)
    return at_ms


def moment(at_ms: int) -> datetime:
    """
    Return milliseconds since 1970 as an aware time in UTC, to the millisecond.
    """
    return datetime.fromtimestamp(at_ms / 1000, UTC)


#: The same for times that many decisions of a batch share.
shared_moment = lru_cache(maxsize=1024)(moment)


def encode_decision(decision: Decision) -> bytes:
    """
    Write a decision as the JSON that ``transactions:decisions`` and ``transactions:fraud`` carry.
    """
    return _encoder.encode(decision)


def decode_decision(body: bytes) -> Decision:
    """
    Read what ``encode_decision`` wrote.

    Raises:
        msgspec.MsgspecError: The bytes are not a decision of this schema.
    """
    return _decision_decoder.decode(body)


def decode_label(fields: Mapping[bytes, bytes]) -> Label:
    """
    Read the label of one entry of ``transactions:labels``.

    Raises:
        InvalidLabel: With reason ``schema_invalid``, ``decode_error`` or ``card_number``.
    """
    body = fields.get(b"data")
    if body is None:
        raise InvalidLabel("schema_invalid", "the entry has no field 'data'; it must hold one JSON object")
    try:
        label = _label_decoder.decode(body)
    except msgspec.ValidationError as exc:
        raise InvalidLabel("schema_invalid", str(exc)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidLabel("decode_error", "the body is not JSON in UTF-8") from None
    if not label.label_id or not label.transaction_id or label.labelled_at.tzinfo is None:
        raise InvalidLabel("schema_invalid", "a label needs label_id, transaction_id and a time with offset")
    for name in ("label_id", "transaction_id", "source"):
        text = getattr(label, name)
        if is_card_number_id(text) if text.isdecimal() and name != "source" else has_card_number(text):
            raise InvalidLabel("card_number", f"field '{name}' holds a clear card number; send a token instead")
    return label


class VerdictRecord(msgspec.Struct, frozen=True, gc=False):
    """
    The first verdict as it stands in the transaction's record.

    ``group`` is the byte of the group that wrote it, ``write_id`` the eight bytes that name this very write, ``vector`` the
    features that the verdict was computed from (float32, little endian), which are the transaction's for good.
    """

    group: bytes
    write_id: bytes
    feature_set: str
    vector: bytes
    verdict: Verdict


#: Group byte, write id, feature set (eight bytes), length of the vector in bytes.
_RECORD_HEAD = struct.Struct("<c8s8sH")


def encode_verdict(record: VerdictRecord) -> bytes:
    """
    Write the record of a first verdict, head first, so that a script can compare the write id in place.
    """
    head = _RECORD_HEAD.pack(record.group, record.write_id, bytes.fromhex(record.feature_set), len(record.vector))
    return head + record.vector + _verdict_encoder.encode(record.verdict)


def decode_verdict(raw: bytes) -> VerdictRecord:
    """
    Read what ``encode_verdict`` wrote.
    """
    group, write_id, feature_set, length = _RECORD_HEAD.unpack_from(raw)
    start = _RECORD_HEAD.size
    return VerdictRecord(
        group=group,
        write_id=write_id,
        feature_set=feature_set.hex(),
        vector=raw[start : start + length],
        verdict=_verdict_decoder.decode(raw[start + length :]),
    )
