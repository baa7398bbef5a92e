"""
Which attributes a rule may name, of what kind each is, and how it is taken from a transaction.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

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


Transactions = Sequence[Transaction]

#: Fields that hold a number or None, by row. Money in minor units, time in milliseconds, places in degrees.
NUMBER_FIELDS: dict[str, Callable[[Transaction], float | None]] = {
    "amount": lambda row: row.amount_minor,
    "timestamp": lambda row: row.occurred_at_ms,
    "latitude": lambda row: row.latitude,
    "longitude": lambda row: row.longitude,
    "balance_before": lambda row: row.balance_before_minor,
    "balance_after": lambda row: row.balance_after_minor,
    "counterparty_balance_before": lambda row: row.counterparty_balance_before_minor,
    "counterparty_balance_after": lambda row: row.counterparty_balance_after_minor,
}
#: The same as columns. Written out one by one: naming a field in the loop is twice as fast as any way to look it up.
NUMBER_COLUMNS: dict[str, Callable[[Transactions], Sequence[float | None]]] = {
    "amount": lambda rows: [row.amount_minor for row in rows],
    "timestamp": lambda rows: [row.occurred_at_ms for row in rows],
    "latitude": lambda rows: [row.latitude for row in rows],
    "longitude": lambda rows: [row.longitude for row in rows],
    "balance_before": lambda rows: [row.balance_before_minor for row in rows],
    "balance_after": lambda rows: [row.balance_after_minor for row in rows],
    "counterparty_balance_before": lambda rows: [row.counterparty_balance_before_minor for row in rows],
    "counterparty_balance_after": lambda rows: [row.counterparty_balance_after_minor for row in rows],
}
#: Fields that hold a string or None, by row.
TEXT_FIELDS: dict[str, Callable[[Transaction], str | None]] = {
    "transaction_id": lambda row: row.transaction_id,
    "currency": lambda row: row.currency,
    "user_id": lambda row: row.user_id,
    "card_id": lambda row: row.card_id,
    "merchant": lambda row: row.merchant,
    "merchant_category": lambda row: row.merchant_category,
    "device_id": lambda row: row.device_id,
    "ip": lambda row: row.ip,
    "email": lambda row: row.email,
    "country": lambda row: row.country,
    "channel": lambda row: row.channel,
    "type": lambda row: row.type,
    "counterparty_id": lambda row: row.counterparty_id,
}
#: The same as columns.
TEXT_COLUMNS: dict[str, Callable[[Transactions], list[str | None]]] = {
    "transaction_id": lambda rows: [row.transaction_id for row in rows],
    "currency": lambda rows: [row.currency for row in rows],
    "user_id": lambda rows: [row.user_id for row in rows],
    "card_id": lambda rows: [row.card_id for row in rows],
    "merchant": lambda rows: [row.merchant for row in rows],
    "merchant_category": lambda rows: [row.merchant_category for row in rows],
    "device_id": lambda rows: [row.device_id for row in rows],
    "ip": lambda rows: [row.ip for row in rows],
    "email": lambda rows: [row.email for row in rows],
    "country": lambda rows: [row.country for row in rows],
    "channel": lambda rows: [row.channel for row in rows],
    "type": lambda rows: [row.type for row in rows],
    "counterparty_id": lambda rows: [row.counterparty_id for row in rows],
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
