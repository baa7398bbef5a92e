"""
One value of a transaction at a time: from what producers send to what the inside of the system knows.

Every function raises ``InvalidTransaction`` with reason ``schema_invalid``: its detail names the field, never the value, and
``owner`` is the transaction id that it carries.
"""

import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal

import msgspec

from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.limits import MAX_AHEAD_MS, MAX_AMOUNT_MINOR, MAX_BODY_BYTES, MAX_ID_BYTES, MAX_TEXT_BYTES

#: A bare number below this is seconds since 1970, from here on milliseconds.
_MILLISECONDS_FROM = 10**11
#: First second that the feature records cannot hold (they keep an unsigned 32-bit number).
_END_OF_SECONDS = 2**32
#: As many digits as a body can hold: scaling must not round before we do.
_MONEY = Context(prec=MAX_BODY_BYTES, rounding=ROUND_HALF_EVEN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def currency_of(named: str | None, default_currency: str, owner: str) -> tuple[str, int]:
    """
    Return the code of a currency and the digits of its minor units.
    """
    currency = (named or default_currency).upper()
    exponent = EXPONENTS.get(currency)
    if exponent is None:
        raise InvalidTransaction("schema_invalid", "field 'currency' is not a code of ISO 4217 in use", owner)
    return currency, exponent


def amount_minor_of(amount: Decimal, exponent: int, owner: str) -> int:
    """
    Return an amount in minor units, from major ones; a negative one is refused.
    """
    amount_minor = _minor("amount", amount, exponent, owner)
    if amount_minor < 0:
        raise InvalidTransaction("schema_invalid", "field 'amount' is negative; send refunds as a type, not as a sign", owner)
    return amount_minor


def transaction_id_of(value: str | int) -> str:
    """
    Return the id as text of 1 to 128 bytes without control characters.
    """
    text = str(value)
    if not 1 <= len(text.encode()) <= MAX_ID_BYTES:
        raise InvalidTransaction("schema_invalid", f"field 'transaction_id' must have 1 to {MAX_ID_BYTES} bytes")
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        raise InvalidTransaction("schema_invalid", "field 'transaction_id' holds a control character")
    return text


def text_of(name: str, value: str | int | None, owner: str) -> str | None:
    """
    Return an identifier or word as text; an empty one is an absent one.
    """
    if value is None or value == "":
        return None
    text = str(value)
    if len(text) > MAX_TEXT_BYTES // 4 and len(text.encode()) > MAX_TEXT_BYTES:
        raise InvalidTransaction("schema_invalid", f"field '{name}' has more than {MAX_TEXT_BYTES} bytes", owner)
    return text


def degrees_of(name: str, value: float | None, limit: float, owner: str) -> float | None:
    """
    Return a coordinate that is within its limits on either side.
    """
    if value is not None and not -limit <= value <= limit:
        raise InvalidTransaction("schema_invalid", f"field '{name}' is outside {-limit:g} to {limit:g} degrees", owner)
    return value


def balance_minor_of(name: str, value: Decimal | None, exponent: int, owner: str) -> int | None:
    """
    Return a balance in minor units, which may be negative.
    """
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


def occurred_at_ms_of(value: float | str, now_ms: int, owner: str) -> int:
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
