"""
The compiled kernel against the arrays, bit for bit, and what becomes of an installation without it.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudstream.domain.transaction import Transaction
from fraudstream.features.catalogue import AGGREGATES
from fraudstream.features.compiled import LIBRARY, PATH, PROBLEM, load
from fraudstream.features.compiled_plans import FUNCTIONS, ByArrays, LogColumns, RingColumns
from fraudstream.features.kernel import compute, records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.programs import OPERATIONS
from hatch_build import compiled as compile_kernel
from tests.unit.features.streams import START_S, calls, definitions, transactions

ROOT = Path(__file__).parents[3]
SOURCE = PATH.with_name("kernel.c")
_SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def test_where_there_is_a_compiler_the_kernel_is_compiled():
    assert (LIBRARY is not None) == any(map(shutil.which, ("cc", "gcc", "clang"))), PROBLEM


@_SETTINGS
@given(data=st.data(), source=definitions(), history=transactions(), horizon_s=st.sampled_from([0, 0, 120]))
def test_compiled_and_by_arrays_every_bit_is_the_same_speeds_and_all(data, source, history, horizon_s):
    features = load_features(source)
    store = MemoryEntityStore(features, horizon_ms=horizon_s * 1_000)

    for call in data.draw(calls(history)):
        for one, outcome in call.outcomes:
            store.set_outcomes(records(features, [one]), [outcome])
        for one, fraud in call.labels:
            store.set_labels(records(features, [one]), [fraud])
        _same(features, store, call.batch, now_ms=max(one.occurred_at_ms for one in call.batch))


@pytest.mark.parametrize("name", ["default", "handbook15", "handbook-best"])
def test_shipped_features_are_the_same_over_long_histories_that_come_out_of_order(name):
    features = load_features((ROOT / "models" / f"{name}.features").read_text())
    store, rng = MemoryEntityStore(features), np.random.default_rng(7)

    for start in range(0, 2_400, 200):
        batch = [_payment(rng, number) for number in range(start, start + 200)]
        _same(features, store, batch)
        for one in batch:
            if rng.random() < 0.1:
                store.set_labels(records(features, [one]), [bool(rng.random() < 0.5)])


def test_what_only_arrays_can_do_is_left_to_them_and_mixes_with_the_rest():
    features = load_features("""version 1
keep 16 records
entity card log
feature size = log10(amount)
feature count_large = count() by card_id over 1h where log10(amount) > 1
feature count_all = count() by card_id over 1h
feature share = count_large / count_all
feature like_now = count() by card_id over 1h where amount > size
feature nothing_of_it = is_missing(timestamp)
""")
    plan = features.compiled_plan
    by_arrays = {features.names[column] for step in plan.steps if isinstance(step, ByArrays) for column in step.columns}
    assert by_arrays == {"size", "count_large", "nothing_of_it"}
    store, rng = MemoryEntityStore(features), np.random.default_rng(3)
    for start in range(0, 200, 20):
        _same(features, store, [_payment(rng, number) for number in range(start, start + 20)])


def test_every_feature_of_a_payment_without_any_entity_is_its_default():
    features = load_features((ROOT / "models" / "default.features").read_text())
    bare = Transaction(transaction_id="t", amount_minor=100, currency="EUR", occurred_at_ms=START_S * 1_000)
    _same(features, MemoryEntityStore(features), [bare])


def test_no_column_is_left_out_and_none_worked_out_twice():
    features = load_features((ROOT / "models" / "default.features").read_text())
    columns = []
    for step in features.compiled_plan.steps:
        if isinstance(step, ByArrays):
            columns += step.columns
        elif not isinstance(step, LogColumns | RingColumns):
            columns += step.places.tolist()
    over_entities = [column for pairs in features.aggregates.values() for column, _ in pairs]
    assert sorted(columns + over_entities) == list(range(len(features.names)))


def test_numbers_of_functions_and_operations_are_those_of_the_source():
    text = SOURCE.read_text()

    def names(kind):
        inside = text.split(f"enum {kind} {{", 1)[1].split("}", 1)[0]
        return [one.strip().lower() for one in inside.split(",")]

    shared = {"last_seen": "time_since_last"}
    assert {shared.get(name, name) for name in AGGREGATES} == set(FUNCTIONS)
    assert names("function") == [one.removesuffix("_kmh") for one in FUNCTIONS]
    signs = "=:equal !=:unequal <:less <=:less_equal >:greater >=:greater_equal +:add -:subtract *:multiply /:divide"
    spelt = dict(one.split(":") for one in f"{signs} abs:absolute min:smaller max:larger".split())
    assert names("operation") == [spelt.get(one, one) for one in OPERATIONS]


@pytest.mark.skipif(LIBRARY is None, reason="there is no C compiler here")
def test_a_library_of_another_source_is_not_used(tmp_path):
    source, library = tmp_path / "kernel.c", tmp_path / "kernel.clib"
    source.write_text(SOURCE.read_text())
    assert compile_kernel(source, library) == ""
    assert load(library, source)[0] is not None

    source.write_text(SOURCE.read_text() + "\n")

    assert load(library, source) == (None, "kernel.clib was compiled from another kernel.c")


def test_a_library_that_is_none_is_not_used(tmp_path):
    broken = tmp_path / "kernel.clib"
    broken.write_bytes(b"no library")
    found, problem = load(broken, SOURCE)
    assert found is None
    assert "kernel.clib" in problem


@pytest.mark.skipif(LIBRARY is None, reason="there is no C compiler here")
def test_what_does_not_compile_leaves_nothing_behind_and_says_why(tmp_path):
    source = tmp_path / "kernel.c"
    source.write_text("int f(void) { return }")
    problem = compile_kernel(source, tmp_path / "kernel.clib")
    assert "error" in problem
    assert list(tmp_path.iterdir()) == [source]


def test_without_a_compiler_the_build_says_so_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert compile_kernel(SOURCE, tmp_path / "kernel.clib") == "no C compiler (no-such-compiler)"


def _same(features, store, batch, now_ms=0):
    rows = records(features, batch)
    standings = store.touch(rows, now_ms=now_ms)
    states = store.states(rows)
    by_arrays = compute(features, batch, rows, standings, states, library=None)
    compiled = compute(features, batch, rows, standings, states)
    different = (by_arrays.view(np.uint32) != compiled.view(np.uint32)) & ~(np.isnan(by_arrays) & np.isnan(compiled))
    assert not different.any(), [features.features[column].source for column in np.flatnonzero(different.any(axis=0))]


def _payment(rng, number):
    """One of few cards, customers, devices and merchants, now and then hours late, some of it missing."""
    ids = rng.integers(0, 6, 4)
    return Transaction(
        transaction_id=f"t{number}",
        amount_minor=int(rng.integers(0, 10**5)),
        currency="EUR",
        occurred_at_ms=(START_S + number * 60 - int(rng.integers(0, 2) * rng.integers(0, 40_000))) * 1_000,
        card_id=f"c{ids[0]}",
        user_id=f"u{ids[1]}" if ids[1] else None,
        device_id=f"d{ids[2]}",
        merchant=f"m{ids[3] % 2}",
        ip=f"1.1.1.{ids[0]}",
        country=("BE", "US", None)[ids[1] % 3],
        channel=("pos", "app", None)[ids[2] % 3],
        counterparty_id=f"p{ids[3]}",
        latitude=float(rng.uniform(-90, 90)) if ids[2] else None,
        longitude=float(rng.uniform(-180, 180)) if ids[2] else None,
    )
