"""
The last look before a body leaves the producer: a clear card number must never reach the stream.
"""

from fraudstream.domain.codec import parse_transaction
from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.masking import has_card_number, may_hold_card_number

#: A clock so late that no timestamp is in its future: here only digits matter.
_END_OF_TIME_MS = 2**32 * 1000


def holds_card_number(body: bytes) -> bool:
    """
    Say whether the fleet would find a clear card number in a body.

    It is the fleet's own judgement (timestamps and transaction ids have rights of their own); a body that is no transaction
    at all is looked through as text.
    """
    if body.isascii() and b"\\u" not in body and not may_hold_card_number(body):
        return False
    try:
        parse_transaction(body, now_ms=_END_OF_TIME_MS, default_currency="USD")
    except InvalidTransaction as refusal:
        return refusal.reason == "card_number" or has_card_number(body.decode(errors="replace"))
    return False
