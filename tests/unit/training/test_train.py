"""
The whole way from a labelled history to a model folder, on small worlds.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraudstream.domain.errors import IncompatibleModel
from fraudstream.features.load import load_features
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.synthetic import SyntheticPlan, generate, training_plan
from fraudstream.scoring.load import load_model
from fraudstream.scoring.manifest import Calibration
from fraudstream.training.card import card
from fraudstream.training.dataset import DAY_MS, Dataset, Split, build, join
from fraudstream.training.ensemble import Ensemble, fit
from fraudstream.training.export import export
from fraudstream.training.history import train_on_history
from fraudstream.training.train import MAX_PARITY, Source, TrainedModel, TrainingPlan, train

DEFINITIONS = """
entity card log
entity device log
feature amount_minor = amount
feature card_count_24h = count() by card_id over 24h
feature card_speed_kmh = speed_kmh() by card_id over 7d
feature device_distinct_card_id_24h = distinct(card_id) by device_id over 24h
"""
SMALL = Ensemble(trees=20, depth=3)


def a_world(seed: int, *, transactions: int = 12_000) -> SyntheticPlan:
    """
    A small world with four times the usual fraud, so that there is something to learn.
    """
    return msgspec.structs.replace(training_plan(seed, transactions=transactions, days=20), fraud_rate=0.04)


def a_source(seed: int) -> Source:
    plan = a_world(seed)
    return Source(f"world {seed}", partial(generate, plan), plan.transactions)


def a_plan(**changes: object) -> TrainingPlan:
    values: dict[str, object] = {
        "features": load_features(DEFINITIONS),
        "sources": [a_source(1)],
        "unseen": [a_source(3)],
        "split": Split(warm_up_days=2, train_days=8, delay_days=5),
        "ensemble": SMALL,
    }
    return TrainingPlan(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def told() -> dict[str, tuple[int, int]]:
    return {}


@pytest.fixture(scope="module")
def trained(told: dict[str, tuple[int, int]]) -> TrainedModel:
    return train(a_plan(), lambda step, done, total: told.update({step: (done, total)}))


def a_dataset(rows: int, *, days: float) -> Dataset:
    return Dataset(
        matrix=np.zeros((rows, 1), dtype=np.float32),
        fraud=np.zeros(rows, dtype=np.bool_),
        occurred_ms=np.linspace(0, days * DAY_MS, rows, endpoint=False).astype(np.int64),
        holders=np.arange(rows),
        scenario=np.full(rows, ""),
    )


def test_equal_plans_give_equal_bytes(trained: TrainedModel) -> None:
    again = train(a_plan())

    assert again.onnx == trained.onnx
    assert again.manifest == trained.manifest
    assert card(again) == card(trained)


def test_written_folder_is_the_model(trained: TrainedModel, tmp_path: Path) -> None:
    trained.write(tmp_path)

    model = load_model(tmp_path, trained.plan.features.names, feature_set=trained.plan.features.id)

    assert model.manifest == trained.manifest
    rows = build(trained.plan.features, trained.plan.unseen[0].read())
    assert model.score(rows.matrix).tobytes() == trained.model.score(rows.matrix).tobytes()


def test_served_scores_are_those_of_the_trained_ensemble(trained: TrainedModel) -> None:
    assert 0 < trained.manifest.parity < MAX_PARITY


def test_model_finds_fraud_that_it_never_saw_but_not_all(trained: TrainedModel) -> None:
    for found in (trained.held_out, trained.unseen["world 3"]):
        assert found.average_precision.value > 3 * found.frauds / found.rows
        assert found.average_precision.value < 0.95


def test_scores_are_calibrated_on_days_that_came_later(trained: TrainedModel) -> None:
    assert trained.held_out.calibration_error < 0.025


def test_history_without_enough_fraud_is_refused() -> None:
    quiet = Source("quiet", partial(generate, a_world(1, transactions=600)))

    with pytest.raises(IncompatibleModel, match=r"frauds to calibrate on, .* at least 20 are needed"):
        train(a_plan(sources=[quiet]))


def test_progress_reaches_the_end_of_each_step(told: dict[str, tuple[int, int]], trained: TrainedModel) -> None:
    assert told == {"replay": (12_000, 12_000), "train": (20, 20), "measure": (1, 2)}


def test_card_says_where_the_model_ends(trained: TrainedModel) -> None:
    text = card(trained)

    for heading in (
        "## Data",
        "## Held-out days",
        "## Unseen: world 3",
        "## Thresholds by cost",
        "## Limits",
        "## Build it again",
    ):
        assert heading in text
    assert trained.manifest.sha256 in text


def test_split_leaves_out_the_days_whose_labels_are_not_known() -> None:
    split = Split(warm_up_days=4, train_days=10, calibrate_share=0.2, delay_days=7)

    learn, settle, held_out = split.cut(a_dataset(2800, days=28))

    def days(part: Dataset) -> tuple[float, float]:
        return round(float(part.occurred_ms.min()) / DAY_MS, 1), round(float(part.occurred_ms.max()) / DAY_MS, 1)

    assert [days(part) for part in (learn, settle, held_out)] == [(4.0, 12.0), (12.0, 14.0), (21.0, 28.0)]


def test_second_delivery_of_an_id_is_no_second_row() -> None:
    features = load_features(DEFINITIONS)
    once = list(generate(a_world(5, transactions=3000)))

    twice = build(features, [row for row in once for _ in range(2)])

    np.testing.assert_array_equal(twice.matrix, build(features, once).matrix)


def test_transactions_without_a_label_move_entities_but_are_no_rows() -> None:
    features = load_features(DEFINITIONS)
    rows = list(generate(a_world(6, transactions=3000)))
    whole = build(features, rows)

    half = build(features, _unlabelled_at(rows, 0))

    np.testing.assert_array_equal(half.matrix, whole.matrix[1::2])
    np.testing.assert_array_equal(half.fraud, whole.fraud[1::2])


def test_rows_of_a_span_are_what_they_are_in_the_whole() -> None:
    features = load_features(DEFINITIONS)
    world = list(generate(a_world(6, transactions=3000)))
    whole = build(features, world)
    first, end = np.quantile(whole.occurred_ms, [0.5, 0.8])

    part = build(features, world, span_ms=(first, end))

    expected = whole.between(first, end)
    assert len(part) == pytest.approx(900, abs=2)
    np.testing.assert_array_equal(part.matrix, expected.matrix)
    np.testing.assert_array_equal(part.fraud, expected.fraud)


def _unlabelled_at(rows: Iterable[Labelled], odd: int) -> Iterable[Labelled]:
    for at, row in enumerate(rows):
        yield (
            row
            if at % 2 != odd
            else Labelled(
                body=row.body, transaction_id=row.transaction_id, occurred_at_ms=row.occurred_at_ms, scenario=row.scenario
            )
        )


def test_holders_of_two_sources_stay_apart() -> None:
    part = a_dataset(10, days=1)

    assert len(np.unique(join([part, part]).holders)) == 20


def test_export_refuses_an_ensemble_that_it_cannot_carry() -> None:
    rows = build(load_features(DEFINITIONS), generate(a_world(1, transactions=3000)))
    booster = fit(SMALL, rows)
    booster.set_param({"base_score": 0.2})

    with pytest.raises(ValueError, match=r"train binary:logistic with 0\.5"):
        export(booster, Calibration(slope=1.0, intercept=0.0))


def test_own_history_trains_a_model_of_its_own(tmp_path: Path) -> None:
    definitions, history = tmp_path / "my.features", tmp_path / "history.jsonl"
    definitions.write_text(DEFINITIONS)
    rows = [{**msgspec.json.decode(row.body), "is_fraud": row.fraud} for row in generate(a_world(8))]
    history.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))

    trained = train_on_history(
        [history],
        definitions,
        tmp_path / "model",
        split=Split(warm_up_days=2, train_days=8, delay_days=5),
        ensemble=SMALL,
    )

    model = load_model(tmp_path / "model", trained.plan.features.names)
    assert model.version == "own-1"
    assert trained.held_out.average_precision.value > 3 * trained.held_out.frauds / trained.held_out.rows
    assert "history.jsonl" in (tmp_path / "model" / "README.md").read_text()
