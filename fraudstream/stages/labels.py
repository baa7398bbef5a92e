"""
Group ``labels``: ground truth becomes rows, or dead letters that say why not.
"""

from collections.abc import Sequence

from fraudstream.domain.codec import decode_label
from fraudstream.domain.decision import Label
from fraudstream.domain.errors import InvalidLabel
from fraudstream.fleet.ports import DecisionStore, Delivery, Handled, Letter
from fraudstream.stages.intake import letter_for


class Labels:
    """
    A ``Stage``. The second delivery is harmless because the store knows the label ids.
    """

    def __init__(self, store: DecisionStore) -> None:
        self._store = store

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        """
        Record the label of each entry; one that is none, or that the store refuses, leaves a letter.
        """
        labels, letters = _decode(batch)
        if labels:
            recorded = await self._store.record_labels([label for _, label in labels])
            letters += [
                letter_for(delivery, "sink_rejected", recorded.refused[label.label_id])
                for delivery, label in labels
                if label.label_id in recorded.refused
            ]
        return Handled(done=[delivery.entry_id for delivery in batch], letters=letters)

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        """
        Leave a letter.
        """
        return Handled(done=[delivery.entry_id], letters=[letter_for(delivery, "max_retries", error)])


def _decode(batch: Sequence[Delivery]) -> tuple[list[tuple[Delivery, Label]], list[Letter]]:
    labels: list[tuple[Delivery, Label]] = []
    letters: list[Letter] = []
    for delivery in batch:
        try:
            labels.append((delivery, decode_label(delivery.fields or {})))
        except InvalidLabel as exc:
            letters.append(letter_for(delivery, exc.reason, exc.detail))
    return labels, letters
