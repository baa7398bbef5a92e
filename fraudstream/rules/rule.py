"""
One checked rule: what it asks, of whom, and when.
"""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from fraudstream.domain.evidence import Action
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.plan import Truth
from fraudstream.rules.syntax import Expression, OnMissing, Rollout, RuleTest
from fraudstream.rules.vocabulary import TEXT_FIELDS

#: The classes in the order in which they win.
PRECEDENCE: Mapping[Action, int] = {
    action: place
    for place, action in enumerate(
        (Action.HARD_BLOCK, Action.ALLOW, Action.BLOCK, Action.CHALLENGE, Action.REVIEW, Action.SCORE)
    )
}
#: A rollout is counted in hundredths of a percent.
SHARES = 10_000


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """
    A rule as it stands in a rule set.

    ``text`` is its condition as written, ``written`` the tree of it, ``condition`` its checked form.

    ``points`` belong to action ``score`` only. ``guard_max_rate`` is the share of transactions above which the rule should trip
    to shadow. Times are event time in milliseconds since 1970; the end is not included. ``line`` counts from 1.
    """

    rule_id: str
    action: Action
    points: float
    shadow: bool
    reason: str
    tags: tuple[str, ...]
    priority: int
    on_missing: OnMissing
    guard_max_rate: float | None
    rollout: Rollout | None
    active_from_ms: int | None
    active_until_ms: int | None
    text: str
    written: Expression
    condition: Truth
    tests: tuple[RuleTest, ...]
    line: int

    def concerns(self, transaction: Transaction) -> bool:
        """
        Say whether the rule is in force for a transaction: at its time, and rolled out to its entity.
        """
        at_ms = transaction.occurred_at_ms
        if self.active_from_ms is not None and at_ms < self.active_from_ms:
            return False
        if self.active_until_ms is not None and at_ms >= self.active_until_ms:
            return False
        if self.rollout is None:
            return True
        key = TEXT_FIELDS[self.rollout.field](transaction)
        return key is not None and share_of(self.rule_id, key) < self.rollout.share


def share_of(rule_id: str, key: str) -> int:
    """
    Return where an entity stands in the rollout of a rule, from 0 to 9,999: the same for ever, and another for each rule.
    """
    digest = blake2b(f"{rule_id}:{key}".encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % SHARES
