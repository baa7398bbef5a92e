"""
What a dead letter is about, and how it is shown: masked, unless somebody may see it.
"""

import base64
import json
from typing import Any

import msgspec

from fraudstream.adapters.postgres_audit import ClosedLetter
from fraudstream.adapters.redis_keys import DECISIONS, FRAUD
from fraudstream.adapters.redis_letters import StoredLetter
from fraudstream.domain.moments import moment
from fraudstream.telemetry.redact import redact_value, scrub

#: The field of an entry that holds one JSON object, and the one that says that a value was cut.
DATA, TRUNCATED = b"data", b"truncated"


def transaction_id_of(letter: StoredLetter) -> str | None:
    """
    Return the id of the transaction that a letter is about; None where it cannot be read.
    """
    if letter.source.startswith(DECISIONS):
        return next((name.decode(errors="replace") for name in letter.fields), None)
    if letter.source.startswith(FRAUD):
        found = letter.fields.get(b"transaction_id")
        return None if found is None else found.decode(errors="replace")
    value = json_object(letter.fields.get(DATA, b"")).get("transaction_id")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def json_object(body: bytes) -> dict[str, Any]:
    """
    Read a JSON object; empty where the bytes are none.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def shown_letter(letter: StoredLetter, *, unmask: bool = False) -> dict[str, Any]:
    """
    Return a letter for people and exports: every value a text, personal data masked unless told otherwise.

    Bytes that are not UTF-8 stand whole in ``fields_base64`` of an unmasked letter.
    """
    owner = transaction_id_of(letter)
    shown: dict[str, Any] = {
        "letter_id": letter.letter_id,
        "at": moment(letter.dead_at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "source": letter.source,
        "entry_id": letter.entry_id,
        "group": letter.group,
        "consumer": letter.consumer,
        "deliveries": letter.deliveries,
        "reason": letter.reason,
        "error": letter.error if unmask else scrub(letter.error),
        "transaction_id": owner if unmask or owner is None else redact_value("transaction_id", owner),
        "edited_from": letter.edited_from,
        "left_out": letter.left_out,
        "masked": not unmask,
    }
    if not unmask:
        return {**shown, "fields": masked_fields(letter)}
    pairs = letter.fields.items()
    whole = {_text(name): base64.b64encode(value).decode() for name, value in pairs if not _is_utf8(value)}
    return {**shown, "fields": {_text(name): _text(value) for name, value in pairs}, "fields_base64": whole}


def masked_fields(letter: StoredLetter) -> dict[str, str]:
    """
    Return the fields of a letter as text that anybody may read.
    """
    return {scrub(_text(name)): _masked(_text(name), value) for name, value in letter.fields.items()}


def closed_letter(letter: StoredLetter, status: str) -> ClosedLetter:
    """
    Return the row that a letter leaves behind when it is replayed or discarded.
    """
    shown = shown_letter(letter)
    owner = shown["transaction_id"]
    part = owner if letter.source.startswith(DECISIONS) and owner else ""
    return ClosedLetter(
        stream=letter.source,
        entry_id=letter.entry_id,
        part=f"{part}/edited {letter.letter_id}" if letter.edited_from else part,
        transaction_id=None if owner is None else owner.replace("\x00", "\ufffd"),
        consumer_group=letter.group,
        owner=letter.consumer,
        reason=letter.reason,
        error=shown["error"].replace("\x00", "\ufffd"),
        attempts=letter.deliveries,
        fields=shown["fields"],
        dead_at=moment(letter.dead_at_ms),
        status=status,
    )


def _masked(name: str, value: bytes) -> str:
    whole = json_object(value)
    if whole:
        return json.dumps(redact_value("", whole), ensure_ascii=False)
    return str(redact_value(name, _scrubbed(_text(value))))


def _scrubbed(text: str) -> str:
    """
    Scrub what is nearly JSON: each quoted piece by itself first, because a name before it would hide only its first word.

    A string that was cut off is hidden: half an address is known by nothing, and still says whose it is.
    """
    pieces = [scrub(piece) for piece in text.split('"')]
    if len(pieces) % 2 == 0:
        pieces[-1] = "[CUT]"
    return scrub('"'.join(pieces))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
