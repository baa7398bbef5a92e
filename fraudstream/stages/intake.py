"""
Deliveries become transactions, or dead letters that say why not.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from fraudstream.domain.codec import MAX_BODY_BYTES, decode_transaction
from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.masking import mask_cards
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.ports import Delivery, Letter

#: Longest error text of a letter, in characters.
_ERROR_CHARACTERS = 2000
#: JSON's escapes of digits, blanks and dashes, behind which a card number would pass the mask; a pair of backslashes is none.
_ESCAPED = re.compile(r"(\\\\)|\\u00(3[0-9]|20|2[dD]|[aA]0)")
_WITHHELD = b"withheld: a card number stands in it in a form that cannot be masked"


class Case(msgspec.Struct, frozen=True):
    """
    A delivery and the transaction that it holds.
    """

    delivery: Delivery
    transaction: Transaction


def decode_batch(batch: Sequence[Delivery], *, now_ms: int, default_currency: str) -> tuple[list[Case], list[Letter]]:
    """
    Return the transactions of a batch in the order of their entry ids, and a letter for each delivery that holds none.
    """
    cases: list[Case] = []
    letters: list[Letter] = []
    for delivery in batch:
        try:
            transaction = decode_transaction(delivery.fields or {}, now_ms=now_ms, default_currency=default_currency)
        except InvalidTransaction as exc:
            letters.append(letter_for(delivery, exc.reason, exc.detail))
        else:
            cases.append(Case(delivery, transaction))
    cases.sort(key=lambda case: entry_order(case.delivery.entry_id))
    return cases, letters


def entry_order(entry_id: bytes) -> tuple[int, int]:
    """
    Return what entry ids sort by.
    """
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence)


def letter_for(delivery: Delivery, reason: str, error: str, *, part: str = "") -> Letter:
    """
    Write the dead letter of a delivery: its own fields, card numbers masked, each cut to the first 64 KiB.
    """
    fields = _kept(delivery.fields or {})
    if reason == "card_number" and fields.get(b"data") == (delivery.fields or {}).get(b"data"):
        fields[b"data"] = _WITHHELD
    error = mask_cards(error)[:_ERROR_CHARACTERS]
    return Letter(entry_id=delivery.entry_id, reason=reason, error=error, fields=fields, part=part)


def _kept(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    kept: dict[bytes, bytes] = {}
    for name, value in fields.items():
        # Masked before it is cut, or a cut could leave most of a number.
        masked = _masked(value)
        kept[_safe_name(name)] = masked[:MAX_BODY_BYTES]
        if len(masked) > MAX_BODY_BYTES:
            kept[b"truncated"] = b"%s: first %d of %d bytes" % (_safe_name(name), MAX_BODY_BYTES, len(value))
    return kept


def _safe_name(name: bytes) -> bytes:
    return _masked(name)[:128]


def _masked(value: bytes) -> bytes:
    """
    Mask card numbers in bytes that need be neither UTF-8 nor JSON; every other byte stays as it is.
    """
    text = value.decode("utf-8", "surrogateescape")
    masked = mask_cards(text)
    if "\\u00" in masked:
        masked = mask_cards(_ESCAPED.sub(lambda match: match[1] or chr(int(match[2], 16)), masked))
    return masked.encode("utf-8", "surrogateescape")
