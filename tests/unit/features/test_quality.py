"""
Values say how far they can be trusted.
"""

from fraudstream.domain.transaction import Transaction
from fraudstream.features.kernel import records
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.quality import Quality, qualities

FEATURES = load_features(
    "keep 8 records entity card log entity merchant buckets 1m x 64 "
    "feature day = count() by card_id over 24h feature minute = count() by card_id over 1m feature ever = count() by card_id "
    "feature shop = count() by merchant over 1h feature both = shop / minute feature plain = amount"
)


def _qualities(store, *batch, now_ms=0):
    rows = records(FEATURES, batch)
    standings = store.touch(rows, now_ms=now_ms)
    found = qualities(FEATURES, rows, standings, store.states(rows))
    return [dict(zip(FEATURES.names, map(Quality, row), strict=True)) for row in found.tolist()]


def _at(second, **fields):
    given = {"card_id": "c", "merchant": "m"} | fields
    return Transaction(transaction_id=f"t{second}", amount_minor=1, currency="EUR", occurred_at_ms=second * 1_000, **given)


def test_the_first_transaction_of_an_entity_is_cold_and_the_second_is_not():
    store = MemoryEntityStore(FEATURES)

    (first,) = _qualities(store, _at(100))
    (second,) = _qualities(store, _at(200))

    assert {first[name] for name in ("day", "ever", "shop", "both")} == {Quality.COLD}
    assert (second["day"], second["ever"], second["shop"]) == (Quality.EXACT, Quality.EXACT, Quality.BUCKETED)


def test_an_expression_is_as_good_as_its_worst_part():
    store = MemoryEntityStore(FEATURES)
    _qualities(store, _at(100))

    (found,) = _qualities(store, _at(200))

    assert (found["both"], found["plain"]) == (Quality.BUCKETED, Quality.EXACT)


def test_a_log_that_was_full_is_saturated_for_windows_that_it_does_not_span():
    store = MemoryEntityStore(FEATURES)
    _qualities(store, *(_at(1_000 * number) for number in range(1, 10)))

    (found,) = _qualities(store, _at(10_000))

    assert (found["day"], found["ever"], found["minute"]) == (Quality.SATURATED, Quality.SATURATED, Quality.EXACT)


def test_a_late_transaction_is_late_and_one_without_the_entity_is_cold():
    store = MemoryEntityStore(FEATURES, horizon_ms=60_000)
    _qualities(store, _at(1_000), now_ms=1_000_000)

    late, without = _qualities(store, _at(900), _at(1_001, card_id=None), now_ms=1_000_000)

    assert (late["day"], late["shop"], late["plain"]) == (Quality.LATE, Quality.LATE, Quality.EXACT)
    assert (without["day"], without["shop"]) == (Quality.COLD, Quality.BUCKETED)
