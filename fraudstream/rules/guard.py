"""
The circuit breaker: rules that fire far more often than their author, or their backtest, said they would.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import sqrt
from types import MappingProxyType

import msgspec

from fraudstream.rules.rule import Rule
from fraudstream.rules.ruleset import RowHits, RuleSet

#: Transactions that the memory reaches back over; older ones fade.
MEMORY = 4_000
#: Transactions that must have been seen, and hits that must have been counted, before anything can trip.
FEWEST_SEEN, FEWEST_HITS = 500, 20
#: How many standard deviations of its own count a rule must lie above its guard, so that chance trips nothing.
_CLEARLY = 3.0
#: How many times its backtested rate a rule may fire, and the share of payments below which nobody minds.
BACKTEST_FACTOR, BACKTEST_FLOOR = 5.0, 0.002
_NONE_EXPECTED: Mapping[str, float] = MappingProxyType({})


def fingerprint(rule: Rule) -> str:
    """
    Return what a rule does as 16 hex digits: the same in every rule set, in shadow or in force, under whatever name.

    A rule that is changed has another one, so what an old backtest said of it is forgotten.
    """
    rollout = "" if rule.rollout is None else f"{rule.rollout.share} {rule.rollout.field}"
    told = (rule.action.value, " ".join(rule.text.split()), rule.on_missing.value, rollout)
    return blake2b("\n".join(told).encode(errors="surrogatepass"), digest_size=8).hexdigest()


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """
    A rule above its guard, or far above its backtest; all are shares of transactions in [0, 1].

    ``backtested`` is the rate that it had in its backtest, None where its guard was broken.
    """

    rule_id: str
    rate: float
    max_rate: float
    backtested: float | None = None

    @property
    def text(self) -> str:
        """
        What to tell its author.
        """
        said = f"{self.rule_id} fired on {self.rate:.2%} of payments"
        if self.backtested is None:
            return f"{said}, its guard is {self.max_rate:.2%}"
        return f"{said}, its backtest said {self.backtested:.3%}, and {self.max_rate:.2%} is the most that this allows"


class Guards:
    """
    Counts the hits of every guarded or backtested rule of one set, fading, and says which fire too often.

    A rule in shadow changes nothing and has no guard to break.

    Args:
        rules: The set.
        expected: Backtested rates by fingerprint; see ``fingerprint``.
    """

    def __init__(self, rules: RuleSet, expected: Mapping[str, float] = _NONE_EXPECTED) -> None:
        active = [rule for rule in rules.rules if not rule.shadow]
        rates = {rule.rule_id: expected.get(fingerprint(rule)) for rule in active} if expected else {}
        self._backtested = {rule_id: rate for rule_id, rate in rates.items() if rate is not None}
        self._limits = {rule_id: max(rate * BACKTEST_FACTOR, BACKTEST_FLOOR) for rule_id, rate in self._backtested.items()}
        for rule in active:
            if rule.guard_max_rate is not None and rule.guard_max_rate <= self._limits.get(rule.rule_id, 1.0):
                self._limits[rule.rule_id] = rule.guard_max_rate
                self._backtested.pop(rule.rule_id, None)
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
            Trip(
                rule_id=rule_id,
                rate=fired / self._seen,
                max_rate=self._limits[rule_id],
                backtested=self._backtested.get(rule_id),
            )
            for rule_id, fired in sorted(self._fired.items())
            if fired >= FEWEST_HITS and fired - _CLEARLY * sqrt(fired) > self._limits[rule_id] * self._seen
        ]
