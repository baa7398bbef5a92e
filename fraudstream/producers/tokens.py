"""
Opaque words for things that must not be known by a number of their own.
"""

import base64

import xxhash


def token(kind: str, number: int, world: bytes) -> str:
    """
    Return twelve letters and digits (sixty bits) that stand for one thing of a world: always the same, never a run of digits as
    long as a card number. Not a secret: use a keyed hash for real cards.
    """
    digest = xxhash.xxh3_64_digest(kind.encode() + number.to_bytes(8) + world)
    return base64.b32encode(digest)[:12].decode().lower()
