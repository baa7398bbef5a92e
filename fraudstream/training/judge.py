"""
Finished models on histories whose truth is known: one, two beside each other, and what cut-offs cost.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.errors import InvalidSettings
from fraudstream.features.load import load_features
from fraudstream.producers.files import read_file
from fraudstream.scoring.load import load_manifest, load_model
from fraudstream.scoring.manifest import Interval, Thresholds
from fraudstream.training.calibration import Costs, mean_cost
from fraudstream.training.dataset import Dataset, Progress, build, require_delay, silent
from fraudstream.training.evaluate import Evaluation, evaluate
from fraudstream.training.metrics import average_precision, interval

#: Points of a cost curve: chances of fraud from which on the mildest outcome changes.
CURVE = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
#: The same for a drawing: evenly spaced log-odds, 0.1 % to 99.9 %.
FINE_CURVE = tuple(round(float(1 / (1 + np.exp(-at))), 6) for at in np.linspace(-6.9, 6.9, 93))


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a model, named by SHA-256 and version, came to on one history.
    """

    model: str
    version: str
    evaluation: Evaluation


class CutOff(msgspec.Struct, frozen=True, kw_only=True):
    """
    One point of the curve: what a payment costs on average when everything from ``review_from`` on is looked at, or blocked.
    """

    score: float
    flagged: float
    cost_of_review: float
    cost_of_block: float


class CostCurve(msgspec.Struct, frozen=True, kw_only=True):
    """
    What payments cost on average: with nothing done, with the suggested bands, and at each cut-off.
    """

    rows: int
    frauds: int
    nothing: float
    suggested: float
    points: tuple[CutOff, ...]


def scored(
    model: Path,
    features: Path,
    rows: Sequence[Path],
    *,
    mapping: str | None = None,
    since: date | None = None,
    progress: Progress = silent,
) -> tuple[Judged, Dataset, NDArray[np.float32]]:
    """
    Replay labelled files through the definitions, score them, and compare with the truth.

    Args:
        model: Folder, or ``.onnx`` file with its manifest beside it.
        features: The definitions that the model was trained on.
        rows: Files in the order of event time; each is a history of its own unless there is only one.
        mapping: How columns are read; None finds out.
        since: First day (UTC) that is measured; earlier ones only fill windows.
        progress: Called as (``replay``, done, 0).

    Raises:
        IncompatibleModel: The model does not fit the definitions.
        InvalidFeatures: They read labels earlier than the model's training did.
        InvalidSettings: There is no fraud to measure on.
    """
    manifest = load_manifest(model)
    chosen = load_features(features.read_text(encoding="utf-8"), name=features.name)
    loaded = load_model(model, chosen.names, feature_set=chosen.id)
    require_delay(chosen, manifest.training.label_delay_s)
    history = build(chosen, (one for path in rows for one in read_file(path, mapping)), progress=progress)
    kept = history if since is None else history.between(_midnight_ms(since), np.inf)
    if not kept.fraud.any():
        raise InvalidSettings("the history has no fraud to measure on; give one with labels, or an earlier --since")
    scores = loaded.score(kept.matrix)
    judged = Judged(model=loaded.id, version=loaded.version, evaluation=evaluate(kept, scores, manifest.thresholds))
    return judged, kept, scores


def gain(rows: Dataset, scores: NDArray[np.float32], others: NDArray[np.float32], *, rounds: int = 200) -> Interval:
    """
    Return by how much other scores of the same rows are better in average precision, with its 95 % interval.

    Both are measured on the same drawn cards: what a draw makes harder, it makes harder for both, so that this interval
    tells models apart whose own intervals overlap.
    """
    places = np.arange(len(rows), dtype=np.float64)

    def gained(labels: NDArray[np.bool_], drawn: NDArray[np.float32] | NDArray[np.float64]) -> float:
        at = drawn.astype(np.int64)
        return average_precision(labels, others[at]) - average_precision(labels, scores[at])

    return interval(gained, rows.fraud, places, rows.holders, rounds=rounds)


def cost_curve(
    rows: Dataset, scores: NDArray[np.float32], costs: Costs, bands: Thresholds, *, at_scores: Sequence[float] = CURVE
) -> CostCurve:
    """
    Say what cut-offs would have cost per payment on rows whose truth is known.
    """
    points = tuple(
        CutOff(
            score=at,
            flagged=round(float((scores >= at).mean()), 6),
            cost_of_review=_rounded(mean_cost(costs, Thresholds(challenge=at, review=at, block=2), rows.fraud, scores)),
            cost_of_block=_rounded(mean_cost(costs, Thresholds(challenge=at, review=at, block=at), rows.fraud, scores)),
        )
        for at in at_scores
    )
    return CostCurve(
        rows=len(rows),
        frauds=int(rows.fraud.sum()),
        nothing=_rounded(float(rows.fraud.mean()) * costs.missed_fraud),
        suggested=_rounded(mean_cost(costs, bands, rows.fraud, scores)),
        points=points,
    )


def _rounded(cost: float) -> float:
    return round(cost, 4)


def _midnight_ms(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
