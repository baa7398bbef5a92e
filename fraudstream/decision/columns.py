"""
The outcome of many transactions at once: what ``decide`` says, without its reasons, for rules and a model that had an opinion.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fraudstream.decision.policy import SEVERITY, DecisionPolicy
from fraudstream.domain.decision import Outcome
from fraudstream.domain.evidence import Action

Rows = NDArray[np.intp]

#: Classes from the weakest to the strongest, with the outcome of each: written over each other, the strongest stays.
_CLASSES = (
    (Action.REVIEW, Outcome.REVIEW),
    (Action.CHALLENGE, Outcome.CHALLENGE),
    (Action.BLOCK, Outcome.BLOCK),
    (Action.ALLOW, Outcome.APPROVE),
    (Action.HARD_BLOCK, Outcome.BLOCK),
)


def outcomes(
    policy: DecisionPolicy, hits: Iterable[tuple[Action, float, Rows]], probability: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """
    Return the outcome of each row, as its place in ``SEVERITY``.

    Args:
        policy: The bands.
        hits: For each rule its action, its points, and the rows that it fires on, each once; rules in the order in which hits
            stand, so that points are added up in that order.
        probability: Shape (rows,), of fraud by the model; NaN where it has no opinion.
    """
    rows_of: dict[Action, list[Rows]] = {}
    points = np.zeros(len(probability))
    for action, worth, rows in hits:
        if action is Action.SCORE:
            points[rows] += worth
        else:
            rows_of.setdefault(action, []).append(rows)
    known = np.where(np.isfinite(probability), np.clip(probability, 0.0, 1.0), 0.0)
    found = _bands(policy, np.clip(known + points / 100, 0.0, 1.0))
    for action, outcome in _CLASSES:
        for rows in rows_of.get(action, ()):
            found[rows] = SEVERITY.index(outcome)
    return found


def _bands(policy: DecisionPolicy, score: NDArray[np.float64]) -> NDArray[np.uint8]:
    found = np.zeros(len(score), np.uint8)
    for start, outcome in (
        (policy.challenge_from, Outcome.CHALLENGE),
        (policy.review_from, Outcome.REVIEW),
        (policy.block_from, Outcome.BLOCK),
    ):
        found[score >= start] = SEVERITY.index(outcome)
    return found
