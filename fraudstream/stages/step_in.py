"""
Answer for a group that does not: complete what others have waited for long enough, with no opinion.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.evidence import Fallback, ModelVerdict, RulesVerdict, Verdict
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.ports import Delivery, Handled
from fraudstream.stages.verdict import VerdictRoad


class AbsentRules:
    """
    The judge of a rules group that is not there.
    """

    step = "rules"
    deadline_fallback = Fallback.RULES_DEADLINE

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[Verdict]:
        """
        Return no opinion on every row.
        """
        return [self.no_opinion(self.deadline_fallback)] * len(transactions)

    def no_opinion(self, reason: Fallback) -> RulesVerdict:
        """
        Return a verdict that names only why there is none.
        """
        return RulesVerdict(rule_set="", fallback=reason)


class AbsentModel:
    """
    The judge of a model group that is not there.
    """

    step = "model"
    deadline_fallback = Fallback.MODEL_DEADLINE

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[Verdict]:
        """
        Return no opinion on every row.
        """
        return [self.no_opinion(self.deadline_fallback)] * len(transactions)

    def no_opinion(self, reason: Fallback) -> ModelVerdict:
        """
        Return a verdict that names only why there is none.
        """
        return ModelVerdict(model="", fallback=reason)


class StepIn:
    """
    ``Stage`` over the overdue entries of a lagging group.
    """

    def __init__(self, road: VerdictRoad) -> None:
        self._road = road

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        """
        Complete what the other group has judged; give the rest back at once.
        """
        return await self._road.step_in(batch)

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        """
        Leave a letter and no opinion.
        """
        return await self._road.give_up(delivery, error)
