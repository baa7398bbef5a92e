"""
The last look before a body leaves the producer: a clear card number must never reach the stream.
"""

from collections.abc import Sequence

from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.masking import has_card_number, may_hold_card_number
from fraudstream.domain.transaction_codec import parse_transaction

#: A clock so late that no timestamp is in its future: here only digits matter.
_END_OF_TIME_MS = 2**32 * 1000


def may_hold_card_numbers(bodies: Sequence[bytes]) -> bool:
    """
    Say whether any of some bodies must be looked through by itself: a look at all of them at once takes half the time.
    """
    # No row of digits goes over a line break.
    block = b"\n".join(bodies)
    return not block.isascii() or b"\\u" in block or may_hold_card_number(block)


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
