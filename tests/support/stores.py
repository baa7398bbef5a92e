"""
A decision store in memory, for tests of what stands before it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.errors import DecisionStoreUnavailable
from fraudstream.fleet.ports import Recorded


class MemoryDecisionStore:
    """
    Keeps the promises of ``DecisionStore``; ``away`` makes it raise, ``poison`` names ids that it will never take.
    """

    def __init__(self) -> None:
        self.decisions: dict[str, Decision] = {}
        self.labels: dict[str, Label] = {}
        self.poison: dict[str, str] = {}
        self.away = False

    async def record(self, decisions: Iterable[Decision]) -> Recorded:
        recorded = self._keep(self.decisions, [(each.transaction.transaction_id, each) for each in decisions])
        flagged = sum(self.decisions[transaction_id].flagged for transaction_id in recorded.stored)
        return msgspec.structs.replace(recorded, flagged=flagged)

    async def record_labels(self, labels: Sequence[Label]) -> Recorded:
        return self._keep(self.labels, [(each.label_id, each) for each in labels])

    def _keep(self, kept: dict[str, Any], offered: list[tuple[str, Any]]) -> Recorded:
        if self.away:
            raise DecisionStoreUnavailable("away")
        stored: list[str] = []
        known: list[str] = []
        refused: dict[str, str] = {}
        for key, item in offered:
            if key in self.poison or "\x00" in key:
                refused[key] = self.poison.get(key, "a NUL")
            elif key not in kept:
                kept[key] = item
                stored.append(key)
            elif key not in stored:
                known.append(key)
        return Recorded(stored=stored, known=known, refused=refused)
