"""
Group ``recorder``: decisions become rows, or dead letters that say why not.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import msgspec

from fraudstream.domain.decision import DECISION_SCHEMA, Decision
from fraudstream.domain.decision_codec import decode_decision
from fraudstream.domain.limits import MAX_BODY_BYTES
from fraudstream.domain.masking import HIDDEN, has_card_number, is_card_number_id, is_sensitive, mask_cards
from fraudstream.fleet import crash
from fraudstream.fleet.ports import DecisionStore, Delivery, Handled, Letter
from fraudstream.stages.intake import letter_for

#: Fields whose digits are ours (hashes, times, money, an id that was let in): one in ten long numbers passes for a card.
_OURS = frozenset(
    {
        *("transaction_id", "occurred_at_ms", "amount_minor", "balance_before_minor", "balance_after_minor"),
        *("counterparty_balance_before_minor", "counterparty_balance_after_minor"),
        *("vector", "feature_set", "rule_set", "lists", "model"),
    }
)
#: Decisions in one database transaction; more gain nothing and hold locks longer.
MAX_AT_ONCE = 4_000


class Recorder:
    """
    A ``Stage``. An entry is done once every decision in it is stored, known, or has a letter.

    The second delivery is harmless because the store knows the ids. While the store is away nothing is dead-lettered:
    ``DecisionStoreUnavailable`` goes through to the fleet, which waits.
    """

    def __init__(self, store: DecisionStore) -> None:
        self._store = store

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        """
        Record every decision of a batch.
        """
        letters: list[Letter] = []
        refused: dict[str, str] = {}
        decisions = _decoded(batch, letters)
        for first in decisions:
            crash.here("recording")
            # One after the other as they are read: a batch of whole decisions is more than fits into the cache of a core.
            recorded = await self._store.record(chain((first,), islice(decisions, MAX_AT_ONCE - 1)))
            crash.here("recorded")
            refused.update(recorded.refused)
        if refused:
            letters += _refusals(batch, letters, refused)
        return Handled(done=[delivery.entry_id for delivery in batch], letters=letters)

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        """
        Leave a letter for each decision of the entry, so that each can be replayed alone.
        """
        letters = [_letter(delivery, name, "max_retries", error) for name in delivery.fields or {}]
        return Handled(done=[delivery.entry_id], letters=letters or [letter_for(delivery, "max_retries", error)])


def _decoded(batch: Sequence[Delivery], letters: list[Letter]) -> Iterator[Decision]:
    """
    Yield the decisions of a batch as they are asked for; of what is none a letter is added to ``letters``.
    """
    for delivery in batch:
        for name, body in (delivery.fields or {}).items():
            try:
                decision = decode_decision(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
                reason = "schema_invalid" if isinstance(exc, msgspec.ValidationError) else "decode_error"
                letters.append(_letter(delivery, name, reason, mask_cards(str(exc))))
                continue
            if problem := _problem(name, decision):
                letters.append(_letter(delivery, name, "schema_invalid", problem))
            else:
                yield decision


def _problem(name: bytes, decision: Decision) -> str:
    """
    Say what makes a readable decision unusable; empty when nothing does.
    """
    if decision.schema != DECISION_SCHEMA:
        return f"the decision's schema is not {DECISION_SCHEMA}; a newer worker wrote it"
    if decision.transaction.transaction_id.encode() != name:
        return "the field's name is not the decision's transaction id"
    if decision.occurred_at.tzinfo is None or decision.received_at.tzinfo is None or decision.decided_at.tzinfo is None:
        return "a time of the decision has no offset from UTC"
    return ""


def _refusals(batch: Sequence[Delivery], letters: Sequence[Letter], refused: dict[str, str]) -> list[Letter]:
    """
    Write a letter for each decision that the store will never take, wherever it stands, once.
    """
    told = {(letter.entry_id, name) for letter in letters for name in letter.fields}
    names = {transaction_id.encode(): error for transaction_id, error in refused.items()}
    return [
        _letter(delivery, name, "sink_rejected", error)
        for delivery in batch
        for name, error in names.items()
        if name in (delivery.fields or {}) and (delivery.entry_id, name) not in told
    ]


def _letter(delivery: Delivery, name: bytes, reason: str, error: str) -> Letter:
    """
    Write the letter of one decision, with nothing in it of its neighbours.
    """
    text = name.decode(errors="replace")
    body = (delivery.fields or {})[name]
    if not _is_card(text):
        fields = {name: _masked(body)[:MAX_BODY_BYTES]}
        return Letter(entry_id=delivery.entry_id, reason=reason, error=error, fields=fields, part=text)
    # Two masked names may be equal, and the second letter be taken for the first: the place in the entry tells them apart.
    place = list(delivery.fields or {}).index(name)
    fields = {mask_cards(text).encode(): _masked(body)[:MAX_BODY_BYTES]}
    return Letter(
        entry_id=delivery.entry_id, reason=reason, error=error, fields=fields, part=f"{delivery.entry_id.decode()}/{place}"
    )


def _is_card(transaction_id: str) -> bool:
    return is_card_number_id(transaction_id) if transaction_id.isdecimal() else has_card_number(transaction_id)


def _masked(body: bytes) -> bytes:
    """
    Mask card numbers in the JSON of a decision so that it can still be read; other bytes are masked as text.
    """
    try:
        return msgspec.json.encode(_masked_value(msgspec.json.decode(body), _OURS))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return mask_cards(body.decode("latin-1")).encode("latin-1")


def _masked_value(value: Any, plain: frozenset[str]) -> Any:
    """
    Mask a JSON value and everything in it, but for the fields in ``plain``; what producers sent along has none of those.
    """
    if isinstance(value, dict):
        return {
            mask_cards(key): each if key in plain else HIDDEN if is_sensitive(key) else _masked_value(each, _inside(key, plain))
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_masked_value(each, plain) for each in value]
    if isinstance(value, str):
        return mask_cards(value)
    if isinstance(value, int) and not isinstance(value, bool) and has_card_number(str(value)):
        return mask_cards(str(value))
    return value


def _inside(key: str, plain: frozenset[str]) -> frozenset[str]:
    return frozenset() if key == "metadata" else plain
