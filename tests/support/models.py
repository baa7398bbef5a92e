"""
Small trained models, whole and written to a folder.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xgboost
from numpy.typing import NDArray

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
from fraudstream.scoring.reference import reference_of
from fraudstream.training.export import export

FEATURES = ("amount", "card_count_1h", "card_seconds_since_last", "merchant_count_24h", "device_distinct_card_24h", "hour")
CALIBRATION = Calibration(slope=0.9, intercept=-0.2)


def a_matrix(rows: int, *, columns: int = len(FEATURES), seed: int = 7) -> NDArray[np.float32]:
    """
    Return numbers as features have them: skewed, with ties, one in ten unknown.
    """
    rng = np.random.default_rng(seed)
    matrix = np.round(np.exp(rng.normal(size=(rows, columns))), 1).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    return matrix


def labels_of(matrix: NDArray[np.float32], *, seed: int = 3) -> NDArray[np.bool_]:
    """
    Return fraud where two columns are high together, with noise.
    """
    known = np.nan_to_num(matrix, nan=0.5)
    noise = np.random.default_rng(seed).normal(size=len(matrix))
    return np.asarray(known[:, 0] * known[:, 1] + known[:, 2] + noise > 5, dtype=np.bool_)


def a_booster(matrix: NDArray[np.float32], *, trees: int = 30, depth: int = 4) -> xgboost.Booster:
    """
    Return an ensemble trained on ``labels_of`` the matrix.
    """
    data = xgboost.DMatrix(matrix, label=labels_of(matrix), nthread=1)
    params = {
        "objective": "binary:logistic",
        "base_score": 0.5,
        "max_depth": depth,
        "tree_method": "hist",
        "nthread": 1,
        "eta": 0.2,
    }
    return xgboost.train(params, data, num_boost_round=trees)


def a_manifest(model: bytes, features: Sequence[str] = FEATURES, **changes: object) -> Manifest:
    """
    Return a manifest that fits the bytes.
    """
    values: dict[str, object] = {
        "version": "test-1",
        "sha256": sha256_hex(model),
        "feature_set": "0123456789abcdef",
        "features": tuple(Column(name=name, unit="count") for name in features),
        "training": Training(
            source="a test",
            first="2026-01-01T00:00:00Z",
            last="2026-01-08T00:00:00Z",
            rows=2000,
            frauds=100,
            label_delay_s=604_800,
            seed=1,
            command="pytest",
            packages={},
        ),
        "calibration": CALIBRATION,
        "metrics": {},
        "thresholds": Thresholds(challenge=0.3, review=0.5, block=0.8),
        "parity": 0.0,
    }
    return Manifest(**{**values, **changes})  # type: ignore[arg-type]


def a_model_folder(folder: Path, *, trees: int = 30, depth: int = 4) -> Path:
    """
    Train, export and write a model of ``FEATURES``; return its folder.
    """
    model = export(a_booster(a_matrix(2000), trees=trees, depth=depth), CALIBRATION)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model)
    (folder / MANIFEST_FILE).write_bytes(encode_manifest(a_manifest(model)))
    return folder


def a_rival(folder: Path, features: FeatureSet, *, version: str = "rival-1", seed: int = 11, trees: int = 20) -> Path:
    """
    Write a model of other trees for a feature set, trained on numbers by chance; return its folder.
    """
    matrix = a_matrix(1000, columns=len(features.names), seed=seed)
    model = export(a_booster(matrix, trees=trees, depth=3), CALIBRATION)
    names = features.names
    reference = reference_of(names, matrix, np.random.default_rng(seed).random(1000).astype(np.float32))
    manifest = a_manifest(model, names, version=version, feature_set=features.id, reference=reference)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model)
    (folder / MANIFEST_FILE).write_bytes(encode_manifest(manifest))
    return folder
