"""
Probabilities that mean what they say, and thresholds that follow from money.
"""

import numpy as np
import pytest

from fraudstream.scoring.manifest import Calibration, Thresholds
from fraudstream.training.calibration import Costs, calibrate, mean_cost, thresholds
from fraudstream.training.export import calibrated
from fraudstream.training.metrics import expected_calibration_error


def test_calibration_finds_the_line_that_made_the_labels() -> None:
    rng = np.random.default_rng(1)
    log_odds = rng.normal(-2, 2, size=100_000)
    labels = rng.random(100_000) < 1 / (1 + np.exp(-(0.6 * log_odds + 0.5)))

    line = calibrate(log_odds, labels)

    assert line.slope == pytest.approx(0.6, abs=0.02)
    assert line.intercept == pytest.approx(0.5, abs=0.05)
    assert expected_calibration_error(labels, calibrated(log_odds, line)) < 0.005


def test_calibration_never_turns_the_order() -> None:
    log_odds = np.linspace(-3, 3, 1000)

    assert calibrate(log_odds, log_odds < 0).slope > 0


@pytest.mark.parametrize("label", [True, False])
def test_calibration_without_both_labels_changes_nothing(label: bool) -> None:
    assert calibrate(np.linspace(-3, 3, 10), np.full(10, label)) == Calibration(slope=1.0, intercept=0.0)


def test_calibration_of_separable_rows_is_finite() -> None:
    log_odds = np.array([-5.0, -4.0, 4.0, 5.0])

    line = calibrate(log_odds, log_odds > 0)

    assert np.isfinite([line.slope, line.intercept]).all()


def test_thresholds_are_where_the_cheapest_outcome_changes() -> None:
    found = thresholds(Costs(missed_fraud=100, wrong_block=60, review=12, challenge=1.5, challenge_stops=0.8))

    # 100 p = 1.5 + 20 p; 1.5 + 20 p = 12; 12 = 60 (1 - p)
    assert found.challenge == pytest.approx(1.5 / 80, abs=0.0015)
    assert found.review == pytest.approx(10.5 / 20, abs=0.0015)
    assert found.block == pytest.approx(0.8, abs=0.0015)


def test_outcome_that_is_never_cheapest_gets_no_band() -> None:
    found = thresholds(Costs(review=1000))

    assert found.review == found.block


def test_bands_by_cost_are_cheaper_than_others_on_honest_scores() -> None:
    scores = np.random.default_rng(3).beta(0.1, 2, 200_000).astype(np.float32)
    labels = np.random.default_rng(4).random(200_000) < scores
    costs = Costs()

    best = mean_cost(costs, thresholds(costs), labels, scores)

    assert best < mean_cost(costs, Thresholds(challenge=0.5, review=0.75, block=0.93), labels, scores)
    assert best < mean_cost(costs, Thresholds(challenge=0.001, review=0.002, block=0.003), labels, scores)


def test_unknown_outcome_has_no_cost() -> None:
    with pytest.raises(ValueError, match="'shrug' is no outcome"):
        Costs().of("shrug", np.array([0.5]))
