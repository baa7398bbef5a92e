"""
How fast a model is on this machine, on one core: rows in, probabilities and the reasons of the suspicious ones out.
"""

import statistics
import time
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.features.definitions import FeatureSet
from fraudstream.features.load import load_features
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate
from fraudstream.scoring.drift import Drift
from fraudstream.scoring.load import load_model
from fraudstream.scoring.model import OnnxModel
from fraudstream.scoring.reference import reference_of
from fraudstream.training.dataset import build

#: The world that the rows are replayed from ends here, so that they are the same every time: 2025-03-03 00:00 UTC.
_END_MS = 1_740_960_000_000
_SEED = 31
#: Share of the rows that are explained, the highest scores.
_FLAGGED = 0.01


class ModelCost(msgspec.Struct, frozen=True, kw_only=True):
    """
    Rows per second of one thread's CPU time, over passes in which each row is fresh.

    ``with_reasons`` includes the reasons of ``flagged_share`` of the rows; the worst, the median and the best pass.
    ``drift_us_per_row`` is what watching for drift adds, ``load_ms`` what a swap takes beside the event loop.
    """

    model: str
    version: str
    features: int
    batch: int
    rows: int
    passes: int
    flagged_share: float
    with_reasons_worst: float
    with_reasons_median: float
    with_reasons_best: float
    scores_only_median: float
    reasons_us_per_flagged_row: float
    drift_us_per_row: float
    load_ms: float


def bench_model(model: Path, features: Path, *, rows: int, batch: int, passes: int) -> ModelCost:
    """
    Measure a model on rows of the synthetic world.

    Args:
        model: Folder, or ``.onnx`` file with its manifest beside it.
        features: Definitions that it was trained on.
        rows: Payments that are replayed; each is scored once in a pass.
        batch: Rows scored at once.
        passes: How often everything is measured.

    Raises:
        ConfigurationError: The model or the definitions cannot be used.
    """
    chosen = load_features(features.read_text(encoding="utf-8"), name=features.name)
    loaded, load_s = _timed_load(model, chosen)
    plan = msgspec.structs.replace(demo_plan(_SEED, end_ms=_END_MS), transactions=rows)
    matrix = build(chosen, generate(plan)).matrix
    scores = loaded.score(matrix)
    cut = float(np.quantile(scores, 1 - _FLAGGED))
    _pass(loaded, matrix[: 16 * batch], batch, cut)
    whole = sorted(len(matrix) / _pass(loaded, matrix, batch, cut) for _ in range(passes))
    alone = statistics.median(len(matrix) / _pass(loaded, matrix, batch, np.inf) for _ in range(passes))
    flagged = int((scores >= cut).sum())
    return ModelCost(
        model=loaded.id,
        version=loaded.version,
        features=len(chosen.names),
        batch=batch,
        rows=len(matrix),
        passes=passes,
        flagged_share=round(flagged / len(matrix), 4),
        with_reasons_worst=round(whole[0]),
        with_reasons_median=round(statistics.median(whole)),
        with_reasons_best=round(whole[-1]),
        scores_only_median=round(alone),
        reasons_us_per_flagged_row=round(
            (len(matrix) / statistics.median(whole) - len(matrix) / alone) / max(1, flagged) * 1e6, 1
        ),
        drift_us_per_row=round(_drift_s(loaded, matrix, scores, batch) / len(matrix) * 1e6, 3),
        load_ms=round(load_s * 1e3, 1),
    )


def _timed_load(model: Path, features: FeatureSet) -> tuple[OnnxModel, float]:
    load_model(model, features.names, feature_set=features.id)  # the first one pays for imports
    started = time.perf_counter()
    loaded = load_model(model, features.names, feature_set=features.id)
    return loaded, time.perf_counter() - started


def _pass(model: OnnxModel, matrix: NDArray[np.float32], batch: int, cut: float) -> float:
    """
    Return the CPU seconds of one pass.
    """
    started = time.thread_time()
    for at in range(0, len(matrix), batch):
        rows = matrix[at : at + batch]
        flagged = model.score(rows) >= cut
        if flagged.any():
            model.reasons(rows[flagged])
    return time.thread_time() - started


def _drift_s(model: OnnxModel, matrix: NDArray[np.float32], scores: NDArray[np.float32], batch: int) -> float:
    drift = Drift(reference_of(model.feature_names, matrix, scores), model.feature_names)
    started = time.thread_time()
    for at in range(0, len(matrix), batch):
        drift.add(matrix[at : at + batch], scores[at : at + batch], 0.0)
    return time.thread_time() - started
