"""
A decision store that first notes outcomes in states that lie in other partitions than their decision.
"""

from collections.abc import Iterable, Sequence

from fraudstream.adapters.redis_scattered import RedisScatteredStates
from fraudstream.domain.decision import Decision, Label
from fraudstream.fleet.ports import DecisionStore, Recorded


class OutcomeNotingStore:
    """
    Passes every call on to another ``DecisionStore``, once the outcomes are noted: whatever is recorded has been noted.

    It may raise ``StreamUnavailable`` too, when Redis is away: then nothing of the call was recorded.

    Args:
        store: Does the work.
        states: Told of every flagged decision, as often as it is offered.
    """

    def __init__(self, store: DecisionStore, states: RedisScatteredStates) -> None:
        self._store = store
        self._states = states

    async def record(self, decisions: Iterable[Decision]) -> Recorded:
        """
        Note and store decisions; see ``DecisionStore``.
        """
        some = list(decisions)
        await self._states.note_outcomes(some)
        return await self._store.record(some)

    async def record_labels(self, labels: Sequence[Label]) -> Recorded:
        """
        Store labels; see ``DecisionStore``.
        """
        return await self._store.record_labels(labels)
