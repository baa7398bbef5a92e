"""
One payment attempt, as the inside of the system knows it.
"""

from typing import Any

import msgspec

#: What history can hang on, and the field of a transaction that names it.
ENTITY_FIELDS: dict[str, str] = {
    "card": "card_id",
    "user": "user_id",
    "device": "device_id",
    "merchant": "merchant",
    "ip": "ip",
}
#: What rules and definitions may name as a number, and the field of a transaction behind each. Money is in minor units.
NUMBER_FIELDS: dict[str, str] = {
    "amount": "amount_minor",
    "latitude": "latitude",
    "longitude": "longitude",
    "balance_before": "balance_before_minor",
    "balance_after": "balance_after_minor",
    "counterparty_balance_before": "counterparty_balance_before_minor",
    "counterparty_balance_after": "counterparty_balance_after_minor",
}


class Transaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    A normalised transaction: every value checked, every absence a None.

    Money is an integer of minor units of ``currency``; balances likewise. ``occurred_at_ms`` is the payment's own time in
    milliseconds since 1970 UTC; features look at whole seconds of it. Fields of the wire that have no place here are kept
    in ``metadata``.
    """

    transaction_id: str
    amount_minor: int
    currency: str
    occurred_at_ms: int
    user_id: str | None = None
    card_id: str | None = None
    merchant: str | None = None
    merchant_category: str | None = None
    device_id: str | None = None
    ip: str | None = None
    email: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    channel: str | None = None
    type: str | None = None
    counterparty_id: str | None = None
    balance_before_minor: int | None = None
    balance_after_minor: int | None = None
    counterparty_balance_before_minor: int | None = None
    counterparty_balance_after_minor: int | None = None
    metadata: dict[str, Any] | None = None
