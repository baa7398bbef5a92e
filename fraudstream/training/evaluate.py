"""
What a model finds in rows whose truth is known, as figures that a model card can carry.
"""

from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.scoring.manifest import Interval, Thresholds
from fraudstream.training.dataset import Dataset
from fraudstream.training.metrics import (
    Measure,
    average_precision,
    expected_calibration_error,
    interval,
    precision,
    recall,
    roc_auc,
)


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """
    What flagging from one threshold on would mean: ``flagged`` is the share of all rows.
    """

    outcome: str
    threshold: float
    flagged: float
    precision: Interval
    recall: Interval


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """
    Figures of one set of rows.

    ``calibration_error`` is the mean distance of score and share of frauds. ``recall_by_scenario`` counts frauds, and
    ``flagged_by_scenario`` honest rows, at or above the threshold of ``challenge``.
    """

    rows: int
    frauds: int
    average_precision: Interval
    auc: Interval
    bands: tuple[Band, ...]
    calibration_error: float
    recall_by_scenario: dict[str, float]
    flagged_by_scenario: dict[str, float]


def evaluate(rows: Dataset, scores: NDArray[np.float32], bands: Thresholds, *, rounds: int = 200) -> Evaluation:
    """
    Compare scores with the truth.

    Args:
        rows: What was scored.
        scores: Shape (rows,).
        bands: Thresholds to report precision and recall at.
        rounds: Of the bootstrap over cards behind each interval.
    """
    around = partial(_around, rows, scores, rounds)
    return Evaluation(
        rows=len(rows),
        frauds=int(rows.fraud.sum()),
        average_precision=around(average_precision),
        auc=around(roc_auc),
        bands=tuple(
            Band(
                outcome=outcome,
                threshold=threshold,
                flagged=round(float((scores >= threshold).mean()), 5),
                precision=around(partial(precision, threshold=threshold)),
                recall=around(partial(recall, threshold=threshold)),
            )
            for outcome, threshold in msgspec.structs.asdict(bands).items()
        ),
        calibration_error=round(expected_calibration_error(rows.fraud, scores), 5),
        recall_by_scenario=_flagged_by_scenario(rows.where(rows.fraud), scores[rows.fraud], bands.challenge),
        flagged_by_scenario=_flagged_by_scenario(rows.where(~rows.fraud), scores[~rows.fraud], bands.challenge),
    )


def _around(rows: Dataset, scores: NDArray[np.float32], rounds: int, measure: Measure) -> Interval:
    return interval(measure, rows.fraud, scores, rows.holders, rounds=rounds)


def _flagged_by_scenario(rows: Dataset, scores: NDArray[np.float32], threshold: float) -> dict[str, float]:
    return {
        str(name): round(float((scores[rows.scenario == name] >= threshold).mean()), 4)
        for name in np.unique(rows.scenario)
        if name
    }
