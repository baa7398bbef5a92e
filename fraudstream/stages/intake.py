"""
Deliveries become transactions, or dead letters that say why not.
"""

import re
from collections.abc import Mapping, Sequence
from operator import attrgetter

import msgspec

from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.limits import MAX_BODY_BYTES
from fraudstream.domain.masking import HIDDEN, is_sensitive, mask_cards
from fraudstream.domain.tokens import Tokens
from fraudstream.domain.transaction_codec import decode_transaction
from fraudstream.fleet.ports import Delivery, Letter
from fraudstream.stages.case import Case
from fraudstream.stages.neighbours import Neighbours

#: Longest error text of a letter, in characters.
_ERROR_CHARACTERS = 2000
#: JSON's escapes of digits, blanks and dashes, behind which a card number would pass the mask; a pair of backslashes is none.
_ESCAPED = re.compile(r"(\\\\)|\\u00(3[0-9]|20|2[dD]|[aA]0)")
#: A value of ``timestamp`` that may be a time: milliseconds until 2096 (cards of 13 digits begin with a 4), or micro- and
#: nanoseconds that somebody sent by mistake (no card of 16 or 19 digits begins with a 1).
_MOMENT = re.compile(r"(?:[123][0-9]{12}|1[0-9]{15}|1[0-9]{18})(?:\.[0-9]{1,9})?")
#: The same where nothing but its name tells: in bytes that are no JSON.
_NAMED_MOMENT = re.compile(rf'("timestamp"\s*:\s*"?{_MOMENT.pattern}(?![0-9]))')
#: What valid JSON is made of, as far as masking is concerned.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[{}\[\],:]', re.DOTALL)
#: A name with its value in bytes that are no JSON.
_NAMED = re.compile(r"""(["']?([A-Za-z][A-Za-z0-9_ -]{1,40})["']?\s?[:=]\s?)("[^"]*"?|'[^']*'?|[^\s,;&)}\]]+)""")
_WITHHELD = b"withheld: a card number stands in it in a form that cannot be masked"


def decode_batch(
    batch: Sequence[Delivery],
    *,
    now_ms: int,
    default_currency: str,
    tokens: Tokens | None = None,
    neighbours: Neighbours | None = None,
) -> tuple[list[Case], list[Letter]]:
    """
    Return the transactions of a batch in the order of their entry ids, and a letter for each delivery that holds none.

    With ``tokens`` no e-mail address and no phone number goes any further. What ``neighbours`` have decoded is taken from them.
    """
    cases: list[Case] = []
    letters: list[Letter] = []
    for delivery in batch:
        if neighbours is not None and (known := neighbours.case(delivery)) is not None:
            cases.append(known)
            continue
        try:
            transaction = decode_transaction(delivery.fields or {}, now_ms=now_ms, default_currency=default_currency)
        except InvalidTransaction as exc:
            letters.append(letter_for(delivery, exc.reason, exc.detail))
        else:
            if tokens is not None and _may_name_people(delivery):
                transaction = tokens.transaction(transaction)
            cases.append(Case(delivery, transaction, entry_order(delivery.entry_id)))
            if neighbours is not None:
                neighbours.decoded(cases[-1])
    cases.sort(key=attrgetter("order"))
    return cases, letters


def _may_name_people(delivery: Delivery) -> bool:
    """
    Say whether the bytes can hold an e-mail address or a phone number: they need one of two signs, or an escape of it.
    """
    written = b" ".join((delivery.fields or {}).values())
    return b"@" in written or b"+" in written or b"\\u00" in written


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
        masked = HIDDEN.encode() if is_sensitive(name.decode("latin-1")) else _masked(value)
        kept[_safe_name(name)] = masked[:MAX_BODY_BYTES]
        if len(masked) > MAX_BODY_BYTES:
            kept[b"truncated"] = b"%s: first %d of %d bytes" % (_safe_name(name), MAX_BODY_BYTES, len(value))
    return kept


def _safe_name(name: bytes) -> bytes:
    return _masked(name)[:128]


def _masked(value: bytes) -> bytes:
    """
    Mask card numbers in bytes that need be neither UTF-8 nor JSON; every other byte stays as it is.

    The time of a payment stays too: one in ten numbers of 13 digits passes for a card, and a letter without its time cannot be
    replayed. What was a JSON object or list is one afterwards.
    """
    text = value.decode("utf-8", "surrogateescape")
    if _is_json(value):
        masked = _TOKEN.sub(_JsonMask(), text)
    else:
        parts = _NAMED_MOMENT.split(text)
        masked = "".join(part if at % 2 else _masked_text(part) for at, part in enumerate(parts))
        masked = _NAMED.sub(_hidden, masked)
    return masked.encode("utf-8", "surrogateescape")


def _hidden(match: re.Match[str]) -> str:
    return f"{match[1]}{HIDDEN}" if is_sensitive(match[2]) else match[0]


def _is_json(value: bytes) -> bool:
    """
    Say whether bytes are a JSON object or list; a bare number is text to us.
    """
    try:
        return isinstance(msgspec.json.decode(value), dict | list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _masked_text(text: str) -> str:
    masked = mask_cards(text)
    if "\\u00" in masked:
        masked = mask_cards(_ESCAPED.sub(lambda match: match[1] or chr(int(match[2], 16)), masked))
    return masked


class _JsonMask:
    """
    Mask one token of valid JSON after the other; a number that is masked becomes a string.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._last = ""
        self._name = ""
        self._hidden_from: int | None = None

    def __call__(self, match: re.Match[str]) -> str:
        written = match[0]
        if written in "{[}],:":
            self._move(written)
            return written
        self._last = written
        if self._hidden_from is not None or is_sensitive(self._name[1:-1]):
            return f'"{HIDDEN}"'
        if self._depth == 1 and self._name == '"timestamp"' and _MOMENT.fullmatch(written.strip('"')):
            return written
        masked = _masked_text(written)
        return masked if written[0] == '"' or masked == written else f'"{masked}"'

    def _move(self, sign: str) -> None:
        if sign == ":":
            self._name = self._last
            return
        if sign in "{[" and self._hidden_from is None and is_sensitive(self._name[1:-1]):
            self._hidden_from = self._depth
        self._depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(sign, 0)
        self._name = self._name if sign in "{[" else ""
        if self._hidden_from == self._depth:
            self._hidden_from = None
