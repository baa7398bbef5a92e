"""
A set of rules ready to run: every hit of every rule, in the order in which they win, whatever any one rule does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.columns import Batch
from fraudstream.rules.explain import Explain
from fraudstream.rules.row import Row, Verdict
from fraudstream.rules.rule import PRECEDENCE, Rule
from fraudstream.rules.syntax import OnMissing
from fraudstream.rules.vector import Condition


class RowHits(msgspec.Struct, frozen=True):
    """
    What the rules said of one transaction.

    ``hits`` stand by class (hard block, allow, block, challenge, review, score), then priority, then id: the first that is no
    score decides. ``shadow_hits`` stand likewise and must change nothing. ``errors`` are the ids of rules that failed on this
    transaction and therefore said nothing.
    """

    hits: tuple[RuleHit, ...] = ()
    shadow_hits: tuple[RuleHit, ...] = ()
    errors: tuple[str, ...] = ()


_NOTHING = RowHits()
_Order = tuple[int, int, str]
_Found = list[tuple[_Order, bool, RuleHit]]


@dataclass(frozen=True, slots=True)
class ReadyRule:
    """
    A rule with what the two evaluators made of it.
    """

    rule: Rule
    condition: Condition
    verdict: Verdict
    explain: Explain

    def hit(self, transaction: Transaction, features: NDArray[np.float32], *, known: bool) -> tuple[_Order, bool, RuleHit]:
        """
        Return the hit of this rule on one transaction, with its place among others.
        """
        rule = self.rule
        action = rule.action_when(known=known)
        hit = RuleHit(
            rule_id=rule.rule_id,
            action=action,
            reason=rule.reason,
            points=rule.points if action is Action.SCORE else 0.0,
            priority=rule.priority,
            explanation=self.explain(transaction, features),
            tags=rule.tags,
        )
        return (PRECEDENCE[action], rule.priority, rule.rule_id), rule.shadow, hit


@dataclass(frozen=True, slots=True)
class RuleSet:
    """
    An immutable set of rules; the same transactions, features and lists always give the same hits.

    ``id`` is the SHA-256 (64 hex digits) of ``source``, the canonical text. ``lists`` maps each list that a rule looks into to
    the version of its contents. ``features`` are the columns that the matrix must have, in order.
    """

    id: str
    source: str
    rules: tuple[Rule, ...]
    features: tuple[str, ...]
    lists: Mapping[str, str]
    ready: tuple[ReadyRule, ...]
    slots: int

    def evaluate(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> list[RowHits]:
        """
        Return the hits of each transaction, all rules over the whole batch at once.

        A rule that fails on the batch is tried on each transaction alone, so that only the culprit goes without it; its id then
        stands in that row's ``errors``. Nothing is ever raised for the sake of one rule.

        Args:
            transactions: In any order; one answer for each, in the same order.
            matrix: Shape (batch, features), float32, columns as in ``features``; NaN means missing.

        Raises:
            ValueError: The matrix has another shape.
        """
        self._expect(transactions, matrix)
        if not transactions:
            return []
        found: list[_Found] = [[] for _ in transactions]
        errors: list[list[str]] = [[] for _ in transactions]
        with np.errstate(all="ignore"):
            batch = Batch(transactions, matrix, self.slots)
            fired = np.zeros((2, len(self.ready), batch.size), np.bool_)
            for place, ready in enumerate(self.ready):
                try:
                    fired[0, place] = ready.condition.truth(batch)
                    if ready.condition.unknown is not None:
                        fired[1, place] = ready.condition.unknown(batch)
                except Exception:  # noqa: BLE001 - one rule must not take the batch down; its rows are worked alone
                    fired[:, place] = self._one_by_one(ready, batch, matrix, errors)
        for unknown, place, row in zip(*(axis.tolist() for axis in fired.nonzero()), strict=True):
            self._note(
                self.ready[place], transactions[row], matrix[row], known=not unknown, found=found[row], errors=errors[row]
            )
        return [_row_hits(*row) for row in zip(found, errors, strict=True)]

    def evaluate_by_row(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> list[RowHits]:
        """
        Return the same as ``evaluate`` by the reference evaluator, one transaction and one rule at a time.

        Raises:
            ValueError: The matrix has another shape.
        """
        self._expect(transactions, matrix)
        answers = []
        for transaction, vector in zip(transactions, matrix, strict=True):
            found: _Found = []
            errors: list[str] = []
            row = Row(transaction, vector.tolist())
            for ready in self.ready:
                fires = _verdict(ready, row, errors)
                if any(fires):
                    self._note(ready, transaction, vector, known=fires[0], found=found, errors=errors)
            answers.append(_row_hits(found, errors))
        return answers

    def _expect(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> None:
        wanted = (len(transactions), len(self.features))
        if matrix.shape != wanted:
            raise ValueError(f"the feature matrix has shape {matrix.shape}, these rules need {wanted}")

    def _one_by_one(
        self, ready: ReadyRule, batch: Batch, matrix: NDArray[np.float32], errors: list[list[str]]
    ) -> NDArray[np.bool_]:
        fires = [
            _verdict(ready, Row(transaction, vector.tolist()), failed)
            for transaction, vector, failed in zip(batch.transactions, matrix, errors, strict=True)
        ]
        return np.array(fires, np.bool_).T

    def _note(
        self,
        ready: ReadyRule,
        transaction: Transaction,
        vector: NDArray[np.float32],
        *,
        known: bool,
        found: _Found,
        errors: list[str],
    ) -> None:
        try:
            if ready.rule.concerns(transaction):
                found.append(ready.hit(transaction, vector, known=known))
        except Exception:  # noqa: BLE001 - a value that cannot be hashed or shown costs this rule its hit, nothing else
            errors.append(ready.rule.rule_id)


def _verdict(ready: ReadyRule, row: Row, errors: list[str]) -> tuple[bool, bool]:
    """
    Return whether a rule fires because its condition is true, or because it is unknown.
    """
    try:
        verdict = ready.verdict(row)
    except Exception:  # noqa: BLE001 - the culprit is found: this rule says nothing of this row
        errors.append(ready.rule.rule_id)
        return False, False
    return verdict is True, verdict is None and ready.rule.on_missing is not OnMissing.SKIP


def _row_hits(found: _Found, errors: list[str]) -> RowHits:
    if not found and not errors:
        return _NOTHING
    found.sort(key=itemgetter(0))
    return RowHits(
        tuple(hit for _, shadow, hit in found if not shadow),
        tuple(hit for _, shadow, hit in found if shadow),
        tuple(sorted(errors)),
    )
