"""
Scores that can be read as probabilities: a straight line through the log-odds, and thresholds from what outcomes cost.

References:
    Platt 1999, Probabilistic outputs for support vector machines, with Lin, Lin and Weng 2007 for the method of solving it.
    Elkan 2001, The foundations of cost-sensitive learning, for the thresholds.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.scoring.manifest import Calibration, Thresholds

#: The line's slope is kept above this, so that calibration never turns or flattens the order of the scores.
_LEAST_SLOPE = 0.05
#: Newton's method on two numbers has converged long before; more steps change no bit.
_STEPS = 50


def calibrate(log_odds: NDArray[np.float64], labels: NDArray[np.bool_]) -> Calibration:
    """
    Find the line through the log-odds that makes the labels most likely.

    The line rises, so the order of the rows, and with it average precision and AUC, stays what it was.

    Args:
        log_odds: Shape (rows,), of rows that the ensemble was not trained on.
        labels: Shape (rows,).

    Returns:
        Slope 1 and intercept 0 where one kind of label is missing; values rounded to six places.
    """
    if not labels.any() or labels.all():
        return Calibration(slope=1.0, intercept=0.0)
    design = np.stack([log_odds, np.ones_like(log_odds)], axis=1)
    # Platt's targets: a little inside of 0 and 1, so that separable data have a finite answer.
    frauds = int(labels.sum())
    target = np.where(labels, (frauds + 1) / (frauds + 2), 1 / (len(labels) - frauds + 2))
    line = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        line = line + _newton_step(design, target, line)
    return Calibration(slope=round(max(float(line[0]), _LEAST_SLOPE), 6), intercept=round(float(line[1]), 6))


def _newton_step(design: NDArray[np.float64], target: NDArray[np.float64], line: NDArray[np.float64]) -> NDArray[np.float64]:
    chance = 1 / (1 + np.exp(-np.clip(design @ line, -30, 30)))
    gradient = design.T @ (target - chance)
    curvature = (design * (chance * (1 - chance))[:, None]).T @ design + 1e-9 * np.eye(2)
    step = np.linalg.solve(curvature, gradient)
    # A bounded step: far from the answer the curvature says little.
    return np.asarray(step / max(1.0, float(np.abs(step).max())), dtype=np.float64)


class Costs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What outcomes cost on average, in one unit of money.

    ``missed_fraud`` is lost on an approved fraud, ``wrong_block`` on a blocked good payment (the sale, some patience),
    ``review`` on one look by an analyst and ``challenge`` on one question to a customer. A challenge stops ``challenge_stops``
    of the frauds; a review stops all of them.
    """

    missed_fraud: float = 100.0
    wrong_block: float = 60.0
    review: float = 15.0
    challenge: float = 6.0
    challenge_stops: float = 0.8

    def of(self, outcome: str, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """
        Return what an outcome (``approve``, ``challenge``, ``review``, ``block``) is expected to cost at each probability.
        """
        match outcome:
            case "approve":
                return probability * self.missed_fraud
            case "challenge":
                return self.challenge + probability * (1 - self.challenge_stops) * self.missed_fraud
            case "review":
                return np.full_like(probability, self.review)
            case "block":
                return (1 - probability) * self.wrong_block
            case _:
                raise ValueError(f"'{outcome}' is no outcome")


def thresholds(costs: Costs) -> Thresholds:
    """
    Return the probabilities from which on each outcome, or a harder one, is the cheapest.

    Each cost is a straight line in the probability, so the cheapest outcome changes at most three times, from mild to severe.
    An outcome that is never the cheapest gets the threshold of the next harder one. Resolution 0.001.
    """
    grid = np.arange(1, 1000) / 1000
    outcomes = ("approve", "challenge", "review", "block")
    cheapest = np.argmin([costs.of(outcome, grid) for outcome in outcomes], axis=0)
    starts = [float(grid[cheapest >= at][0]) if (cheapest >= at).any() else 1.0 for at in (1, 2, 3)]
    return Thresholds(challenge=starts[0], review=starts[1], block=starts[2])


def mean_cost(costs: Costs, bands: Thresholds, labels: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """
    Return what the bands cost per row on rows whose truth is known.
    """
    truth = labels.astype(np.float64)
    starts = np.array([bands.challenge, bands.review, bands.block])
    chosen = np.searchsorted(starts, scores.astype(np.float64), side="right")
    by_outcome = np.stack([costs.of(outcome, truth) for outcome in ("approve", "challenge", "review", "block")])
    return float(by_outcome[chosen, np.arange(len(truth))].mean())
