"""
Metrics against scikit-learn and against days worked out by hand.
"""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from fraudstream.training.metrics import (
    average_precision,
    card_precision,
    codes,
    expected_calibration_error,
    interval,
    precision,
    recall,
    roc_auc,
)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("places", [1, 2, 9])
def test_measures_agree_with_scikit_learn(seed: int, places: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random(3000) < 0.03
    scores = np.round(rng.random(3000) * 0.7 + labels * 0.3 * rng.random(3000), places).astype(np.float32)

    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert roc_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_equal_scores_are_worth_the_base_rate() -> None:
    labels = np.array([True, False, False, False])
    scores = np.full(4, 0.3)

    assert average_precision(labels, scores) == 0.25
    assert roc_auc(labels, scores) == 0.5


def test_measures_without_a_fraud_are_nan() -> None:
    labels, scores = np.zeros(3, dtype=bool), np.array([0.1, 0.2, 0.3])

    assert np.isnan([average_precision(labels, scores), roc_auc(labels, scores), recall(labels, scores, 0.1)]).all()
    assert np.isnan(precision(labels, scores, 0.9))


def test_precision_and_recall_count_the_threshold_itself_as_flagged() -> None:
    labels, scores = np.array([True, True, False, False]), np.array([0.9, 0.1, 0.5, 0.2])

    assert precision(labels, scores, 0.5) == 0.5
    assert recall(labels, scores, 0.5) == 0.5


def test_card_that_was_found_leaves_the_following_days() -> None:
    days = np.array([1, 1, 1, 2, 2, 2])
    cards = np.array([7, 8, 9, 7, 8, 9])
    labels = np.array([True, False, False, True, True, False])
    scores = np.array([0.9, 0.1, 0.2, 0.99, 0.8, 0.3])

    # Day 1 finds card 7; on day 2 it is gone and card 8 comes first.
    assert card_precision(days, cards, labels, scores, top=1) == 1.0


def test_card_that_was_shown_but_is_clean_stays() -> None:
    days = np.array([1, 2])
    cards = np.array([7, 7])

    assert card_precision(days, cards, np.array([False, True]), np.array([0.9, 0.9]), top=1) == 0.5


def test_card_counts_by_its_worst_row() -> None:
    days, cards = np.array([1, 1, 1]), np.array([7, 7, 8])
    labels = np.array([True, False, False])

    # The fraud scored low, but its card is shown for another row of the day.
    assert card_precision(days, cards, labels, np.array([0.1, 0.9, 0.5]), top=1) == 1.0


def test_fewer_cards_than_the_top_count_against_it() -> None:
    assert card_precision(np.array([1]), np.array([7]), np.array([True]), np.array([0.5]), top=4) == 0.25


def test_interval_holds_the_value_and_repeats() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(2000) < 0.1
    scores = labels * 0.3 + rng.random(2000)
    groups = rng.integers(200, size=2000)

    first = interval(average_precision, labels, scores, groups, seed=4)

    assert first.low < first.value < first.high
    assert first == interval(average_precision, labels, scores, groups, seed=4)
    assert first != interval(average_precision, labels, scores, groups, seed=5)


def test_interval_over_groups_is_wider_than_over_rows_that_copy_each_other() -> None:
    rng = np.random.default_rng(2)
    labels = np.repeat(rng.random(200) < 0.2, 10)
    scores = np.repeat(rng.random(200), 10) + labels * 0.2

    by_group = interval(average_precision, labels, scores, np.repeat(np.arange(200), 10))
    by_row = interval(average_precision, labels, scores, np.arange(2000))

    assert by_group.high - by_group.low > 1.5 * (by_row.high - by_row.low)


def test_calibration_error_of_honest_scores_is_small() -> None:
    scores = np.random.default_rng(3).random(50_000)
    labels = np.random.default_rng(4).random(50_000) < scores

    assert expected_calibration_error(labels, scores) < 0.01
    assert expected_calibration_error(labels, scores / 2) > 0.2


def test_rows_without_a_name_are_groups_of_their_own() -> None:
    found = codes(["a", None, "b", "a", None])

    assert found[0] == found[3]
    assert len(set(found.tolist())) == 4
