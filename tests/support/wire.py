"""
Bodies of ``transactions:raw`` as a producer would write them, and what becomes of them.
"""

import json
from typing import Any

from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from tests.support.builders import NOW_MS

#: A number that passes Luhn and belongs to nobody: the test card of every payment provider.
CARD = "4111111111111111"


def a_body(**fields: Any) -> bytes:
    """
    Return the JSON of the three required fields, with changes; a field given as bytes is put in as it stands.
    """
    whole: dict[str, Any] = {"transaction_id": "txn_1", "amount": 12.5, "timestamp": 1_747_000_000, **fields}
    parts = (
        json.dumps(name).encode() + b":" + (value if isinstance(value, bytes) else json.dumps(value).encode())
        for name, value in whole.items()
    )
    return b"{" + b",".join(parts) + b"}"


def read(**fields: Any) -> Transaction:
    """
    Return the transaction of ``a_body`` at the present of tests.
    """
    return parse_transaction(a_body(**fields), now_ms=NOW_MS, default_currency="USD")


def refusal(body: bytes) -> InvalidTransaction:
    """
    Return the error that a body is refused with.
    """
    try:
        accepted = parse_transaction(body, now_ms=NOW_MS, default_currency="USD")
    except InvalidTransaction as exc:
        return exc
    raise AssertionError(f"accepted as {accepted}")
