"""
Labelled history in, model folder out: replay, split by time, train, calibrate, export, compare, measure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import xgboost
from numpy.typing import NDArray

from fraudstream.domain.errors import IncompatibleModel
from fraudstream.features.definitions import FeatureSet
from fraudstream.producers.labelled import Labelled
from fraudstream.scoring.load import open_model
from fraudstream.scoring.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    Calibration,
    Column,
    Interval,
    Manifest,
    Thresholds,
    Training,
    encode_manifest,
    sha256_hex,
)
from fraudstream.scoring.model import OnnxModel
from fraudstream.scoring.reference import reference_of
from fraudstream.training.calibration import Costs, calibrate, thresholds
from fraudstream.training.curves import Curves, curves
from fraudstream.training.dataset import DAY_MS, Dataset, Progress, Proportions, Split, build, join, require_delay, silent
from fraudstream.training.ensemble import Ensemble, fit, suited
from fraudstream.training.evaluate import Evaluation, evaluate
from fraudstream.training.export import export, margins, probabilities
from fraudstream.training.judge import FINE_CURVE, CostCurve, cost_curve

#: Largest difference in probability between the trained and the exported model; float32 sums alone stay below a tenth of it.
MAX_PARITY = 1e-5
#: Name of the rows that a model is measured on, among what is drawn.
HELD_OUT = "held-out days"
#: Fewer frauds than this teach nothing and measure nothing.
MIN_FRAUDS = 20
_PACKAGES = ("xgboost-cpu", "onnx", "onnxruntime", "numpy")


class History(Protocol):
    """
    What a model learns from or is measured on: a file to replay, or what the fleet has recorded.
    """

    @property
    def name(self) -> str:
        """
        What people call it.
        """
        ...

    def rows(self, features: FeatureSet, progress: Progress) -> Dataset:
        """
        Return its rows, each with the values that it had, or would have had, when it was decided.
        """
        ...


@dataclass(frozen=True)
class Source:
    """
    One history: ``read`` yields it from the beginning, in the order of event time; ``total`` is its length, 0 if unknown.
    """

    name: str
    read: Callable[[], Iterable[Labelled]]
    total: int = 0

    def rows(self, features: FeatureSet, progress: Progress) -> Dataset:
        """
        Replay it; see ``build``.
        """
        return build(features, self.read(), progress=progress, total=self.total)


class TrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that decides the bytes of a model.

    ``sources`` are read each on its own, ``history`` says in words what they are; ``unseen`` are only measured, and whole.
    Without an ``ensemble`` the trees grow by how much there is to learn from. ``bands`` are the thresholds that precision and
    recall are reported at. ``command`` is what a person types to build the model again; ``limits`` are sentences that its card
    must not be without.
    """

    features: FeatureSet
    sources: Sequence[History]
    unseen: Sequence[History] = ()
    history: str = ""
    split: Split | Proportions = Proportions()
    ensemble: Ensemble | None = None
    costs: Costs = Costs()
    bands: Thresholds = Thresholds(challenge=0.5, review=0.75, block=0.93)
    version: str = "default-1"
    command: str = "fraudstream train"
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainedModel:
    """
    A finished model: its bytes, its manifest, and what it found in rows that it did not learn from.

    ``split`` and ``ensemble`` are what the plan came to on its history. ``curves`` are what can be drawn of the held-out rows
    and of each unseen history, by name, the held-out ones first; ``cost`` is what cut-offs would have cost on the held-out
    rows, and ``moved`` how far each feature moves the log-odds on average.
    """

    onnx: bytes
    manifest: Manifest
    model: OnnxModel
    held_out: Evaluation
    unseen: dict[str, Evaluation]
    moved: dict[str, float]
    plan: TrainingPlan
    split: Split
    ensemble: Ensemble
    curves: dict[str, Curves]
    cost: CostCurve

    def write(self, folder: Path) -> None:
        """
        Write ``fraud.onnx`` and ``fraud.json``; the model first, so that a half-written pair is refused by its hash.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(self.onnx)
        (folder / MANIFEST_FILE).write_bytes(encode_manifest(self.manifest))


def train(plan: TrainingPlan, progress: Progress = silent) -> TrainedModel:
    """
    Build a model; equal plans on equal package versions give equal bytes.

    Args:
        plan: What to learn from, and how.
        progress: Called as (step, done, total) with steps ``replay``, ``train`` and ``measure``.

    Raises:
        IncompatibleModel: There are too few frauds on one side of the split, or the export is not the trained model.
        InvalidFeatures: A feature reads labels that are younger than the split's delay.
    """
    require_delay(plan.features, plan.split.delay_days * 86_400)
    rows = join([source.rows(plan.features, progress) for source in plan.sources])
    split = plan.split.over(rows)
    learn, settle, held_out = split.cut(rows)
    _require_frauds(learn, settle, held_out)
    ensemble = plan.ensemble or suited(int(learn.fraud.sum()))
    booster = fit(ensemble, learn, progress)
    line = calibrate(margins(booster, settle.matrix), settle.fraud)
    onnx = export(booster, line)
    draft = _manifest(plan, ensemble.seed, learn, onnx, line)
    model = open_model(onnx, draft)
    parity = _parity(model, booster, line, held_out.matrix)
    progress("measure", 0, 1 + len(plan.unseen))
    scores = model.score(held_out.matrix)
    measured = evaluate(held_out, scores, plan.bands)
    drawn = {HELD_OUT: curves(held_out, scores)}
    unseen = _measure_unseen(plan, split.warm_up_days, model, drawn, progress)
    reference = reference_of(plan.features.names, learn.matrix, scores)
    manifest = msgspec.structs.replace(draft, parity=parity, metrics=_metrics(measured, unseen), reference=reference)
    cost = cost_curve(held_out, scores, plan.costs, manifest.thresholds, at_scores=FINE_CURVE)
    moved = _mean_moves(model, held_out)
    return TrainedModel(
        onnx=onnx,
        manifest=manifest,
        model=open_model(onnx, manifest),
        held_out=measured,
        unseen=unseen,
        moved=moved,
        plan=plan,
        split=split,
        ensemble=ensemble,
        curves=drawn,
        cost=cost,
    )


def _require_frauds(learn: Dataset, settle: Dataset, held_out: Dataset) -> None:
    parts = {"to learn from": learn, "to calibrate on": settle, "to measure on": held_out}
    short = [f"{int(part.fraud.sum())} frauds {name}" for name, part in parts.items() if part.fraud.sum() < MIN_FRAUDS]
    if short:
        raise IncompatibleModel(
            f"the history leaves {', '.join(short)}, at least {MIN_FRAUDS} are needed: give a longer history, or a split with"
            " fewer days of warm-up and delay"
        )


def _parity(model: OnnxModel, booster: xgboost.Booster, line: Calibration, matrix: NDArray[np.float32]) -> float:
    """
    Return the largest difference between the served and the trained probabilities.
    """
    apart = float(np.abs(model.score(matrix) - probabilities(booster, line, matrix)).max())
    if apart > MAX_PARITY:
        raise IncompatibleModel(
            f"the exported model differs from the trained one by {apart:.2e}; at most {MAX_PARITY:.0e} is taken"
        )
    return float(f"{apart:.2e}")


def _measure_unseen(
    plan: TrainingPlan, warm_up_days: float, model: OnnxModel, drawn: dict[str, Curves], progress: Progress
) -> dict[str, Evaluation]:
    found = {}
    for at, source in enumerate(plan.unseen, start=1):
        rows = source.rows(plan.features, progress)
        warm = rows.between(float(rows.occurred_ms.min()) + warm_up_days * DAY_MS, np.inf)
        scores = model.score(warm.matrix)
        found[source.name] = evaluate(warm, scores, plan.bands)
        drawn[source.name] = curves(warm, scores)
        progress("measure", at, 1 + len(plan.unseen))
    return found


def _metrics(held_out: Evaluation, unseen: dict[str, Evaluation]) -> dict[str, Interval]:
    named = {"held_out": held_out, **{f"unseen {name}": evaluation for name, evaluation in unseen.items()}}
    return {
        f"{name}: {measure}": getattr(evaluation, measure)
        for name, evaluation in named.items()
        for measure in ("average_precision", "auc")
    }


def _mean_moves(model: OnnxModel, rows: Dataset, most: int = 4000) -> dict[str, float]:
    """
    Return how far each feature moves the log-odds on average, over evenly spaced rows; strongest first.
    """
    chosen = rows.matrix[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]
    mean = np.abs(model.contributions(chosen)).mean(axis=0)
    return {model.feature_names[at]: round(float(mean[at]), 4) for at in np.argsort(-mean, kind="stable")}


def _manifest(plan: TrainingPlan, seed: int, learn: Dataset, onnx: bytes, line: Calibration) -> Manifest:
    return Manifest(
        version=plan.version,
        sha256=sha256_hex(onnx),
        feature_set=plan.features.id,
        features=tuple(
            Column(name=feature.name, unit=feature.unit, description=feature.description) for feature in plan.features.features
        ),
        training=Training(
            source=plan.history or ", ".join(source.name for source in plan.sources),
            first=_moment(int(learn.occurred_ms.min())),
            last=_moment(int(learn.occurred_ms.max())),
            rows=len(learn),
            frauds=int(learn.fraud.sum()),
            label_delay_s=int(plan.split.delay_days * 86_400),
            seed=seed,
            command=plan.command,
            packages={name: version(name) for name in _PACKAGES},
        ),
        calibration=line,
        metrics={},
        thresholds=thresholds(plan.costs),
        parity=0.0,
    )


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
