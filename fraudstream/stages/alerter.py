"""
Group ``alerter``: put each flagged decision into its alert group, exactly once. What is told of a group, when and where, is the
work of the desks (``alert_desk.py``), one per channel.

The group stands in Redis and is the outbox: the step that folds a decision also schedules its group on every channel and
acknowledges the entry, so a crash at any point loses nothing, and no channel that is slow or away holds an entry.
"""

from collections.abc import Sequence

import msgspec

from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.decision import Decision
from fraudstream.domain.decision_codec import decode_decision
from fraudstream.fleet.ports import Delivery, Handled, Letter
from fraudstream.stages.alert_grouping import bearing
from fraudstream.stages.alert_ports import AlertFolder, Folded, Raised
from fraudstream.stages.alert_report import AlertReport, Unreported
from fraudstream.stages.alert_text import build_alert
from fraudstream.stages.intake import letter_for
from fraudstream.telemetry.redact import scrub


class Alerter:
    """
    The stage of group ``alerter``.
    """

    def __init__(self, folder: AlertFolder, *, report: AlertReport | None = None) -> None:
        self._folder = folder
        self._report = report or Unreported()

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        """
        Fold each decision into its group; what holds none leaves a letter. See ``Stage``.
        """
        raised, letters = _read(batch)
        folded = await self._folder.fold(raised) if raised else []
        for one, became in zip(raised, folded, strict=True):
            if became in (Folded.OPENED, Folded.JOINED):
                self._report.raised(one.alert.severity, opened=became is Folded.OPENED)
        return Handled(
            settled=[one.delivery.entry_id for one in raised], done=[letter.entry_id for letter in letters], letters=letters
        )

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        """
        End a delivery that failed too often as a dead letter; see ``Stage``.
        """
        return Handled(done=[delivery.entry_id], letters=[letter_for(delivery, "max_retries", scrub(error))])


def _read(batch: Sequence[Delivery]) -> tuple[list[Raised], list[Letter]]:
    """
    Return the flagged decisions of a batch, and a letter for each entry that holds none.
    """
    raised: list[Raised] = []
    letters: list[Letter] = []
    for delivery in batch:
        body = (delivery.fields or {}).get(b"decision")
        if body is None:
            letters.append(letter_for(delivery, "schema_invalid", "the entry has no field 'decision'"))
            continue
        try:
            decision = decode_decision(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            letters.append(letter_for(delivery, "decode_error", scrub(f"field 'decision' cannot be read: {exc}")))
        else:
            raised.append(_raised(delivery, decision))
    return raised, letters


def _raised(delivery: Delivery, decision: Decision) -> Raised:
    transaction = decision.transaction
    return Raised(
        delivery=delivery,
        transaction_id=transaction.transaction_id,
        alert=build_alert(decision),
        bearing=bearing(decision),
        amount_minor=transaction.amount_minor,
        currency=transaction.currency,
        major=transaction.amount_minor / 10.0 ** EXPONENTS.get(transaction.currency, 2),
    )
