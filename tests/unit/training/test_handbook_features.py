"""
The definitions for the handbook: no label earlier than it is known, and none needed that nobody sends.
"""

from pathlib import Path

import numpy as np
import pytest

from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.replay import replay
from fraudstream.training.dataset import DAY_MS, require_delay
from tests.support.builders import NOW_MS, a_transaction

MODELS = Path(__file__).parents[3] / "models"
DAYS, PER_DAY = 45, 24


@pytest.fixture(scope="module", params=["handbook15.features", "handbook-best.features"])
def features(request: pytest.FixtureRequest) -> FeatureSet:
    return load_features((MODELS / request.param).read_text(encoding="utf-8"))


def vectors(features: FeatureSet, *, told: str) -> np.ndarray:
    """
    Replay days of few customers at few terminals; ``told`` is whose labels are told: ``all``, ``frauds`` or ``nobody``.
    """
    rng = np.random.default_rng(3)
    store, parts = MemoryEntityStore(features), []
    for day in range(DAYS):
        batch = [
            a_transaction(
                transaction_id=f"t_{day}_{at}",
                user_id=f"u_{rng.integers(6)}",
                merchant=f"m_{rng.integers(5)}",
                amount_minor=int(rng.lognormal(8, 0.6)),
                occurred_at_ms=NOW_MS + day * DAY_MS + at * DAY_MS // PER_DAY,
            )
            for at in range(PER_DAY)
        ]
        parts += list(replay(features, [batch], store=store))
        frauds = (rng.random(PER_DAY) < 0.2).tolist()
        known = [
            (one, fraud) for one, fraud in zip(batch, frauds, strict=True) if told == "all" or (told == "frauds" and fraud)
        ]
        if known:
            store.set_labels(records(features, [one for one, _ in known]), [fraud for _, fraud in known])
    return np.concatenate(parts)


def test_no_feature_reads_a_label_before_it_is_known(features: FeatureSet) -> None:
    require_delay(features, 7 * 86_400)


def test_silence_means_honest(features: FeatureSet) -> None:
    np.testing.assert_array_equal(vectors(features, told="frauds"), vectors(features, told="all"))


def test_labels_move_no_row_of_the_next_seven_days(features: FeatureSet) -> None:
    with_labels, without = vectors(features, told="all"), vectors(features, told="nobody")

    same = ((with_labels == without) | (np.isnan(with_labels) & np.isnan(without))).all(axis=1)
    assert same[: 7 * PER_DAY].all()
    assert not same[8 * PER_DAY :].all()


def test_constants_of_the_generator_stand_in_no_definition(features: FeatureSet) -> None:
    # The handbook's simulator: frauds above 220, terminals compromised for 28 days, customers for 14, amounts times five.
    source = "\n".join(feature.source for feature in features.features)

    for constant in ("220", "22000", "14d", "28d", "2w", "4w", "* 5", "5 *"):
        assert constant not in source.replace("2.5 *", "")
