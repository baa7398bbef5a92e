"""
A table swept in slices says what the road says of the same transactions, rule by rule and row by row.
"""

from random import Random

import numpy as np
import pytest

from fraudstream.rules import table as tables
from fraudstream.rules import texts
from fraudstream.rules.fuzz import random_lists, random_round
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.rules.masks import COMPARE, exactly
from fraudstream.rules.random_rules import FEATURES
from fraudstream.rules.sweep import sweep
from fraudstream.rules.table import table_of
from tests.support.builders import NOW_MS, a_transaction


class WatchedWords(texts.Words):
    """
    Counts the texts that somebody wanted to see.
    """

    picked = 0

    def pick(self, codes):
        self.picked += len(codes)
        return super().pick(codes)


def fired(rules, transactions, matrix, **options):
    return {one.rule.rule_id: one.rows.tolist() for one in sweep(rules, table_of(transactions, matrix), **options)}


def fired_on_the_road(rules, transactions, matrix):
    found = {rule.rule_id: [] for rule in rules.rules}
    for row, answer in enumerate(rules.evaluate(transactions, matrix)):
        for hit in (*answer.hits, *answer.shadow_hits):
            found[hit.rule_id].append(row)
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("slice_rows", [37, 4096])
def test_a_sweep_fires_where_the_road_fires(seed, slice_rows, monkeypatch):
    monkeypatch.setattr(texts, "_ASKED_WHOLE", 2)
    monkeypatch.setattr(tables, "_LEAST_ROWS", 8)
    random = Random(seed)
    source, transactions, matrix = random_round(random)
    rules = load_rules(source, features=FEATURES, lists=random_lists(random))

    swept = fired(rules, transactions, matrix, slice_rows=slice_rows)

    assert swept == fired_on_the_road(rules, transactions, matrix)
    assert sum(map(len, swept.values())) > 0


def test_many_distinct_texts_are_asked_only_where_they_matter():
    transactions = [a_transaction(card_id=f"card_{number}", amount_minor=number) for number in range(3000)]
    lists = {"cards": ListContents(f"card_{number}" for number in range(0, 6000, 7))}
    rules = load_rules("rule r block if :amount_minor: >= 2900 and :card_id: in @cards", features=(), lists=lists)
    table = table_of(transactions, np.zeros((3000, 0), np.float32))
    words = WatchedWords(table.texts["card_id"].words.values)
    table.texts["card_id"].words = words

    (one,) = sweep(rules, table)

    assert one.rows.tolist() == [number for number in range(2900, 3000) if number % 7 == 0]
    assert 0 < words.picked <= 100


def test_rollouts_and_dates_limit_a_sweep_as_they_limit_the_road():
    source = f"""
    rule some challenge if :amount: > 0 rollout 30% by card_id
    rule lately review if :amount: > 0 active from "{np.datetime64(NOW_MS, "ms").astype("datetime64[s]")}Z"
    """
    transactions = [
        a_transaction(card_id=f"card_{number}" if number % 5 else None, occurred_at_ms=NOW_MS + (number - 100) * 1000)
        for number in range(200)
    ]
    matrix = np.zeros((200, 0), np.float32)
    rules = load_rules(source, features=())

    swept = fired(rules, transactions, matrix, slice_rows=64)

    assert swept == fired_on_the_road(rules, transactions, matrix)
    assert 0 < len(swept["some"]) < 160
    assert swept["lately"] == list(range(100, 200))


def test_one_rule_that_raises_divides_by_zero_or_misses_a_field_changes_no_other_live_and_in_a_sweep():
    steady = "rule steady review if :amount: > 1"
    troubled = """
    rule raises block if :merchant: startswith 'x' on_missing review
    rule divides block if :amount_minor: / (:amount_minor: - 1250) > 0
    rule misses block if :country: = 'DE' and :zero: > 0
    """
    features = ("zero",)
    transactions = [a_transaction(merchant=5 if number == 70 else "shop", country=None) for number in range(300)]
    matrix = np.full((300, 1), np.nan, np.float32)
    alone, together = (load_rules(source, features=features) for source in (steady, troubled + steady))

    live = together.evaluate(transactions, matrix)
    swept = {one.rule.rule_id: one for one in sweep(together, table_of(transactions, matrix), slice_rows=128)}

    assert [[hit for hit in row.hits if hit.rule_id == "steady"] for row in live] == [
        list(row.hits) for row in alone.evaluate(transactions, matrix)
    ]
    assert {hit.rule_id for row in live for hit in row.hits} == {"steady"}
    assert [place for place, row in enumerate(live) if row.errors] == [70]
    assert swept["steady"].rows.tolist() == list(range(300))
    assert {name: (len(one.rows), one.errors) for name, one in swept.items()} == {
        "raises": (0, 1),
        "divides": (0, 0),
        "misses": (0, 0),
        "steady": (300, 0),
    }


def test_a_list_of_another_time_is_asked_in_its_own_contents():
    transactions = [a_transaction(card_id=f"card_{number}") for number in range(40)]
    matrix = np.zeros((40, 0), np.float32)
    table = table_of(transactions, matrix)
    one, other = ({"cards": ListContents([name])} for name in ("card_3", "card_20"))
    rules = load_rules("rule r block if :card_id: in @cards", features=(), lists=one)

    first, second = sweep(rules, table), sweep(rules.judging_by(other, None), table, within=np.arange(10, 30))

    assert first[0].rows.tolist() == [3]
    assert second[0].rows.tolist() == [20]


def test_features_are_compared_as_they_are_stored_and_mean_what_they_mean_widened():
    random = np.random.default_rng(3)
    thresholds = [0.1, 0.5, -0.1, 1e40, -1e40, 1e-46, 16777217.0, 3.4028234663852886e38, 0.0, *random.normal(0, 1e3, 20)]
    near = [np.nextafter(np.float32(np.clip(t, -3e38, 3e38)), np.float32(way)) for t in thresholds for way in (-np.inf, np.inf)]
    values = np.array([*np.clip(thresholds, -3.4e38, 3.4e38), *near, np.nan], np.float32)

    for op, compare in COMPARE.items():
        for threshold in thresholds:
            with np.errstate(over="ignore"):
                narrow = exactly(op, threshold)(values)
            assert np.array_equal(narrow, compare(values.astype(np.float64), threshold)), (op, threshold)


def test_a_table_of_other_features_is_refused():
    rules = load_rules("rule r block if :count: > 1", features=("count",))

    with pytest.raises(ValueError, match="need 1"):
        sweep(rules, table_of([a_transaction()], np.zeros((1, 2), np.float32)))
