"""
Answer for a group that does not: complete what others have waited for long enough, with no opinion.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.evidence import Fallback, ModelVerdict, RulesVerdict, Verdict
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.ports import Delivery, Handled
from fraudstream.stages.ports import Judge
from fraudstream.stages.verdict import VerdictRoad


class Absent:
    """
    The judge of a group that is not there.
    """

    def __init__(self, step: str, deadline_fallback: Fallback, no_opinion: Callable[[Fallback], Verdict]) -> None:
        self.step = step
        self.deadline_fallback = deadline_fallback
        self._no_opinion = no_opinion

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[Verdict]:
        """
        Return no opinion on every row.
        """
        return [self.no_opinion(self.deadline_fallback)] * len(transactions)

    def no_opinion(self, reason: Fallback) -> Verdict:
        """
        Return a verdict that names only why there is none.
        """
        return self._no_opinion(reason)


#: Who answers for each deciding group.
ABSENT: dict[str, Judge] = {
    "fraud-check": Absent("rules", Fallback.RULES_DEADLINE, lambda reason: RulesVerdict(rule_set="", fallback=reason)),
    "ml-scoring": Absent("model", Fallback.MODEL_DEADLINE, lambda reason: ModelVerdict(model="", fallback=reason)),
}


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
