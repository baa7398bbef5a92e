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

#: Rows whose scores are worked at once: few enough for the cache.
_CHUNK = 32_768

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
    found = np.empty(len(probability), np.uint8)
    for begin in range(0, len(found), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        found[part] = _bands(policy, probability[part], points[part])
    for action, outcome in _CLASSES:
        for rows in rows_of.get(action, ()):
            found[rows] = SEVERITY.index(outcome)
    return found


def _bands(policy: DecisionPolicy, probability: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    known = np.where(np.isfinite(probability), probability, 0.0)
    np.minimum(np.maximum(known, 0.0, out=known), 1.0, out=known)
    known += points / 100
    np.minimum(np.maximum(known, 0.0, out=known), 1.0, out=known)
    # The bands do not fall, so that each one that is reached is one step of severity.
    steps = [(known >= start).view(np.uint8) for start in (policy.challenge_from, policy.review_from, policy.block_from)]
    return steps[0] + steps[1] + steps[2]
