"""
Group ``labels``: ground truth becomes rows, or dead letters that say why not, and moves the features that look at labels.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from fraudstream.domain.decision import Label
from fraudstream.domain.decision_codec import decode_label
from fraudstream.domain.errors import InvalidLabel
from fraudstream.domain.tokens import Tokens
from fraudstream.fleet import crash
from fraudstream.fleet.ports import DecisionStore, Delivery, Handled, Letter
from fraudstream.stages.intake import letter_for
from fraudstream.stages.ports import DecisionFinder, LabelledStates

#: A label may overtake the recorder: how often it is handed out, and the pause between, before its decision counts as unknown.
_LOOKS, _PAUSE_S = 3, 20.0


class Labels:
    """
    A ``Stage``. The second delivery is harmless because the store knows the label ids and the states the labels they were told.

    A label names a transaction and nothing more; which entities it moved is read from its decision on record. One without a
    decision is looked for again twice, and then only stored: what was never decided here has moved no state.

    Args:
        store: Takes the labels.
        decisions: Where the labelled transactions stand.
        states: What labels move; None where no feature looks at them.
        tokens: What the workers that decide put in the place of personal data.
    """

    def __init__(
        self,
        store: DecisionStore,
        decisions: DecisionFinder | None = None,
        states: LabelledStates | None = None,
        *,
        tokens: Tokens | None = None,
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._decisions = decisions
        self._states = states

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        """
        Record the label of each entry; one that is none, or that the store refuses, leaves a letter.
        """
        labels, letters = _decode(batch, self._tokens)
        again: dict[bytes, float] = {}
        if labels:
            recorded = await self._store.record_labels([label for _, label in labels])
            crash.here("labelled")
            letters += [
                letter_for(delivery, "sink_rejected", recorded.refused[label.label_id])
                for delivery, label in labels
                if label.label_id in recorded.refused
            ]
            again = await self._move([pair for pair in labels if pair[1].label_id not in recorded.refused])
        done = [delivery.entry_id for delivery in batch if delivery.entry_id not in again]
        return Handled(done=done, letters=letters, retry=again)

    async def _move(self, labels: Sequence[tuple[Delivery, Label]]) -> dict[bytes, float]:
        """
        Tell the states, stored now or before: the last time may have ended between the two. Return what to look for again.
        """
        if self._decisions is None or self._states is None:
            return {}
        found = await asyncio.gather(*(self._decisions.find(label.transaction_id) for _, label in labels))
        known = [(label, each.transaction) for (_, label), each in zip(labels, found, strict=True) if each is not None]
        await self._states.tell(known)
        return {
            delivery.entry_id: _PAUSE_S
            for (delivery, _), each in zip(labels, found, strict=True)
            if each is None and delivery.deliveries < _LOOKS
        }

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        """
        Leave a letter.
        """
        return Handled(done=[delivery.entry_id], letters=[letter_for(delivery, "max_retries", error)])


def _decode(batch: Sequence[Delivery], tokens: Tokens | None) -> tuple[list[tuple[Delivery, Label]], list[Letter]]:
    labels: list[tuple[Delivery, Label]] = []
    letters: list[Letter] = []
    for delivery in batch:
        try:
            label = decode_label(delivery.fields or {})
        except InvalidLabel as exc:
            letters.append(letter_for(delivery, exc.reason, exc.detail))
        else:
            labels.append((delivery, label if tokens is None else _without_people(label, tokens)))
    return labels, letters


def _without_people(label: Label, tokens: Tokens) -> Label:
    return msgspec.structs.replace(
        label,
        label_id=tokens.text(label.label_id),
        transaction_id=tokens.text(label.transaction_id),
        source=tokens.text(label.source),
    )
