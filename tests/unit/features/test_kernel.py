"""
The kernel against the oracle, and what must hold of it whatever the definitions.
"""

import gc
import statistics
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudstream.domain.transaction import Transaction
from fraudstream.features.columns import RowColumns
from fraudstream.features.compiled import LIBRARY
from fraudstream.features.kernel import compute, records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.past import Past
from fraudstream.features.replay import replay
from tests.support.builders import NOW_MS
from tests.support.builders import a_transaction as a_payment
from tests.unit.features.oracle import Oracle
from tests.unit.features.streams import a_transaction, calls, definitions, log_columns, transactions

_SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def _same_bits(found, expected, features):
    """Compare float32 matrices bit for bit; speeds, which go through sines, to within their last places."""
    speeds = {feature.name for feature in features.features if "speed_kmh" in feature.source}
    for column, feature in enumerate(features.features):
        theirs, ours = expected[:, column], found[:, column]
        if any(name in feature.source.split("=", 1)[1] or name == feature.name for name in speeds):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=feature.source)
        else:
            assert np.array_equal(np.isnan(ours), np.isnan(theirs)), feature.source
            known = ~np.isnan(ours)
            assert ours[known].tobytes() == theirs[known].tobytes(), feature.source


@pytest.mark.parametrize("library", [None, LIBRARY], ids=["by arrays", "compiled"])
@_SETTINGS
@given(data=st.data(), source=definitions(), history=transactions(), horizon_s=st.sampled_from([0, 0, 120]))
def test_kernel_equals_the_row_at_a_time_oracle_bit_for_bit(library, data, source, history, horizon_s):
    features = load_features(source)
    store, oracle = MemoryEntityStore(features, horizon_ms=horizon_s * 1_000), Oracle(features, horizon_s * 1_000)

    for call in data.draw(calls(history)):
        for one, outcome in call.outcomes:
            store.set_outcomes(records(features, [one]), [outcome])
            oracle.outcome(one, outcome)
        for one, fraud in call.labels:
            store.set_labels(records(features, [one]), [fraud])
            oracle.label(one, fraud)
        now_ms = max(one.occurred_at_ms for one in call.batch)
        rows = records(features, call.batch)
        standings = store.touch(rows, now_ms=now_ms)
        found = compute(features, call.batch, rows, standings, store.states(rows), library=library)

        _same_bits(found, oracle.batch(call.batch, now_ms), features)


@_SETTINGS
@given(data=st.data(), source=definitions(keep=64), history=transactions())
def test_log_features_do_not_depend_on_how_the_history_is_cut_into_batches(data, source, history):
    features = load_features(source)
    whole = np.concatenate(list(replay(features, [[one] for one in history])))

    cut = np.concatenate(list(replay(features, [call.batch for call in data.draw(calls(history))])))

    columns = log_columns(features)
    assert whole[:, columns].tobytes() == cut[:, columns].tobytes()


@_SETTINGS
@given(
    data=st.data(),
    source=definitions(keep=64, ring=(40, 40)),
    history=transactions(steps=st.sampled_from([0, 1, 59, 60, 61, -60])),
)
def test_rewriting_everything_after_a_transaction_leaves_its_features_bit_identical(data, source, history):
    features = load_features(source)
    chosen = data.draw(st.integers(0, len(history) - 1))
    before = history[: chosen + 1]
    at_s = before[-1].occurred_at_ms // 1_000
    rewritten = [
        a_transaction(data.draw, f"other{number}", at_s + data.draw(st.integers(-600, 600)))
        for number in range(data.draw(st.integers(0, 12)))
    ]
    size = data.draw(st.integers(1, 12))

    first = _features_of(features, history, chosen, size)
    second = _features_of(features, before + rewritten, chosen, size)

    assert first.tobytes() == second.tobytes()


def _features_of(features, history, chosen, size):
    batches = [history[start : start + size] for start in range(0, len(history), size)]
    return np.concatenate(list(replay(features, batches)))[chosen]


@_SETTINGS
@given(source=definitions(keep=64), history=transactions())
def test_log_features_of_a_second_delivery_equal_those_of_the_first(source, history):
    features = load_features(source)
    store = MemoryEntityStore(features)
    once = list({one.transaction_id: one for one in history}.values())
    columns = log_columns(features)

    rows = records(features, once)
    first = compute(features, once, rows, store.touch(rows), store.states(rows))
    again = records(features, once[::-1])
    second = compute(features, once[::-1], again, store.touch(again), store.states(again))[::-1]

    assert first[:, columns].tobytes() == second[:, columns].tobytes()


@_SETTINGS
@given(source=definitions(), history=transactions())
def test_values_do_not_move_with_the_order_of_the_columns(source, history):
    lines = source.splitlines()
    features = load_features(source)
    turned = load_features("\n".join(lines[:6] + lines[:5:-1]))

    values = np.concatenate(list(replay(features, [history])))
    others = np.concatenate(list(replay(turned, [history])))

    assert values.tobytes() == np.ascontiguousarray(others[:, ::-1]).tobytes()


def test_a_delay_that_reaches_back_before_1970_finds_nothing_there():
    features = load_features("entity merchant buckets 1m x 64 feature a = count() by merchant over 2m delayed 5m")
    batch = [
        Transaction(
            transaction_id=f"{merchant}{second}",
            amount_minor=1,
            currency="EUR",
            occurred_at_ms=second * 1_000,
            merchant=merchant,
        )
        for merchant, second in (("m", 0), ("n", 0), ("m", 1), ("n", 300), ("m", 301))
    ]

    (values,) = replay(features, [batch])

    assert values[:, 0].tolist() == [0.0, 0.0, 0.0, 1.0, 2.0]


def test_a_batch_leaves_nothing_behind_for_the_collector_of_cycles():
    # A worker's collector looks seldom: states that only it can free add up to gigabytes.
    features = load_features((Path(__file__).parents[3] / "models/default.features").read_text(encoding="utf-8"))
    batch = [a_payment(card_id=f"card_{at % 7}", occurred_at_ms=NOW_MS + at) for at in range(64)]
    rows, store = records(features, batch), MemoryEntityStore(features)
    standings, states = store.touch(rows), store.states(rows)
    gc.collect()
    gc.disable()
    try:
        compute(features, batch, rows, standings, states)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_standard_deviation_does_not_depend_on_the_amounts_of_others():
    """
    Small amounts are computed with in whole numbers and large ones cannot be: each row is judged by itself.
    """
    features = load_features("keep 64 records\nentity card log\nfeature spread = stddev(amount) by card_id over 24h")
    small = [a_payment(card_id="small", amount_minor=amount) for amount in (1_999, 2_001, 3_333, 47_110, 5)]
    large = [a_payment(card_id="large", amount_minor=10**12 - amount) for amount in (1, 3, 8, 10**11, 2)]

    alone = np.concatenate(list(replay(features, [small, large])))
    together = np.concatenate(list(replay(features, [[one for pair in zip(small, large, strict=True) for one in pair]])))

    assert alone[:5].tobytes() == together[0::2].tobytes()
    assert alone[5:].tobytes() == together[1::2].tobytes()
    np.testing.assert_allclose(alone[4], statistics.pstdev(one.amount_minor for one in small[:4]), rtol=1e-6)
    np.testing.assert_allclose(alone[9], statistics.pstdev(one.amount_minor for one in large[:4]), rtol=1e-6)


@pytest.mark.parametrize("most", [2**20, 2**32 - 1, 10**12])
@pytest.mark.parametrize("of_others", [0, 3, 400], ids=["alone", "beside a few", "beside many that are short"])
def test_a_median_is_the_same_beside_short_windows_and_long_ones(most, of_others):
    features = load_features("keep 64 records\nentity card log\nfeature middle = median(amount) by card_id over 24h")
    amounts = [most - 7 * number % 31 for number in range(40)]
    rows = [a_payment(card_id="one", amount_minor=amount) for amount in amounts]
    rows += [a_payment(card_id=f"other {number}", amount_minor=number) for number in range(of_others)]

    found = np.concatenate(list(replay(features, [rows])))

    expected = [statistics.median(amounts[:row]) for row in range(1, len(amounts))]
    assert found[1 : len(amounts), 0].tolist() == np.array(expected, np.float32).tolist()


def test_a_row_out_of_order_leaves_the_order_of_the_others_alone():
    features = load_features("keep 64 records\nentity card log\nfeature last = time_since_last() by card_id")
    times = {"calm": [0, 10, 20, 30], "late": [0, 30, 10, 20], "after": [0, 10, 20, 30]}
    batch = [a_payment(card_id=card, occurred_at_ms=NOW_MS + 1_000 * at) for card, ats in times.items() for at in ats]
    store, rows = MemoryEntityStore(features), records(features, batch)
    standings = store.touch(rows, now_ms=NOW_MS)
    logs = store.states(rows).logs["card"]
    last = [3, 7, 11]
    chosen = records(features, [batch[row] for row in last])

    past = Past(features.layouts["card"], "card", RowColumns([batch[row] for row in last], chosen, {}),
                [standings[row] for row in last], [logs[row] for row in last])  # fmt: skip

    assert past.arrival.tolist() == [0, 1, 2, 3, 4, 6, 7, 5, 8, 9, 10, 11]
    assert (past.time - NOW_MS // 1_000).tolist() == [0, 10, 20, 30, 0, 10, 20, 30, 0, 10, 20, 30]
    assert past.own.tolist() == [3, 6, 11]
