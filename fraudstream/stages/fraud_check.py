"""
Group ``fraud-check``: the rules' verdict.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.evidence import Fallback, RulesVerdict
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.guard import Guards, Trip
from fraudstream.rules.list_hits import ListHits
from fraudstream.rules.ruleset import RuleSet, count_errors
from fraudstream.stages.ports import VerdictReport


class RulesJudge:
    """
    Evaluate one rule set over each batch; another one may take its place between two batches.
    """

    step = "rules"
    deadline_fallback = Fallback.RULES_DEADLINE

    def __init__(self, rule_set: RuleSet, report: VerdictReport) -> None:
        self._rule_set = rule_set
        self._guards = Guards(rule_set)
        self._report = report
        self.list_hits = ListHits()
        self._last: tuple[Sequence[Transaction], NDArray[np.float32]] | None = None

    @property
    def last_batch(self) -> tuple[Sequence[Transaction], NDArray[np.float32]] | None:
        """
        The transactions that were judged last, with their features; None before the first.
        """
        return self._last

    def use(self, rule_set: RuleSet, expected: Mapping[str, float] | None = None) -> None:
        """
        Judge by another rule set from the next batch on; the same rules over other lists go on being watched by their guards.

        Args:
            rule_set: What is judged by.
            expected: Backtested rates of rules by fingerprint; None leaves the guards of the same rules as they are.
        """
        if rule_set.id != self._rule_set.id or expected is not None:
            self._guards = Guards(rule_set, expected or {})
        self._rule_set = rule_set

    def tripped(self) -> list[Trip]:
        """
        Return the rules of the present set that fire clearly more often than their guard says.
        """
        return self._guards.tripped()

    @property
    def rule_set(self) -> RuleSet:
        """
        What is judged by.
        """
        return self._rule_set

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[RulesVerdict]:
        """
        Return every hit of every rule; a rule that fails on a row is counted and fires for nobody there.
        """
        rule_set, self._last = self._rule_set, (transactions, matrix)
        lists = dict(rule_set.lists)
        rows = rule_set.evaluate(transactions, matrix)
        self._guards.count(rows)
        self.list_hits.count(rule_set, transactions, rows)
        self._report.rules_failed(count_errors(rows))
        return [RulesVerdict(rule_set=rule_set.id, lists=lists, hits=row.hits, shadow_hits=row.shadow_hits) for row in rows]

    def no_opinion(self, reason: Fallback) -> RulesVerdict:
        """
        Return a verdict that names only why there is none.
        """
        return RulesVerdict(rule_set="", fallback=reason)
