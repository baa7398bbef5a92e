"""
What a dead letter of a run is about.
"""

import msgspec

from fraudstream.adapters.redis_books import Letter
from fraudstream.chaos.poison import undecodable_of


def key_of(letter: Letter) -> str:
    """
    Return the key of the item that a dead letter is about; empty when it is about none of ours.
    """
    body = letter.fields.get(b"data", b"")
    if (tag := undecodable_of(body)) is not None:
        return tag
    try:
        return str(msgspec.json.decode(body)["transaction_id"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return ""


def is_undecodable(letter: Letter) -> bool:
    """
    Say whether a dead letter is about what is no transaction.
    """
    return undecodable_of(letter.fields.get(b"data", b"")) is not None
