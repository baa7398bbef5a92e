"""
The reference that a manifest keeps, and how far later rows have moved from it.
"""

import time

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fraudstream.scoring.drift import LEAST_ROWS, Drift, stability
from fraudstream.scoring.manifest import decode_manifest, encode_manifest
from fraudstream.scoring.reference import histogram, reference_of
from tests.support.models import FEATURES, a_manifest, a_matrix

COLUMNS = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32, allow_infinity=False))


def scores_of(rows: int, *, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).beta(0.3, 4, rows).astype(np.float32)


def a_drift(**more: float) -> Drift:
    return Drift(reference_of(FEATURES, a_matrix(20_000), scores_of(20_000)), FEATURES, **more)


@given(COLUMNS)
def test_every_value_of_a_column_is_in_one_bin(column: np.ndarray) -> None:
    found = histogram(column)

    assert len(found.shares) == len(found.edges) + 2
    assert sum(found.shares) == pytest.approx(1, abs=1e-4)
    assert list(found.edges) == sorted(set(found.edges))


def test_a_count_that_is_mostly_zero_keeps_its_zeros_apart() -> None:
    column = np.array([0] * 97 + [1, 2, 3], np.float32)

    found = histogram(column)

    assert found.edges[0] == 0
    assert found.shares[0] == 0.97


def test_a_column_without_a_known_value_is_all_unknown() -> None:
    found = histogram(np.full(5, np.nan, np.float32))

    assert (found.edges, found.shares) == ((), (0.0, 1.0))


def test_the_order_of_rows_does_not_change_the_reference() -> None:
    matrix, scores = a_matrix(500), scores_of(500)

    assert reference_of(FEATURES, matrix[::-1], scores[::-1]) == reference_of(FEATURES, matrix, scores)


def test_a_manifest_keeps_its_reference_to_the_last_bit() -> None:
    reference = reference_of(FEATURES, a_matrix(500), scores_of(500))
    manifest = a_manifest(b"bytes", reference=reference)

    assert decode_manifest(encode_manifest(manifest), None) == manifest  # type: ignore[arg-type]


def test_a_manifest_without_a_reference_is_still_read() -> None:
    manifest = a_manifest(b"bytes")

    assert decode_manifest(encode_manifest(manifest), None).reference is msgspec.UNSET  # type: ignore[arg-type]


def test_stability_is_the_printed_formula() -> None:
    found = stability(np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]]))

    assert found[0] == pytest.approx(0.4 * np.log(1.8) - 0.4 * np.log(0.2))


def test_rows_like_those_of_the_training_have_not_moved() -> None:
    drift = a_drift()

    drift.add(a_matrix(5_000, seed=8), scores_of(5_000, seed=8), 0.0)
    rows, moved = drift.moved(1.0)

    assert rows == 5_000
    assert set(moved) == {*FEATURES, ""}
    assert max(moved.values()) < 0.02


def test_the_feature_that_moved_is_named() -> None:
    drift, matrix = a_drift(), a_matrix(5_000, seed=8)
    matrix[:, 2] *= 3
    matrix[::2, 4] = np.nan

    drift.add(matrix, scores_of(5_000, seed=8), 0.0)
    _, moved = drift.moved(1.0)

    assert {name for name, value in moved.items() if value > 0.25} == {FEATURES[2], FEATURES[4]}


def test_the_score_moves_under_the_empty_name() -> None:
    drift = a_drift()

    drift.add(a_matrix(5_000, seed=8), np.sqrt(scores_of(5_000)), 0.0)

    assert drift.moved(1.0)[1][""] > 0.25


def test_a_few_rows_say_nothing() -> None:
    drift = a_drift()

    drift.add(a_matrix(LEAST_ROWS - 1), scores_of(LEAST_ROWS - 1), 0.0)

    assert drift.moved(1.0) == (LEAST_ROWS - 1, {})


def test_small_batches_are_counted_like_a_large_one() -> None:
    matrix, scores = a_matrix(3_000, seed=9), scores_of(3_000, seed=9)
    together, apart = a_drift(), a_drift()

    together.add(matrix, scores, 0.0)
    for at in range(0, 3_000, 7):
        apart.add(matrix[at : at + 7], scores[at : at + 7], 0.0)

    assert together.moved(1.0) == apart.moved(1.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    drift = a_drift(window_s=60, blocks=6)
    for second in range(0, 60, 10):
        drift.add(a_matrix(1_000), scores_of(1_000), float(second))

    assert [drift.moved(at)[0] for at in (59.0, 60.0, 85.0, 200.0)] == [6_000, 5_000, 3_000, 0]


def test_watching_costs_less_than_three_microseconds_a_transaction() -> None:
    names = [f"f{at}" for at in range(41)]
    drift = Drift(reference_of(names, a_matrix(5_000, columns=41), scores_of(5_000)), names)
    batches = [(a_matrix(128, columns=41, seed=seed), scores_of(128)) for seed in range(64)]

    def once() -> float:
        started = time.process_time()
        for matrix, scores in batches:
            drift.add(matrix, scores, 0.0)
        return time.process_time() - started

    assert min(once() for _ in range(5)) / (64 * 128) < 3e-6
