"""
Opaque words for things that must not be known by a number of their own.
"""

import base64

import xxhash

from fraudstream.domain.tokens import keyed


def token(kind: str, number: int, world: bytes) -> str:
    """
    Return twelve letters and digits (sixty bits) that stand for one thing of a world: always the same, never a run of digits as
    long as a card number. Not a secret: use a keyed hash for real cards.
    """
    digest = xxhash.xxh3_64_digest(kind.encode() + number.to_bytes(8) + world)
    return base64.b32encode(digest)[:12].decode().lower()


def card_token(key: bytes, card_number: str) -> str:
    """
    Return the token of a card number: ``card_`` and 32 letters, the first 128 bits of a keyed hash over its digits.

    Blanks and dashes do not matter. Whoever has the key can find the number again by trying them all: keep it where the tokens
    are not.

    References:
        PCI DSS v4.0.1, requirement 3.5.1.1 (keyed hashes over the whole number); RFC 2104.
    """
    return keyed("card", key, card_number.replace(" ", "").replace("-", ""))
