"""
The handbook's protocol on histories small enough to count by hand, and on the handbook itself where it is present.
"""

from datetime import date

import numpy as np
import pytest

from fraudstream.domain.errors import InvalidFeatures, InvalidSettings
from fraudstream.features.load import load_features
from fraudstream.training.benchmark import BenchmarkPlan, benchmark, split, stack
from fraudstream.training.dataset import DAY_MS, Dataset, require_delay
from fraudstream.training.ensemble import Ensemble

FEATURES = load_features("entity user log feature amount_minor = amount feature night = hour(timestamp) <= 6")
START = date(2018, 7, 25)
FIRST_MS = 1_532_476_800_000
WEEK = BenchmarkPlan(train_starts=(START,), ensemble=Ensemble(trees=10, depth=3))


def a_history(events: list[tuple[float, int, bool]]) -> Dataset:
    """
    Return rows of (day from the first of training, customer, fraud).
    """
    days, holders, fraud = zip(*events, strict=True)
    return Dataset(
        matrix=np.zeros((len(events), 2), dtype=np.float32),
        fraud=np.array(fraud, dtype=np.bool_),
        occurred_ms=(FIRST_MS + np.array(days) * DAY_MS).astype(np.int64),
        holders=np.array(holders, dtype=np.int64),
        scenario=np.full(len(events), ""),
    )


def rows_of_test(events: list[tuple[float, int, bool]]) -> list[tuple[float, int]]:
    _, test = split(a_history(events), WEEK, START)
    return list(zip(((test.occurred_ms - FIRST_MS) / DAY_MS).tolist(), test.holders.tolist(), strict=True))


def test_training_and_test_days_lie_a_delay_apart() -> None:
    everyday = [(day + 0.5, 1, False) for day in range(-2, 24)]

    train, test = split(a_history(everyday), WEEK, START)

    assert len(train) == 7
    assert ((train.occurred_ms - FIRST_MS) // DAY_MS).tolist() == list(range(7))
    assert ((test.occurred_ms - FIRST_MS) // DAY_MS).tolist() == list(range(14, 21))


def test_customer_with_a_fraud_in_training_is_not_tested() -> None:
    assert rows_of_test([(3, 1, True), (14.5, 1, True), (14.5, 2, False)]) == [(14.5, 2)]


def test_longer_training_is_tested_on_the_same_rows() -> None:
    events = [(-5, 1, True), (3, 2, True), (14.5, 1, False), (14.5, 2, False), (14.5, 3, True)]
    longer = BenchmarkPlan(train_days=14)

    train, test = split(a_history(events), longer, date(2018, 7, 18))

    assert train.holders.tolist() == [1, 2]
    assert test.holders.tolist() == [1, 3]


def test_customer_leaves_the_test_once_the_delayed_label_is_known() -> None:
    # The fraud of day 8 is known on test day 2 (day 16), which is delay and one day later; not on test day 1 (day 15).
    events = [(8.2, 1, True), (15.5, 1, False), (16.5, 1, False), (17.5, 1, False)]

    assert rows_of_test(events) == [(15.5, 1)]


def test_fraud_within_the_delay_of_the_test_day_is_not_known_yet() -> None:
    assert rows_of_test([(14.1, 1, True), (20.5, 1, True)]) == [(14.1, 1), (20.5, 1)]


def test_scores_of_a_plain_signal_are_perfect() -> None:
    rng = np.random.default_rng(1)
    fraud = rng.random(4000) < 0.05
    rows = a_history(list(zip(np.sort(rng.random(4000)) * 21, range(4000), fraud, strict=True)))
    rows.matrix[:, 0] = np.where(fraud, 100, 1)

    found = benchmark(FEATURES, rows, WEEK)

    assert found.mean.ap == found.mean.auc == 1.0
    assert found.folds[0].train_start == START
    assert found.folds[0].cp100 == pytest.approx(fraud[rows.occurred_ms >= FIRST_MS + 14 * DAY_MS].sum() / 700, abs=1e-4)


def test_scores_without_a_signal_are_the_base_rate() -> None:
    rng = np.random.default_rng(2)
    fraud = rng.random(6000) < 0.05
    rows = a_history(list(zip(np.sort(rng.random(6000)) * 21, range(6000), fraud, strict=True)))

    found = benchmark(FEATURES, rows, WEEK)

    assert found.mean.auc == 0.5
    assert found.mean.ap == pytest.approx(0.05, abs=0.015)


def test_fold_outside_of_the_history_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="the fold of 2018-07-25 has no fraud"):
        benchmark(FEATURES, a_history([(3, 1, False)]), WEEK)


def test_features_that_read_labels_too_early_are_refused() -> None:
    features = load_features(
        "entity merchant log feature merchant_fraud_rate_7d = fraud_rate() by merchant over 7d delayed 3d"
        " feature merchant_count_7d = count() by merchant over 7d"
    )

    require_delay(features, 3 * 86_400)
    with pytest.raises(InvalidFeatures, match=r"merchant_fraud_rate_7d \(delayed 259200 s\)"):
        benchmark(features, a_history([(3, 1, False)]), WEEK)


def test_parts_of_one_source_keep_their_holders() -> None:
    part = a_history([(1, 7, False), (2, 8, True)])

    assert stack([part, part]).holders.tolist() == [7, 8, 7, 8]
