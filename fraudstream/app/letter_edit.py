"""
A dead letter corrected: what its entry would be, and whether it would be taken now. Nothing is written here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from fraudstream.adapters.redis_keys import DECISIONS, FRAUD, RAW
from fraudstream.adapters.redis_letters import StoredLetter
from fraudstream.app.letter_fate import MARK, problem_of
from fraudstream.app.letter_text import DATA, TRUNCATED
from fraudstream.domain.masking import has_card_number

#: Money stays a number of as many digits as it was sent with.
_encoder = msgspec.json.Encoder(decimal_format="number")


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is to change in the JSON body of an entry.

    ``changes`` are values by field; ``a.b`` is field b of the object a. ``removed`` are fields that go. ``body`` is a whole new
    body in place of the letter's own.
    """

    changes: Mapping[str, Any] = {}
    removed: Sequence[str] = ()
    body: bytes | None = None


class Corrected(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a correction comes to: the fields of the copy, and why they would still be refused, empty when they would not.
    """

    fields: Mapping[bytes, bytes]
    problem: str


def correct(letter: StoredLetter, correction: Correction, *, now_ms: int, currency: str) -> Corrected:
    """
    Return what the entry of a letter is with a correction.
    """
    name = body_name(letter)
    body = correction.body if correction.body is not None else letter.fields.get(name, b"")
    if correction.changes or correction.removed:
        changed = _changed(body, correction)
        if changed is None:
            return Corrected(fields=letter.fields, problem="the body is no JSON object; give a whole one with --body FILE")
        body = changed
    kept = {key: value for key, value in letter.fields.items() if key not in (name, TRUNCATED)}
    fields = {name: body, **kept}
    return Corrected(fields=fields, problem=_problem(letter, correction, fields, now_ms=now_ms, currency=currency))


def body_name(letter: StoredLetter) -> bytes:
    """
    Return the name of the field that holds the JSON of a letter's entry.
    """
    if letter.source.startswith(DECISIONS):
        return next(iter(letter.fields), b"")
    return b"decision" if letter.source.startswith(FRAUD) else DATA


def _problem(letter: StoredLetter, correction: Correction, fields: Mapping[bytes, bytes], *, now_ms: int, currency: str) -> str:
    if letter.source.startswith(RAW) and any(MARK in value for value in fields.values()):
        return "the mark of a masked card number still stands in it; put a token there"
    # What is read as a transaction is looked through there; nothing else may bring a clear number in.
    if not letter.source.startswith(RAW) and any(has_card_number(one) for one in _texts(correction)):
        return "a card number stands in it; put a token there"
    return problem_of(letter.source, fields, now_ms=now_ms, currency=currency)


def _texts(correction: Correction) -> Iterator[str]:
    yield from (json.dumps(value, default=str) for value in correction.changes.values())
    if correction.body is not None:
        yield correction.body.decode(errors="replace")


def _changed(body: bytes, correction: Correction) -> bytes | None:
    try:
        value = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    for path in correction.removed:
        holder, name = _holder(value, path)
        holder.pop(name, None)
    for path, new in correction.changes.items():
        holder, name = _holder(value, path)
        holder[name] = new
    return _encoder.encode(value)


def _holder(value: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """
    Return the object that a dotted path leads into, made where it is not there, and the last name of the path.
    """
    if path in value:
        return value, path
    *outer, name = path.split(".")
    for one in outer:
        inner = value.get(one)
        if not isinstance(inner, dict):
            inner = value[one] = {}
        value = inner
    return value, name
