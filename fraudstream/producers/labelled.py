"""
What every source yields: the bytes that go onto the stream, and beside them the truth that does not.
"""

import msgspec


class Labelled(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    One transaction in wire form with what its producer knows of it.

    ``body`` is the JSON for field ``data``; the truth is not in it. ``fraud`` is None where the source holds no label.
    ``scenario`` names what the transaction is part of (an attack, a habit, a file's own word); empty where nothing is known.
    ``occurred_at_ms`` is the payment's own time in milliseconds since 1970 UTC.
    """

    body: bytes
    transaction_id: str
    occurred_at_ms: int
    fraud: bool | None = None
    scenario: str = ""
