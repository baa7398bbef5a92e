"""
Scores and contributions of a loaded model, against XGBoost as the outside oracle.
"""

from pathlib import Path

import numpy as np
import pytest
import xgboost

from fraudstream.domain.errors import IncompatibleModel
from fraudstream.scoring.load import load_model, open_model
from fraudstream.scoring.model import OnnxModel
from fraudstream.scoring.shapley import answers, contributions
from fraudstream.scoring.trees import read_paths
from fraudstream.training.export import export, probabilities
from tests.support.models import CALIBRATION, FEATURES, a_booster, a_manifest, a_matrix, a_model_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    return load_model(a_model_folder(tmp_path_factory.mktemp("model")), FEATURES)


@pytest.fixture(scope="module")
def booster() -> xgboost.Booster:
    return a_booster(a_matrix(2000))


def log_odds(scores: np.ndarray) -> np.ndarray:
    return np.log(scores.astype(np.float64)) - np.log1p(-scores.astype(np.float64))


def test_scores_are_those_of_the_trained_ensemble(model: OnnxModel, booster: xgboost.Booster) -> None:
    rows = a_matrix(5000, seed=11)

    scores = model.score(rows)

    assert scores.dtype == np.float32
    assert np.abs(scores - probabilities(booster, CALIBRATION, rows)).max() < 1e-6


def test_a_rows_score_does_not_depend_on_its_batch(model: OnnxModel) -> None:
    rows = a_matrix(1000, seed=12)
    whole = model.score(rows)

    for size in (1, 7, 64, 256):
        parts = np.concatenate([model.score(rows[at : at + size]) for at in range(0, len(rows), size)])
        assert parts.tobytes() == whole.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.finfo(np.float32).max])
def test_no_value_makes_a_score_nan(model: OnnxModel, value: float) -> None:
    rows = np.vstack([np.full((1, len(FEATURES)), value), np.where(np.eye(len(FEATURES)) > 0, value, 1)]).astype(np.float32)

    scores = model.score(rows)

    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.isfinite(model.contributions(rows)).all()


def test_empty_batch_gives_no_scores_and_no_reasons(model: OnnxModel) -> None:
    nothing = np.zeros((0, len(FEATURES)), dtype=np.float32)

    assert model.score(nothing).shape == (0,)
    assert model.reasons(nothing) == []


def test_other_number_of_columns_is_refused(model: OnnxModel) -> None:
    with pytest.raises(IncompatibleModel, match="takes 6 features a row"):
        model.score(np.zeros((3, 5), dtype=np.float32))


@pytest.mark.parametrize("fill", [None, np.inf, -np.inf])
def test_contributions_sum_to_the_log_odds(model: OnnxModel, fill: float | None) -> None:
    rows = a_matrix(500, seed=13)
    if fill is not None:
        rows[:, 1] = fill

    moved = model.contributions(rows)

    scores = model.score(rows).astype(np.float64)
    apart = moved.sum(axis=1) + model.expected_log_odds - log_odds(scores)
    # ONNX Runtime rounds a probability to 6e-8 and sums leaves in float32; in log-odds that is the more, the nearer the ends.
    assert (np.abs(apart) < 2e-6 + 2.5e-7 / (scores * (1 - scores))).all()


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_contributions_are_the_shapley_values_of_xgboost(tmp_path: Path, depth: int) -> None:
    model = load_model(a_model_folder(tmp_path, depth=depth), FEATURES)
    booster = a_booster(a_matrix(2000), depth=depth)
    rows = a_matrix(200, seed=14)

    moved = model.contributions(rows)

    oracle = booster.predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True)
    np.testing.assert_allclose(moved, CALIBRATION.slope * oracle[:, :-1], atol=1e-5)
    assert model.expected_log_odds == pytest.approx(CALIBRATION.slope * oracle[0, -1] + CALIBRATION.intercept, abs=1e-5)


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_looked_up_contributions_are_those_worked_out(depth: int) -> None:
    paths = read_paths(export(a_booster(a_matrix(2000), depth=depth), CALIBRATION))
    rows = a_matrix(100, seed=17)

    table = answers(paths)

    assert table is not None
    np.testing.assert_allclose(table.contributions(rows), contributions(paths, rows), atol=1e-12)


def test_trees_too_deep_for_a_table_are_worked_out_row_by_row(tmp_path: Path) -> None:
    columns = 14
    rows = a_matrix(3000, columns=columns)
    booster = a_booster(rows, trees=60, depth=12)
    onnx = export(booster, CALIBRATION)

    model = open_model(onnx, a_manifest(onnx, [f"feature_{at}" for at in range(columns)]))

    assert answers(read_paths(onnx)) is None
    oracle = booster.predict(xgboost.DMatrix(rows[:50], nthread=1), pred_contribs=True)
    np.testing.assert_allclose(model.contributions(rows[:50]), CALIBRATION.slope * oracle[:, :-1], atol=1e-5)


def test_reasons_are_the_strongest_contributions_first(model: OnnxModel) -> None:
    rows = a_matrix(50, seed=15)

    found = model.reasons(rows, top=3)

    moved = model.contributions(rows)
    for row, reasons in enumerate(found):
        given = [reason.contribution or 0 for reason in reasons]
        assert np.abs(given) == pytest.approx(np.sort(np.abs(moved[row]))[::-1][:3], abs=1e-4)
        assert [moved[row][FEATURES.index(reason.code)] for reason in reasons] == pytest.approx(given, abs=1e-4)


def test_reason_that_lowers_the_score_says_so(model: OnnxModel) -> None:
    reasons = [reason for row in model.reasons(a_matrix(50, seed=15), top=6) for reason in row]

    assert {reason.text.endswith("(lowers the score)") for reason in reasons if (reason.contribution or 0) < 0} == {True}
    assert {reason.text.endswith("(lowers the score)") for reason in reasons if (reason.contribution or 0) > 0} == {False}


def test_unknown_value_is_told_as_no_history(model: OnnxModel) -> None:
    row = np.full((1, len(FEATURES)), np.nan, dtype=np.float32)

    reasons = model.reasons(row, top=6)[0]

    assert all(reason.value is None and "no history" in reason.text for reason in reasons)
    assert reasons


def test_reasons_of_a_row_do_not_depend_on_its_batch(model: OnnxModel) -> None:
    rows = a_matrix(20, seed=16)

    assert model.reasons(rows) == [model.reasons(rows[at : at + 1])[0] for at in range(len(rows))]
