"""
Group ``fraud-check``: the rules' verdict.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.evidence import Fallback, RulesVerdict
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.ruleset import RuleSet, count_errors
from fraudstream.stages.ports import VerdictReport


class RulesJudge:
    """
    Evaluate one rule set over each batch.
    """

    step = "rules"
    deadline_fallback = Fallback.RULES_DEADLINE

    def __init__(self, rule_set: RuleSet, report: VerdictReport) -> None:
        self._rule_set = rule_set
        self._report = report

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[RulesVerdict]:
        """
        Return every hit of every rule; a rule that fails on a row is counted and fires for nobody there.
        """
        lists = dict(self._rule_set.lists)
        rows = self._rule_set.evaluate(transactions, matrix)
        self._report.rules_failed(count_errors(rows))
        return [
            RulesVerdict(rule_set=self._rule_set.id, lists=lists, hits=row.hits, shadow_hits=row.shadow_hits) for row in rows
        ]

    def no_opinion(self, reason: Fallback) -> RulesVerdict:
        """
        Return a verdict that names only why there is none.
        """
        return RulesVerdict(rule_set="", fallback=reason)
