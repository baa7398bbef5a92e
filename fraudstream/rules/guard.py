"""
The circuit breaker: rules that fire far more often than their author said they would.
"""

from collections.abc import Sequence
from math import sqrt

import msgspec

from fraudstream.rules.ruleset import RowHits, RuleSet

#: Transactions that the memory reaches back over; older ones fade.
MEMORY = 4_000
#: Transactions that must have been seen, and hits that must have been counted, before anything can trip.
FEWEST_SEEN, FEWEST_HITS = 500, 20
#: How many standard deviations of its own count a rule must lie above its guard, so that chance trips nothing.
_CLEARLY = 3.0


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """
    A rule above its guard; both are shares of transactions in [0, 1].
    """

    rule_id: str
    rate: float
    max_rate: float

    @property
    def text(self) -> str:
        """
        What to tell its author.
        """
        return f"{self.rule_id} fired on {self.rate:.2%} of payments, its guard is {self.max_rate:.2%}"


class Guards:
    """
    Counts the hits of every guarded rule of one set, fading, and says which fire too often.

    A rule in shadow changes nothing and has no guard to break.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._limits = {
            rule.rule_id: rule.guard_max_rate for rule in rules.rules if rule.guard_max_rate is not None and not rule.shadow
        }
        self._fired = dict.fromkeys(self._limits, 0.0)
        self._seen = 0.0

    def count(self, rows: Sequence[RowHits]) -> None:
        """
        Note what the rules said of a batch.
        """
        if not self._limits:
            return
        kept = (1 - 1 / MEMORY) ** len(rows)
        self._seen = self._seen * kept + len(rows)
        for rule_id in self._fired:
            self._fired[rule_id] *= kept
        for row in rows:
            for hit in row.hits:
                if hit.rule_id in self._fired:
                    self._fired[hit.rule_id] += 1

    def tripped(self) -> list[Trip]:
        """
        Return the rules that fire clearly more often than they may, by name.
        """
        if self._seen < FEWEST_SEEN:
            return []
        return [
            Trip(rule_id=rule_id, rate=fired / self._seen, max_rate=self._limits[rule_id])
            for rule_id, fired in sorted(self._fired.items())
            if fired >= FEWEST_HITS and fired - _CLEARLY * sqrt(fired) > self._limits[rule_id] * self._seen
        ]
