"""
Which recorded decisions teach, and what.
"""

from typing import Any

import numpy as np
import pytest

from fraudstream.domain.decision import LabelValue
from fraudstream.domain.errors import IncompatibleModel
from fraudstream.features.load import load_features
from fraudstream.training.dataset import DAY_MS, Dataset, Proportions, Split, silent
from fraudstream.training.ensemble import Ensemble, suited
from fraudstream.training.recorded import BLOCKED, NO_VECTOR, TOO_YOUNG, UNSURE, RecordedDecision, recorded_history

NOW_MS = 1_750_000_000_000
FEATURES = load_features("feature amount_minor = amount feature night = hour(timestamp) <= 6")


def a_recorded(age_days: float = 30.0, **changes: Any) -> RecordedDecision:
    values: dict[str, Any] = {
        "occurred_ms": round(NOW_MS - age_days * DAY_MS),
        "holder": "card_1",
        "vector": np.array([12.5, np.nan], dtype="<f4").tobytes(),
        "blocked": False,
        "label": None,
    }
    return RecordedDecision(**{**values, **changes})


def sorted_out(*decisions: RecordedDecision) -> tuple[Dataset, dict[str, int]]:
    found = recorded_history("on record", decisions, columns=2, known_at_ms=NOW_MS, delay_days=7)
    return found.kept, found.left_out


def test_vector_of_the_decision_is_the_row() -> None:
    kept, _ = sorted_out(a_recorded())

    np.testing.assert_array_equal(kept.matrix, np.array([[12.5, np.nan]], dtype=np.float32))
    assert kept.occurred_ms.tolist() == [NOW_MS - 30 * DAY_MS]


def test_reported_fraud_is_fraud_and_silence_is_honest() -> None:
    kept, left_out = sorted_out(
        a_recorded(label=LabelValue.FRAUD), a_recorded(label=LabelValue.LEGITIMATE), a_recorded(label=None)
    )

    assert kept.fraud.tolist() == [True, False, False]
    assert left_out == {}


@pytest.mark.parametrize("label", [None, LabelValue.FRAUD, LabelValue.LEGITIMATE])
def test_payment_younger_than_the_delay_teaches_nothing_yet(label: LabelValue | None) -> None:
    kept, left_out = sorted_out(a_recorded(age_days=6.9, label=label), a_recorded(age_days=7.0))

    assert len(kept) == 1
    assert left_out == {TOO_YOUNG: 1}


def test_blocked_payment_teaches_only_by_its_label() -> None:
    kept, left_out = sorted_out(
        a_recorded(blocked=True), a_recorded(blocked=True, label=LabelValue.LEGITIMATE), a_recorded(blocked=True)
    )

    assert kept.fraud.tolist() == [False]
    assert left_out == {BLOCKED: 2}


def test_what_cannot_be_known_is_left_out_and_counted() -> None:
    kept, left_out = sorted_out(a_recorded(vector=b""), a_recorded(label=LabelValue.UNSURE), a_recorded())

    assert len(kept) == 1
    assert left_out == {NO_VECTOR: 1, UNSURE: 1}


def test_rows_without_card_and_customer_are_each_on_their_own() -> None:
    kept, _ = sorted_out(a_recorded(), a_recorded(holder=None), a_recorded(holder=None), a_recorded())

    assert len(np.unique(kept.holders)) == 3


def test_vectors_of_other_definitions_are_refused() -> None:
    recorded = recorded_history("on record", [a_recorded()], columns=2, known_at_ms=NOW_MS, delay_days=7)

    assert recorded.rows(FEATURES, silent) is recorded.kept
    with pytest.raises(IncompatibleModel, match="have 2 values, the definitions name 1"):
        recorded.rows(load_features("feature amount_minor = amount"), silent)


def of_days(days: float) -> Dataset:
    count = round(days * 100)
    return Dataset(
        matrix=np.zeros((count, 1), dtype=np.float32),
        fraud=np.zeros(count, dtype=np.bool_),
        occurred_ms=np.linspace(0, days * DAY_MS - 1, count).astype(np.int64),
        holders=np.arange(count),
        scenario=np.full(count, ""),
    )


@pytest.mark.parametrize("days", [30.0, 150.0])
def test_split_in_proportion_uses_the_whole_history(days: float) -> None:
    rows = of_days(days)
    split = Proportions(delay_days=7).over(rows)

    learn, settle, held_out = split.cut(rows)

    between = held_out.occurred_ms.min() - settle.occurred_ms.max()
    assert between / DAY_MS == pytest.approx(7, abs=0.02)
    assert held_out.occurred_ms.max() == rows.occurred_ms.max()
    taught = (settle.occurred_ms.max() - learn.occurred_ms.min()) / DAY_MS
    measured = (held_out.occurred_ms.max() - held_out.occurred_ms.min()) / DAY_MS
    assert taught / (taught + measured) == pytest.approx(0.75, abs=0.01)


def test_recorded_history_needs_no_warm_up() -> None:
    rows = of_days(40)

    learn, _, _ = Proportions(warm_up_days=0).over(rows).cut(rows)

    assert learn.occurred_ms.min() == 0


def test_few_frauds_grow_smaller_trees_than_many() -> None:
    few, many = suited(40), suited(4_000)

    assert few == Ensemble()
    assert (many.trees, many.depth) > (few.trees, few.depth)


def test_chosen_days_stay_as_they_were_chosen() -> None:
    chosen = Split(warm_up_days=1, train_days=2)

    assert chosen.over(of_days(100)) is chosen
