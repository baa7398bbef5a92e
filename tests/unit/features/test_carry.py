"""
States laid out anew and joined: what was known stays, in its place, and nothing counts twice.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.domain.transaction import Transaction
from fraudstream.features.carry import former_dtype, joined_log, joined_ring, relaid_former_log, relaid_log, relaid_ring
from fraudstream.features.definitions import SLOT, FeatureSet
from fraudstream.features.kernel import compute, records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.states import Standing, States
from tests.support.builders import a_transaction

HEAD = """
version 1
keep 64 records
entity card log
"""
OLD = load_features(
    HEAD
    + """
entity merchant buckets 1m x 90, 1h x 30
feature card_count_1h = count() by card_id over 1h
feature card_sum_24h = sum(amount) by card_id over 24h
feature card_new_merchant = is_new(merchant) by card_id
feature merchant_sum_10m = sum(amount) by merchant over 10m
"""
)
NEW = load_features(
    HEAD
    + """
entity merchant buckets 1m x 90, 2h x 20
feature card_count_1h = count() by card_id over 1h
feature card_sum_24h = sum(amount) by card_id over 24h
feature card_new_merchant = is_new(merchant) by card_id
feature card_devices_24h = distinct(device_id) by card_id over 24h
feature merchant_sum_10m = sum(amount) by merchant over 10m
feature merchant_count_24h = count() by merchant over 24h
"""
)
START_S = 1_700_006_400
STAYING = [name for name in OLD.names if name in NEW.names]

payments = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2"]),
        st.sampled_from(["m1", "m2"]),
        st.sampled_from(["d1", "d2", None]),
        st.integers(0, 5_000),
        st.integers(1, 90_000),
    ),
    min_size=2,
    max_size=40,
)


def history(rows: list[tuple[str, str, str | None, int, int]]) -> list[Transaction]:
    return [
        a_transaction(
            transaction_id=f"t{at}", card_id=card, merchant=merchant, device_id=device, amount_minor=amount,
            occurred_at_ms=(START_S + later) * 1_000,
        )
        for at, (card, merchant, device, later, amount) in enumerate(rows)
    ]  # fmt: skip


def after(features: FeatureSet, past: list[Transaction]) -> MemoryEntityStore:
    store = MemoryEntityStore(features)
    if past:
        store.touch(records(features, past))
    return store


def carried(past: list[Transaction]) -> dict[str, dict[str, bytes]]:
    old = after(OLD, past)
    return {
        "card": {one: relaid_log(OLD.layouts["card"], NEW.layouts["card"], state) for one, state in old.kept("card").items()},
        "merchant": {one: relaid_ring(OLD, NEW, state) for one, state in old.kept("merchant").items()},
    }


def in_former_records(features: FeatureSet, past: list[Transaction]) -> bytes:
    rows = records(features, past)
    table = np.zeros(len(past), former_dtype(features.hashed))
    table["hash"], table["time"], table["amount"] = rows.hashes, rows.occurred_s, rows.amounts
    for name in features.hashed:
        table[name] = rows.words[name]
    return table.tobytes()


def vectors(features: FeatureSet, batch: list[Transaction], states: dict[str, dict[str, bytes]]) -> np.ndarray:
    """Compute a batch over states that it has not moved itself: late ones, all of it is past."""
    rows = records(features, batch)
    read = {kind: [found.get(str(one), b"") for one in rows.entities[kind]] for kind, found in states.items()}
    both = States(logs={"card": read["card"]}, rings={"merchant": read["merchant"]})
    return compute(features, batch, rows, [Standing.LATE] * len(batch), both)


@given(rows=payments)
@settings(max_examples=60, deadline=None)
def test_features_that_stay_say_the_same_over_states_laid_out_anew(rows: list[tuple[str, str, str | None, int, int]]) -> None:
    *past, last = history(rows)
    old = after(OLD, past)

    before = vectors(OLD, [last], {kind: old.kept(kind) for kind in ("card", "merchant")})
    now = vectors(NEW, [last], carried(past))

    for name in STAYING:
        assert now[0, NEW.names.index(name)] == before[0, OLD.names.index(name)] or np.isnan(now[0, NEW.names.index(name)])
    assert np.array_equal(
        now[0, [NEW.names.index(name) for name in STAYING]],
        before[0, [OLD.names.index(name) for name in STAYING]],
        equal_nan=True,
    )


@given(rows=payments)
@settings(max_examples=60, deadline=None)
def test_coarser_buckets_are_the_sums_of_finer_ones(rows: list[tuple[str, str, str | None, int, int]]) -> None:
    past = history(rows)
    whole = after(NEW, past)

    for merchant, ring in carried(past)["merchant"].items():
        ours = np.frombuffer(ring, SLOT)[90:]
        theirs = np.frombuffer(whole.kept("merchant")[merchant].ljust(NEW.ring_size, b"\0"), SLOT)[90:]
        assert ours.tobytes() == theirs.tobytes()


@given(rows=payments, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_log_joined_with_the_whole_history_is_the_whole_history(
    rows: list[tuple[str, str, str | None, int, int]], data: st.DataObject
) -> None:
    past = history(rows)
    began = data.draw(st.integers(0, len(past)))
    whole, part = after(NEW, past).kept("card"), after(NEW, past[began:]).kept("card")

    for card, log in whole.items():
        joined = joined_log(NEW, "card", log, part.get(card, b""))
        assert joined == log
        assert joined_log(NEW, "card", log, joined) == joined, "a second time changes nothing"


def test_a_record_keeps_its_place_and_what_it_knows() -> None:
    first, second, third = records(NEW, history([("c1", "m1", "d1", at, 5) for at in range(3)])).packed["card"]
    flagged = second[:-1] + b"\x03"

    joined = joined_log(NEW, "card", first + second + third, third + flagged)

    assert joined == first + third + flagged


def test_a_field_that_the_old_records_lacked_is_filled_from_the_records() -> None:
    past = history([("c1", "m1", "d1", 0, 5), ("c1", "m2", "d2", 9, 7)])
    cold = relaid_log(OLD.layouts["card"], NEW.layouts["card"], after(OLD, past).kept("card")["c1"])
    whole = after(NEW, past).kept("card")["c1"]

    assert cold != whole
    assert joined_log(NEW, "card", whole, cold) == whole


def test_a_log_over_its_cap_loses_the_oldest() -> None:
    many = records(NEW, history([("c1", "m1", None, at, 1) for at in range(70)])).packed["card"]

    joined = joined_log(NEW, "card", b"".join(many), b"".join(many[60:]))

    assert joined == b"".join(many[-64:])


@pytest.mark.parametrize(
    ("ours", "theirs", "kept"), [((7, 3), (7, 2), 3), ((7, 2), (7, 3), 3), ((8, 1), (7, 9), 1), ((6, 9), (7, 1), 1)]
)
def test_of_two_buckets_the_newer_stays_and_of_one_bucket_the_fuller(
    ours: tuple[int, int], theirs: tuple[int, int], kept: int
) -> None:
    def ring(bucket: int, count: int) -> bytes:
        slots = np.zeros(NEW.ring_size // SLOT.itemsize, SLOT)
        slots[5]["bucket"], slots[5]["count"] = bucket, count
        return slots.tobytes()

    joined = np.frombuffer(joined_ring(NEW, ring(*ours), ring(*theirs)), SLOT)

    assert joined[5]["count"] == kept


@given(rows=payments)
@settings(max_examples=60, deadline=None)
def test_a_log_of_the_time_when_all_records_were_alike_says_the_same_in_todays(
    rows: list[tuple[str, str, str | None, int, int]],
) -> None:
    past = history(rows)

    for card, log in after(OLD, past).kept("card").items():
        former = in_former_records(OLD, [one for one in past if one.card_id == card])
        assert relaid_former_log(OLD, OLD.layouts["card"], former) == log
        assert relaid_former_log(OLD, NEW.layouts["card"], former) == relaid_log(OLD.layouts["card"], NEW.layouts["card"], log)


def test_what_became_known_of_a_former_record_stays_known() -> None:
    former = in_former_records(OLD, history([("c1", "m1", None, 0, 10**9)]))

    relaid = relaid_former_log(OLD, OLD.layouts["card"], former[:-1] + b"\x07")

    assert relaid[-1] == 7


def test_nothing_joined_with_nothing_is_nothing() -> None:
    assert joined_log(NEW, "card", b"", b"") == b""
    assert relaid_log(OLD.layouts["card"], NEW.layouts["card"], b"") == b""
    assert not np.frombuffer(relaid_ring(OLD, NEW, b""), SLOT)["count"].any()
