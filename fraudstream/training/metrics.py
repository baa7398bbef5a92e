"""
How well scores find fraud: plain numpy, ties treated as one step, intervals by bootstrap.

References:
    Le Borgne, Siblini, Lebichot and Bontempi 2022, Reproducible machine learning for credit card fraud detection: practical
    handbook, chapter 4 (ULB and Worldline), for card precision@k.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.scoring.manifest import Interval

Labels = NDArray[np.bool_]
Scores = NDArray[np.float32] | NDArray[np.float64]
Measure = Callable[[Labels, Scores], float]


def average_precision(labels: Labels, scores: Scores) -> float:
    """
    Return the mean of precision over the recall steps, rows of equal score taken as one step; NaN without a fraud.
    """
    frauds, flagged = _steps(labels, scores)
    if not frauds[-1]:
        return float("nan")
    gained = np.diff(frauds, prepend=0)
    return float((gained / frauds[-1] * frauds / flagged).sum())


def roc_auc(labels: Labels, scores: Scores) -> float:
    """
    Return the chance that a fraud scores above a legitimate row, equal scores counting half; NaN where one kind is missing.
    """
    frauds, flagged = _steps(labels, scores)
    legitimate = flagged - frauds
    if not frauds[-1] or not legitimate[-1]:
        return float("nan")
    area = np.trapezoid(np.concatenate([[0], frauds]), np.concatenate([[0], legitimate]))
    return float(area / (frauds[-1] * legitimate[-1]))


def precision(labels: Labels, scores: Scores, threshold: float) -> float:
    """
    Return the share of frauds among the rows at or above a threshold; NaN where there are none.
    """
    flagged = scores >= threshold
    return float(labels[flagged].mean()) if flagged.any() else float("nan")


def recall(labels: Labels, scores: Scores, threshold: float) -> float:
    """
    Return the share of the frauds that are at or above a threshold; NaN without a fraud.
    """
    return float((scores[labels] >= threshold).mean()) if labels.any() else float("nan")


def card_precision(
    days: NDArray[np.int64], cards: NDArray[np.int64], labels: Labels, scores: Scores, *, top: int = 100
) -> float:
    """
    Return card precision@k: per day the cards of the highest scores, the share of them that is compromised, mean over the days.

    Args:
        days: Shape (rows,), the day of each row; any numbering that rises with time.
        cards: Shape (rows,), the card (or customer) of each row.
        labels: Shape (rows,).
        scores: Shape (rows,).
        top: k; how many cards can be looked into in a day. Fewer cards than k count against it, as in the handbook.

    Returns:
        In [0, 1]; NaN without a row. A card is as bad as its worst row; one found leaves the days that follow.
    """
    found: set[int] = set()
    shares = []
    for day in np.unique(days):
        of_day = days == day
        compromised = _compromised_on_top(cards[of_day], labels[of_day], scores[of_day], found, top)
        shares.append(len(compromised) / top)
        found |= compromised
    return float(np.mean(shares)) if shares else float("nan")


def _compromised_on_top(cards: NDArray[np.int64], labels: Labels, scores: Scores, found: set[int], top: int) -> set[int]:
    kept = ~np.isin(cards, list(found))
    names, place = np.unique(cards[kept], return_inverse=True)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, place, scores[kept])
    compromised = np.zeros(len(names), dtype=np.bool_)
    np.logical_or.at(compromised, place, labels[kept])
    best = np.argsort(-highest, kind="stable")[:top]
    return set(names[best][compromised[best]].tolist())


def interval(
    measure: Measure, labels: Labels, scores: Scores, groups: NDArray[np.int64], *, rounds: int = 200, seed: int = 0
) -> Interval:
    """
    Return a measure with its 95 % interval from a bootstrap over groups.

    Rows of one card stand or fall together, so whole groups are drawn: drawing rows would make the interval too narrow.

    Args:
        measure: Of labels and scores; rounds in which it is NaN are left out.
        labels: Shape (rows,).
        scores: Shape (rows,).
        groups: Shape (rows,), which rows belong together.
        rounds: How many samples.
        seed: Equal seeds give equal intervals.
    """
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    rng = np.random.default_rng(seed)
    drawn = (np.concatenate([members[at] for at in rng.integers(len(members), size=len(members))]) for _ in range(rounds))
    values = np.array([measure(labels[rows], scores[rows]) for rows in drawn])
    low, high = np.nanquantile(values, [0.025, 0.975]) if not np.isnan(values).all() else (np.nan, np.nan)
    return Interval(value=round(measure(labels, scores), 4), low=round(float(low), 4), high=round(float(high), 4))


def expected_calibration_error(labels: Labels, scores: Scores, bins: int = 20) -> float:
    """
    Return the mean distance between score and share of frauds over bins of equal count, weighted by their rows.
    """
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    return float(sum(abs(labels[part].mean() - scores[part].mean()) * len(part) for part in parts if len(part)) / len(labels))


def _steps(labels: Labels, scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """
    Return the frauds and the rows at or above each distinct score, highest score first.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    frauds = np.cumsum(labels[order], dtype=np.int64)[ends]
    return frauds, (ends + 1).astype(np.int64)


def codes(names: Sequence[str | None]) -> NDArray[np.int64]:
    """
    Return a number per row that is equal where the names are; rows without a name are each on their own.
    """
    known: dict[str, int] = {}
    return np.array(
        [-1 - at if name is None else known.setdefault(name, len(known)) for at, name in enumerate(names)], dtype=np.int64
    )
