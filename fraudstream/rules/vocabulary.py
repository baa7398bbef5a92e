"""
Which attributes a rule may name, of what kind each is, and how it is taken from a transaction.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from operator import attrgetter

import msgspec

from fraudstream.domain.transaction import Transaction


class Kind(StrEnum):
    """
    What a value is.

    MONEY is in the currency of the transaction; MINOR is a plain number that is known to count minor units (its name has the
    word ``minor``), so that it may meet money; TIME is milliseconds since 1970 UTC.
    """

    NUMBER = "a number"
    MINOR = "a number of minor units"
    MONEY = "an amount of money"
    TEXT = "a string"
    TIME = "a time"
    TRUTH = "a condition"


class Attribute(msgspec.Struct, frozen=True):
    """
    One attribute by name. ``column`` is its place in the feature matrix, None for a field of the transaction.
    """

    name: str
    kind: Kind
    column: int | None = None


#: Fields that hold a number or None. Money in minor units, time in milliseconds, places in degrees.
NUMBER_FIELDS: dict[str, Callable[[Transaction], float | None]] = {
    "amount": attrgetter("amount_minor"),
    "timestamp": attrgetter("occurred_at_ms"),
    "latitude": attrgetter("latitude"),
    "longitude": attrgetter("longitude"),
    "balance_before": attrgetter("balance_before_minor"),
    "balance_after": attrgetter("balance_after_minor"),
    "counterparty_balance_before": attrgetter("counterparty_balance_before_minor"),
    "counterparty_balance_after": attrgetter("counterparty_balance_after_minor"),
}
#: Fields that hold a string or None.
TEXT_FIELDS: dict[str, Callable[[Transaction], str | None]] = {
    "transaction_id": attrgetter("transaction_id"),
    "currency": attrgetter("currency"),
    "user_id": attrgetter("user_id"),
    "card_id": attrgetter("card_id"),
    "merchant": attrgetter("merchant"),
    "merchant_category": attrgetter("merchant_category"),
    "device_id": attrgetter("device_id"),
    "ip": attrgetter("ip"),
    "email": attrgetter("email"),
    "country": attrgetter("country"),
    "channel": attrgetter("channel"),
    "type": attrgetter("type"),
    "counterparty_id": attrgetter("counterparty_id"),
}
#: Fields of few values: a batch keeps each of them once and the rows as codes.
LOW_CARDINALITY = frozenset(("currency", "country", "channel", "type", "merchant_category"))
#: Fields that point at a person; explanations show them masked.
PERSONAL = frozenset(("user_id", "card_id", "device_id", "ip", "email", "counterparty_id", "latitude", "longitude"))

_MONEY = ("amount", "balance_before", "balance_after", "counterparty_balance_before", "counterparty_balance_after")
#: The fields by name; ``amount_minor`` is the amount as a plain number of minor units.
FIELDS: dict[str, Attribute] = {
    **{name: Attribute(name, Kind.NUMBER) for name in NUMBER_FIELDS},
    **{name: Attribute(name, Kind.MONEY) for name in _MONEY},
    **{name: Attribute(name, Kind.TEXT) for name in TEXT_FIELDS},
    "timestamp": Attribute("timestamp", Kind.TIME),
    "amount_minor": Attribute("amount", Kind.MINOR),
}


def attributes(features: Sequence[str]) -> dict[str, Attribute]:
    """
    Return every attribute by the name that rules use: the features in column order, and the fields of a transaction.

    A field wins over a feature of the same name.
    """
    named = {
        name: Attribute(name, Kind.MINOR if "minor" in name.split("_") else Kind.NUMBER, column)
        for column, name in enumerate(features)
    }
    return {**named, **FIELDS}
