"""
The model in the repository: whole, made for the definitions beside it, and as good as its card says.
"""

from pathlib import Path

import numpy as np
import pytest

from fraudstream.features.definitions import FeatureSet
from fraudstream.features.load import load_features
from fraudstream.producers.synthetic import generate, training_plan
from fraudstream.scoring.load import load_manifest, load_model
from fraudstream.scoring.model import OnnxModel
from fraudstream.training.dataset import Dataset, build
from fraudstream.training.evaluate import evaluate
from fraudstream.training.shipped import SEEDS
from fraudstream.training.train import MAX_PARITY

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return load_features((MODELS / "default.features").read_text())


@pytest.fixture(scope="module")
def model(features: FeatureSet) -> OnnxModel:
    return load_model(MODELS, features.names, feature_set=features.id)


@pytest.fixture(scope="module")
def unseen(features: FeatureSet) -> Dataset:
    assert 77 not in SEEDS
    return build(features, generate(training_plan(77, transactions=12_000, days=14)))


def test_shipped_model_fits_the_shipped_definitions(model: OnnxModel, features: FeatureSet) -> None:
    assert model.manifest.feature_set == features.id
    assert model.manifest.parity < MAX_PARITY


def test_card_speaks_of_this_very_model(model: OnnxModel) -> None:
    assert f"`{model.id}`" in (MODELS / "README.md").read_text()


def test_shipped_model_finds_fraud_in_a_world_that_it_never_saw(model: OnnxModel, unseen: Dataset) -> None:
    found = evaluate(unseen, model.score(unseen.matrix), model.manifest.thresholds, rounds=20)

    assert found.average_precision.value > 15 * found.frauds / found.rows
    assert found.auc.value > 0.8


def test_shipped_model_is_not_perfect(model: OnnxModel) -> None:
    figures = [value.value for name, value in model.manifest.metrics.items() if name.endswith("average_precision")]

    assert len(figures) == 2
    assert max(figures) < 0.95


def test_reasons_of_the_highest_scores_speak_of_the_past(model: OnnxModel, unseen: Dataset) -> None:
    highest = np.argsort(-model.score(unseen.matrix), kind="stable")[:20]

    reasons = model.reasons(unseen.matrix[highest])

    assert all(len(of_row) == 3 for of_row in reasons)
    assert all((of_row[0].contribution or 0) > 0 for of_row in reasons)
    assert all("_" not in reason.text for of_row in reasons for reason in of_row)


def test_model_is_small_enough_for_the_hot_path() -> None:
    assert (MODELS / "fraud.onnx").stat().st_size < 200_000
    assert load_manifest(MODELS).dtype == "float32"
