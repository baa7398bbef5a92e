"""
What a replay of a dead letter would come to, told before anything is done.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from fraudstream.adapters.redis_keys import DECISIONS, FRAUD, LABELS, RAW
from fraudstream.adapters.redis_letters import Place, StoredLetter
from fraudstream.app.letter_text import DATA, TRUNCATED
from fraudstream.domain.decision_codec import decode_decision, decode_label
from fraudstream.domain.errors import InvalidLabel, InvalidTransaction
from fraudstream.domain.transaction_codec import parse_transaction

#: What stands where a card number was.
MARK = b"[PAN"


class Fate(StrEnum):
    """
    What a replay of a letter would come to.
    """

    DECIDE = "decide"
    DUPLICATE = "duplicate"
    IN_WORK = "in_work"
    STORE = "store"
    KNOWN = "known"
    TELL = "tell"
    EXPIRED = "expired"
    UNSURE = "unsure"
    INVALID = "invalid"
    INCOMPLETE = "incomplete"
    MASKED = "masked"
    CORRECTED = "corrected"


#: Each fate in words; ``{}`` takes what is particular.
_WORDS = {
    Fate.DECIDE: "no decision yet: it would be decided",
    Fate.DUPLICATE: "already decided{}: it would end as a counted duplicate",
    Fate.IN_WORK: "being decided now: it would end as a counted duplicate",
    Fate.STORE: "would be stored, once{}",
    Fate.KNOWN: "on record already{}: it would change nothing",
    Fate.TELL: "would be told again on every channel that is not settled",
    Fate.EXPIRED: "decided{}, and no longer known to Redis: a replay would decide it twice",
    Fate.UNSURE: "may have been decided and is no longer known to Redis; set POSTGRES_URL to be sure",
    Fate.INVALID: "would be refused again: {}; correct it with: fraudstream dlq edit",
    Fate.INCOMPLETE: "not whole ({}); give it a body with: fraudstream dlq edit --body FILE",
    Fate.MASKED: "a card number in it was masked; put a token there with: fraudstream dlq edit",
    Fate.CORRECTED: "corrected as {}; replay that one",
}
#: The fates that a replay is allowed to have.
REPLAYABLE = frozenset({Fate.DECIDE, Fate.DUPLICATE, Fate.IN_WORK, Fate.STORE, Fate.KNOWN, Fate.TELL})


class Assessed(msgspec.Struct, frozen=True, kw_only=True):
    """
    A letter with what a replay of it would come to; ``decision`` is the outcome on record, empty where there is none.
    """

    letter: StoredLetter
    transaction_id: str | None
    fate: Fate
    says: str
    decision: str = ""

    @property
    def replayable(self) -> bool:
        """
        Whether a replay is allowed.
        """
        return self.fate in REPLAYABLE


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known of a letter's transaction.

    ``place`` is the word of Redis, ``record`` outcome and time on record, ``asked`` whether a database was there to ask, and
    ``copy`` the id of the letter's corrected copy, empty when it has none.
    """

    transaction_id: str | None
    place: Place
    record: tuple[str, datetime] | None
    asked: bool
    copy: str


def assess(letter: StoredLetter, standing: Standing, *, now_ms: int, currency: str) -> Assessed:
    """
    Say what a replay of one letter would come to.
    """
    record = standing.record
    when = "" if record is None else f" ({record[0]} at {record[1]:%Y-%m-%d %H:%M:%S} UTC)"
    fate, about = _unfit(letter, standing.copy, now_ms=now_ms, currency=currency)
    if fate is None:
        fate, about = _fate(letter, standing), when
    outcome = record[0] if record is not None else ("unknown" if standing.place is Place.DECIDED else "")
    return Assessed(
        letter=letter, transaction_id=standing.transaction_id, fate=fate, says=_WORDS[fate].format(about), decision=outcome
    )


def _unfit(letter: StoredLetter, copy: str, *, now_ms: int, currency: str) -> tuple[Fate | None, str]:
    """
    Say why an entry would not get far, whatever became of its transaction.
    """
    if copy:
        return Fate.CORRECTED, copy
    if not letter.fields:
        return Fate.INCOMPLETE, "nothing of the entry was kept"
    if letter.left_out or TRUNCATED in letter.fields:
        return Fate.INCOMPLETE, letter.left_out or letter.fields[TRUNCATED].decode(errors="replace")
    if letter.source.startswith(RAW) and any(MARK in value for value in letter.fields.values()):
        return Fate.MASKED, ""
    problem = problem_of(letter.source, letter.fields, now_ms=now_ms, currency=currency)
    return (Fate.INVALID, problem) if problem else (None, "")


def problem_of(source: str, fields: Mapping[bytes, bytes], *, now_ms: int, currency: str) -> str:
    """
    Say why an entry would be refused by the group that reads its stream; empty when it would not.
    """
    try:
        if source.startswith(RAW):
            if DATA not in fields:
                return "the entry has no field 'data'; it must hold one JSON object"
            parse_transaction(fields[DATA], now_ms=now_ms, default_currency=currency)
        elif source.startswith(DECISIONS):
            for name, body in fields.items():
                if decode_decision(body).transaction.transaction_id.encode() != name:
                    return "the field's name is not the decision's transaction id"
        elif source.startswith(FRAUD):
            decode_decision(fields.get(b"decision", b""))
        elif source.startswith(LABELS):
            decode_label(fields)
    except (InvalidTransaction, InvalidLabel) as exc:
        return str(exc)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        return f"it is no decision: {exc}"
    return ""


def _fate(letter: StoredLetter, standing: Standing) -> Fate:
    place, known = standing.place, standing.record is not None
    if letter.source.startswith(RAW):
        if place is Place.DECIDED:
            return Fate.DUPLICATE
        if place is Place.IN_WORK:
            return Fate.IN_WORK
        if known:
            return Fate.EXPIRED
        # What was given up got a fallback decision; what could not be read got none.
        return Fate.UNSURE if letter.reason == "max_retries" and not standing.asked else Fate.DECIDE
    if letter.source.startswith(FRAUD):
        return Fate.TELL
    return Fate.KNOWN if known and letter.source.startswith(DECISIONS) else Fate.STORE
