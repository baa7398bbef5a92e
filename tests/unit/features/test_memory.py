"""
The store in memory moves states byte for byte as the script ``touch`` does.
"""

import struct

import numpy as np
import pytest

from fraudstream.domain.transaction import Transaction
from fraudstream.features.kernel import Standing, compute, records
from fraudstream.features.layout import amounts
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore

FEATURES = load_features(
    "keep 8 records entity card log entity merchant buckets 1m x 4, 1h x 3 "
    "feature card_count = count() by card_id feature card_is_new_country = is_new(country) by card_id "
    "feature merchant_count_3m = count() by merchant over 3m feature merchant_sum_2h = sum(amount) by merchant over 2h"
)


LAYOUT = FEATURES.layouts["card"]


def _unpacked(record):
    low, high, *rest = struct.unpack("<HBIIBIB", record)
    second, amount, amount_high, word, flags = rest
    return low | high << 16, second, amount, amount_high, word, flags


def _at(second, name=None, **fields):
    given = {"card_id": "c", "merchant": "m", "amount_minor": 100, "currency": "EUR"} | fields
    return Transaction(transaction_id=name or f"t{second}", occurred_at_ms=second * 1_000, **given)


def _touch(store, *batch, now_ms=0):
    rows = records(FEATURES, batch)
    return store.touch(rows, now_ms=now_ms), store.states(rows)


def _slot(ring, resolution, index):
    _, offset, _ = FEATURES.ring_resolutions[resolution]
    return struct.unpack_from("<IIId", ring, offset + 20 * index)


def test_a_record_holds_hash_time_amount_words_and_flags_in_this_order():
    row = records(FEATURES, [_at(7, country="BE")])

    digest, second, amount, high, word, flags = _unpacked(row.packed["card"][0])

    assert (digest, second, amount, high, flags) == (int(row.hashes[0]) % 2**24, 7, 100, 0, 0)
    assert word != 0
    assert (LAYOUT.size, LAYOUT.flag_offset) == (17, 16)


def test_the_largest_amount_fits_into_a_record():
    row = records(FEATURES, [_at(7, amount_minor=10**12)])

    assert amounts(LAYOUT.table(row.packed["card"][0])).tolist() == [10**12]


def test_a_missing_field_has_the_word_zero():
    assert _unpacked(records(FEATURES, [_at(7)]).packed["card"][0])[4] == 0


def test_a_full_log_loses_its_oldest_quarter():
    store = MemoryEntityStore(FEATURES)

    _, states = _touch(store, *(_at(second) for second in range(9)))

    times = LAYOUT.table(states.logs["card"][0])["time"].tolist()
    assert times == [2, 3, 4, 5, 6, 7, 8]


def test_rows_of_one_entity_share_one_state():
    _, states = _touch(MemoryEntityStore(FEATURES), _at(1), _at(2), _at(3, card_id="other"))

    assert states.logs["card"][0] is states.logs["card"][1]
    assert states.logs["card"][2] != states.logs["card"][0]


def test_a_newer_bucket_takes_the_slot_and_an_older_one_is_not_counted():
    store = MemoryEntityStore(FEATURES)

    _, states = _touch(store, _at(60), _at(60 + 4 * 60), _at(61), _at(62 + 4 * 60))

    ring = states.rings["merchant"][0]
    assert _slot(ring, 0, 1) == (5, 2, 0, 200.0)
    assert _slot(ring, 1, 0) == (0, 4, 0, 400.0)


def test_a_ring_is_as_long_as_its_last_written_slot():
    _, states = _touch(MemoryEntityStore(FEATURES), _at(3_600))

    assert len(states.rings["merchant"][0]) == 4 * 20 + 2 * 20


def test_a_second_touch_moves_nothing():
    store = MemoryEntityStore(FEATURES)
    first, before = _touch(store, _at(1), _at(1))

    second, after = _touch(store, _at(1))

    assert (first, second) == ([Standing.TOUCHED, Standing.SEEN], [Standing.SEEN])
    assert before.logs["card"][0] == after.logs["card"][0]
    assert before.rings["merchant"][0] == after.rings["merchant"][0]


def test_an_event_beyond_the_horizon_is_late_and_stays_late():
    store = MemoryEntityStore(FEATURES, horizon_ms=10_000)

    first, states = _touch(store, _at(100), now_ms=110_001)
    second, _ = _touch(store, _at(100), now_ms=100_000)

    assert (first, second) == ([Standing.LATE], [Standing.LATE])
    assert (states.logs["card"][0], states.rings["merchant"][0]) == (b"", b"")


def test_an_event_just_inside_the_horizon_is_touched():
    store = MemoryEntityStore(FEATURES, horizon_ms=10_000)

    assert _touch(store, _at(100), now_ms=110_000)[0] == [Standing.TOUCHED]


def test_an_entity_that_the_transaction_lacks_has_no_state():
    _, states = _touch(MemoryEntityStore(FEATURES), _at(1, card_id=None, merchant=None))

    assert (states.logs["card"][0], states.rings["merchant"][0]) == (b"", b"")


def test_outcomes_and_labels_change_only_the_flags_and_the_count_of_frauds():
    store = MemoryEntityStore(FEATURES)
    _, before = _touch(store, _at(1), _at(2))
    rows = records(FEATURES, [_at(1), _at(2)])

    store.set_outcomes(rows, [3, 0])
    store.set_labels(rows, [True, False])

    after = store.states(rows)
    tables = [LAYOUT.table(states.logs["card"][0]) for states in (before, after)]
    assert tables[1]["flags"].tolist() == [0b0111, 0b1000]
    for name in ("hash", "time", "amount", "amount_high", "country"):
        assert tables[0][name].tolist() == tables[1][name].tolist()
    assert _slot(after.rings["merchant"][0], 0, 0) == (0, 2, 1, 200.0)


def test_a_label_for_a_bucket_that_is_gone_changes_nothing():
    store = MemoryEntityStore(FEATURES)
    _touch(store, _at(60), _at(60 + 4 * 60))

    store.set_labels(records(FEATURES, [_at(60)]), [True])

    ring = store.states(records(FEATURES, [_at(60)])).rings["merchant"][0]
    assert _slot(ring, 0, 1)[2] == 0
    assert _slot(ring, 1, 0)[2] == 1


def test_a_transaction_whose_record_was_capped_away_knows_nothing_of_its_past():
    store = MemoryEntityStore(FEATURES)
    _touch(store, *(_at(second) for second in range(12)))
    batch = [_at(0)]
    rows = records(FEATURES, batch)

    found = compute(FEATURES, batch, rows, store.touch(rows), store.states(rows))

    assert found[0, FEATURES.names.index("card_count")] == 0


@pytest.mark.parametrize("batch", [[], [_at(1)]])
def test_the_matrix_has_a_row_per_transaction_and_a_column_per_feature(batch):
    store = MemoryEntityStore(FEATURES)
    rows = records(FEATURES, batch)

    found = compute(FEATURES, batch, rows, store.touch(rows), store.states(rows))

    assert (found.shape, found.dtype) == ((len(batch), 4), np.float32)
    assert found.flags["C_CONTIGUOUS"]


def test_bytes_of_an_identity_inside_another_record_are_not_taken_for_it():
    store = MemoryEntityStore(FEATURES)
    first, second = _at(1), _at(2)
    rows = records(FEATURES, [first, second])
    store.touch(rows)
    log = store.states(rows).logs["card"][0]

    # What stands behind it in the log has the identity of the first one, but across two records.
    forged = log + log[:5] + log[: LAYOUT.size] + log[: LAYOUT.size - 5]
    states = store.states(rows)
    states.logs["card"][:] = [forged, forged]
    found = compute(FEATURES, [first, second], rows, [Standing.SEEN] * 2, states)

    assert found[:, 0].tolist() == [0.0, 1.0]


def test_transactions_of_one_second_and_one_amount_are_told_apart():
    store = MemoryEntityStore(FEATURES)
    batch = [_at(1, name) for name in ("a", "b", "c")]
    rows = records(FEATURES, batch)
    store.touch(rows)

    found = compute(FEATURES, batch, rows, [Standing.SEEN] * 3, store.states(rows))

    assert found[:, 0].tolist() == [0.0, 1.0, 2.0]
