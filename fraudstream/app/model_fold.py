"""
The model of one fold of the benchmark as a model folder, so that a fleet can serve it.
"""

from datetime import UTC, datetime
from pathlib import Path

from fraudstream.domain.errors import InvalidSettings
from fraudstream.features.definitions import FeatureSet
from fraudstream.scoring.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    Calibration,
    Column,
    Manifest,
    Thresholds,
    Training,
    encode_manifest,
    sha256_hex,
)
from fraudstream.training.benchmark import BenchmarkPlan, split
from fraudstream.training.dataset import Dataset
from fraudstream.training.ensemble import fit
from fraudstream.training.export import export

#: The benchmark judges the order of scores: nothing is calibrated.
_UNCALIBRATED = Calibration(slope=1.0, intercept=0.0)


def write_fold(features: FeatureSet, rows: Dataset, plan: BenchmarkPlan, folder: Path) -> None:
    """
    Train on the first fold of the plan, by the trees of the benchmark, and write the model with its manifest.

    Raises:
        InvalidSettings: The fold has no fraud to learn from.
    """
    train, _ = split(rows, plan, plan.train_starts[0])
    if not train.fraud.any():
        raise InvalidSettings(f"the fold of {plan.train_starts[0]} has no fraud to learn from; the history must cover its days")
    model = export(fit(plan.ensemble, train), _UNCALIBRATED)
    manifest = Manifest(
        version=f"benchmark-{plan.train_starts[0]}",
        sha256=sha256_hex(model),
        feature_set=features.id,
        features=tuple(Column(name=one.name, unit=one.unit, description=one.description) for one in features.features),
        training=Training(
            source="the first fold of the benchmark",
            first=_moment(int(train.occurred_ms.min())),
            last=_moment(int(train.occurred_ms.max())),
            rows=len(train),
            frauds=int(train.fraud.sum()),
            label_delay_s=plan.delay_days * 86_400,
            seed=plan.ensemble.seed,
            command="fraudstream model parity",
            packages={},
        ),
        calibration=_UNCALIBRATED,
        metrics={},
        thresholds=Thresholds(challenge=0.5, review=0.75, block=0.93),
        parity=0.0,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model)
    (folder / MANIFEST_FILE).write_bytes(encode_manifest(manifest))


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
