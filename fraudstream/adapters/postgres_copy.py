"""
Decisions as rows of a binary COPY, each packed as soon as it was read: the driver's own way, a codec for each value, takes
three times as long, and a batch of whole decisions is more than a core's cache holds.
"""

import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from fraudstream.adapters.postgres_rows import shadow_rows_of
from fraudstream.domain.decision import Decision
from fraudstream.domain.transaction import Transaction

#: Columns in the order of ``packed_row``: what is packed together stands together.
COPY_COLUMNS = (
    *("amount_minor", "occurred_at", "received_at", "decided_at", "score", "points"),
    *("probability", "latitude", "longitude"),
    *("transaction_id", "user_id", "card_id", "merchant", "device_id", "ip", "email", "counterparty_id"),
    *("currency", "merchant_category", "country", "channel", "type", "outcome"),
    *("balance_before_minor", "balance_after_minor"),
    *("counterparty_balance_before_minor", "counterparty_balance_after_minor", "metadata"),
    *("reasons", "rule_hits", "degraded"),
    *("schema", "feature_set", "rule_set", "model", "lists", "vector"),
)
#: Signature, flags, and the length of what extends the header.
#: Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_LENGTH, _INTEGER, _FLOAT = struct.Struct(">i"), struct.Struct(">iq"), struct.Struct(">id")
#: The number of columns, then what every decision has.
_NUMBERS = struct.Struct(">hiqiqiqiqidid")
_OPTIONAL_NUMBERS = struct.Struct(">ididid")
#: An array without elements: dimensions, whether one is NULL, the type ``text``.
_NO_TEXTS = struct.pack(">iiii", 12, 0, 0, 25)
_TEXTS = struct.Struct(">iiiiii")
#: Nearly every payment has no balances and nothing beside its fields, and most have no reasons.
_NO_BALANCES, _NO_EVIDENCE = 5 * _NULL, 2 * _NULL + _NO_TEXTS
#: PostgreSQL counts from the year 2000.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_DAY_S, _SECOND_US = 86_400, 1_000_000
#: Most words that are kept as they are packed; columns of few values share them, and one of many must not fill the memory.
_KEPT = 4096

_encoder = msgspec.json.Encoder()


class PackedRow(msgspec.Struct, frozen=True, gc=False):
    """
    A decision on its way into the tables: ``decided_us`` counts from 2000, in microseconds; ``shadow`` is of another table.
    """

    packed: bytes
    outcome: str
    flagged: bool
    decided_us: int
    shadow: tuple[tuple[object, ...], ...] = ()


class Packer:
    """
    Packs decisions. What they were made from is the same in nearly all of them, and packed once.
    """

    def __init__(self) -> None:
        self._origin: tuple[object, ...] = ()
        self._made_from = b""

    def row(self, one: Decision) -> PackedRow:
        """
        Return the row of ``COPY_COLUMNS``; an empty collection is a NULL.

        Raises:
            TypeError, ValueError, OverflowError: A value does not fit into its column.
        """
        origin = (one.schema, one.feature_set, one.rule_set, one.model, one.lists)
        if origin != self._origin:
            self._made_from, self._origin = _made_from(one), origin
        decided_us = _us(one.decided_at)
        if "\n" in one.transaction.transaction_id:
            raise ValueError("transaction_id holds a line break")
        try:
            packed = _packed(one, one.transaction, decided_us, self._made_from)
        except (struct.error, AttributeError) as exc:  # a number out of range, or something that is no text
            raise ValueError(str(exc)) from None
        shadow = tuple(shadow_rows_of(one)) if one.shadow_hits else ()
        return PackedRow(packed, one.outcome, one.flagged, decided_us, shadow)


def copy_of(rows: Iterable[PackedRow]) -> bytearray:
    """
    Return what a COPY of these rows consists of; as ``bytes`` the driver would take it for the name of a file.
    """
    return bytearray().join((_HEAD, *(row.packed for row in rows), _END))


def _packed(one: Decision, paid: Transaction, decided_us: int, made_from: bytes) -> bytes:
    return b"".join(
        (
            _NUMBERS.pack(
                len(COPY_COLUMNS), 8, paid.amount_minor, 8, _us(one.occurred_at), 8, _us(one.received_at), 8, decided_us,
                8, one.score, 8, one.points,
            ),
            _optional_numbers(one, paid),
            _text(paid.transaction_id),
            _text(paid.user_id),
            _text(paid.card_id),
            _text(paid.merchant),
            _text(paid.device_id),
            _text(paid.ip),
            _text(paid.email),
            _text(paid.counterparty_id),
            _words[paid.currency],
            _words[paid.merchant_category],
            _words[paid.country],
            _words[paid.channel],
            _words[paid.type],
            _words[one.outcome],
            _balances(paid),
            _evidence(one) if one.reasons or one.rule_hits or one.degraded else _NO_EVIDENCE,
            made_from,
            _LENGTH.pack(len(one.vector)),
            one.vector,
        )
    )  # fmt: skip


def _text(value: str | None) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode()
    return len(encoded).to_bytes(4) + encoded


class _Words(dict[str | None, bytes]):
    """
    Words as they are packed, each made once.
    """

    def __missing__(self, word: str | None) -> bytes:
        if len(self) >= _KEPT:
            self.clear()
        self[word] = _text(word)
        return self[word]


_words = _Words()


def _us(moment: datetime) -> int:
    since = moment - _EPOCH
    return (since.days * _DAY_S + since.seconds) * _SECOND_US + since.microseconds


def _optional_numbers(one: Decision, paid: Transaction) -> bytes:
    values = one.probability, paid.latitude, paid.longitude
    if None not in values:
        return _OPTIONAL_NUMBERS.pack(8, one.probability, 8, paid.latitude, 8, paid.longitude)
    return b"".join([_NULL if value is None else _FLOAT.pack(8, value) for value in values])


def _balances(paid: Transaction) -> bytes:
    values = (
        paid.balance_before_minor, paid.balance_after_minor,
        paid.counterparty_balance_before_minor, paid.counterparty_balance_after_minor,
    )  # fmt: skip
    if values == (None, None, None, None) and not paid.metadata:
        return _NO_BALANCES
    return b"".join([_NULL if value is None else _INTEGER.pack(8, value) for value in values]) + _json(paid.metadata)


def _evidence(one: Decision) -> bytes:
    return _json(one.reasons) + _json(one.rule_hits) + _texts(one.degraded)


def _texts(values: Sequence[str]) -> bytes:
    if not values:
        return _NO_TEXTS
    elements = b"".join(map(_text, values))
    return _TEXTS.pack(20 + len(elements), 1, 0, 25, len(values), 1) + elements


def _made_from(one: Decision) -> bytes:
    return b"".join((*map(_text, (one.schema, one.feature_set, one.rule_set, one.model)), _json(one.lists)))


def _json(value: object) -> bytes:
    """
    Pack a ``jsonb``: the version of its wire format comes first.
    """
    if not value:
        return _NULL
    encoded = _encoder.encode(value)
    return _LENGTH.pack(len(encoded) + 1) + b"\x01" + encoded
