"""
What the benchmarks of models say of decisions that are made up, and of the shipped model on a few rows.
"""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from fraudstream.adapters.postgres_account import Passed
from fraudstream.adapters.redis_models import Entry
from fraudstream.app.bench_model import bench_model
from fraudstream.app.bench_reload import Phase
from fraudstream.app.bench_swap import BOUND_MS, _reported, _Seen, twin
from fraudstream.app.bench_swap_full import FullSpeed
from fraudstream.app.loaded_fleet import Stalls
from fraudstream.domain.errors import IncompatibleModel
from fraudstream.features.load import load_features
from fraudstream.scoring.load import load_model

MODELS = Path(__file__).parents[3] / "models"
FEATURES = load_features((MODELS / "default.features").read_text())


def test_a_model_is_measured_with_reasons_drift_and_loading() -> None:
    found = bench_model(MODELS, MODELS / "default.features", rows=1_024, batch=256, passes=2)

    assert (found.rows, found.features, found.flagged_share) == (1_024, len(FEATURES.names), pytest.approx(0.01, abs=0.005))
    assert 0 < found.with_reasons_worst <= found.with_reasons_median <= found.with_reasons_best
    assert found.drift_us_per_row > 0
    assert found.load_ms > 0


def test_the_twin_scores_alike_under_another_hash(tmp_path: Path) -> None:
    one = load_model(MODELS, FEATURES.names)
    other = load_model(twin(MODELS, tmp_path / "twin"), FEATURES.names)
    matrix = np.random.default_rng(1).random((64, len(FEATURES.names))).astype(np.float32) * 5

    assert one.id != other.id
    assert one.score(matrix).tobytes() == other.score(matrix).tobytes()


def test_of_a_truncated_twin_nothing_is_loaded(tmp_path: Path) -> None:
    folder = twin(MODELS, tmp_path / "twin")
    (folder / "fraud.onnx").write_bytes((folder / "fraud.onnx").read_bytes()[:-2])

    with pytest.raises(IncompatibleModel, match="cut short"):
        load_model(folder, FEATURES.names)


def a_passed(model: str, received_ms: float, took_ms: float, **changes: object) -> Passed:
    values = {
        "transaction_id": f"t{received_ms}",
        "model": model,
        "probability": 0.5,
        "vector": b"",
        "degraded": (),
        "outcome": "approve",
        "received_ms": received_ms,
        "decided_ms": received_ms + took_ms,
    }
    return Passed(**{**values, **changes})  # type: ignore[arg-type]


def test_a_decision_under_way_while_models_change_counts_as_in_the_swap() -> None:
    # Changed at 1,000 ms, taken over at 1,500 ms; one decision waited 80 ms for it, one without any change as long.
    found = [
        *(a_passed("old", at, 5) for at in range(0, 1_400, 10)),
        a_passed("new", 1_420, 80),
        *(a_passed("new", at, 5) for at in range(1_510, 3_000, 10)),
        a_passed("new", 2_500, 90),
        a_passed("", 2_900, 5, probability=None, degraded=("model_deadline",)),
    ]
    change = Entry(seq=1, champion="new", kind="promote", at_ms=1_000)

    report = _reported(_Seen(3_000.0, [], found, [change], [1.5], {}, [(0, 0), (100, 1), (300, 5)]))

    assert (report.swaps, report.seconds_to_follow) == (1, [0.5])
    assert (report.delayed_in_swaps, report.delayed_between) == (1, 1)
    assert (report.without_model, report.without_score, report.degraded) == (1, 1, 1)
    assert report.swap_latency_ms["max"] == 80
    assert report.between_latency_ms["max"] == 90
    assert report.looks_over_50_ms == {"calm": 0.01, "changing": 0.02}


_LATE = Stalls(looks=100, longest_ms=75.0, over={"20_ms": 1, "50_ms": 1, "100_ms": 0})
_PHASE = Phase(seconds=1.0, transactions_per_second=8_000.0, stalls=_LATE, own_stalls=_LATE)
_FULL = FullSpeed(
    swaps=2, transactions=10, models={"one": 5, "two": 5}, lost=0, doubled=0, degraded=0, without_model=0, without_score=0,
    other_score_than_its_model=0, stall_ms=[BOUND_MS, 0.1], without_changes=_PHASE, with_changes=_PHASE,
)  # fmt: skip


@pytest.mark.parametrize(
    "wrong", ["lost", "doubled", "degraded", "without_model", "without_score", "other_score_than_its_model"]
)
def test_one_wrong_decision_at_full_speed_is_bad_news(wrong: str) -> None:
    assert _FULL.good
    assert not msgspec.structs.replace(_FULL, **{wrong: 1}).good


def test_a_loop_that_stood_still_in_a_swap_is_bad_news() -> None:
    assert not msgspec.structs.replace(_FULL, stall_ms=[BOUND_MS + 0.1]).good
