"""
The backtest: recorded rows from Arrow, who can be judged, what is new, and how sure the figures are.
"""

import re
from datetime import UTC, datetime

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.errors import InvalidRule, InvalidSource
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.rules.sweep import sweep
from fraudstream.training.backtest import DAY_MS, backtest, sides_of
from fraudstream.training.backtest_html import page
from fraudstream.training.backtest_report import report
from fraudstream.training.intervals import sum_interval, wilson
from fraudstream.training.payments import FRAUD, LEGITIMATE, UNKNOWN, UNSURE, RecordedTable, payments_of, truths
from tests.support.builders import NOW_MS

FEATURES = ("count", "speed")
OLD_MS = NOW_MS - 100 * DAY_MS
POLICY = DecisionPolicy()


def recorded(rows, truth=None):
    """
    Return rows as an export has them; what a row does not say is plain.
    """
    plain = {
        "transaction_id": "txn", "amount_minor": 1000, "currency": "USD", "occurred_at": OLD_MS, "card_id": "card_1",
        "country": "DE", "outcome": "approve", "probability": 0.1, "feature_set": "f", "count": 0.0, "speed": np.nan,
        "lists": None,
    }  # fmt: skip
    whole = [{**plain, "transaction_id": f"txn_{at}", **row} for at, row in enumerate(rows)]
    columns = {name: [row[name] for row in whole] for name in plain if name not in ("count", "speed")}
    columns["occurred_at"] = pa.array(columns["occurred_at"], pa.timestamp("ms", tz="UTC"))
    columns["vector"] = [np.array([row["count"], row["speed"]], "<f4").tobytes() for row in whole]
    for name in ("card_id", "country", "currency", "outcome", "lists"):
        columns[name] = pa.array(columns[name], pa.string())
    table = pa.table(columns)
    return RecordedTable(table, np.array(truth or [UNKNOWN] * len(rows), np.int8))


def payments(rows, truth=None):
    return payments_of(recorded(rows, truth), "f", FEATURES)


def tried(source, paid, baseline="", **options):
    """
    Return the report of a backtest, the baseline in front of the candidate.
    """
    before = load_rules(baseline or "rule nothing score +1 if false", features=FEATURES)
    after = load_rules((baseline or "rule nothing score +1 if false") + "\n" + source, features=FEATURES)
    chosen = {"known_at_ms": float(NOW_MS), "maturity_days": 60.0, **options}
    return report(backtest(after, before, paid, POLICY, **chosen), **chosen)


def test_recorded_rows_become_the_very_transactions_that_were_decided():
    rows = [{"card_id": None, "country": "FR", "count": 3.0}, {"amount_minor": 77, "currency": "JPY", "speed": 9.5}]

    found = payments(rows)

    one, other = found.table.transaction(0), found.table.transaction(1)
    assert (one.transaction_id, one.card_id, one.country, one.occurred_at_ms) == ("txn_0", None, "FR", OLD_MS)
    assert (other.amount_minor, other.currency, other.card_id) == (77, "JPY", "card_1")
    assert found.table.features.tolist()[0][0] == 3.0
    assert found.table.features[1, 1] == np.float32(9.5)


@pytest.mark.parametrize("dictionary", [False, True])
def test_arrow_columns_fire_the_rules_that_the_transactions_fire(dictionary):
    random = np.random.default_rng(5)
    rows = [
        {"card_id": f"card_{random.integers(0, 900)}" if random.random() < 0.9 else None, "count": float(random.integers(0, 9)),
         "country": str(random.choice(["DE", "FR", "US"])), "amount_minor": int(random.integers(1, 90_000))}
        for _ in range(700)
    ]  # fmt: skip
    table = recorded(rows)
    if dictionary:
        coded = table.rows
        for name in ("card_id", "country", "currency"):
            coded = coded.set_column(coded.column_names.index(name), name, coded[name].dictionary_encode())
        table = RecordedTable(coded, table.truth)
    found = payments_of(table, "f", FEATURES)
    source = """
    rule listed block if :count: > 5 and :card_id: in @cards
    rule missing review if is_missing(:card_id:) or :country: != 'DE' and :amount: > 400
    rule shaped challenge if lower(:card_id:) like 'card_1%' and not :country: in ('FR', 'US')
    rule long score +5 if length(:card_id:) > 7 rollout 50% by card_id
    """
    lists = {"cards": ListContents([f"card_{number}" for number in range(0, 900, 3)] + ["\ud800"])}
    rules = load_rules(source, features=FEATURES, lists=lists)

    swept = {one.rule.rule_id: one.rows.tolist() for one in sweep(rules, found.table, slice_rows=256)}

    road = rules.evaluate([found.table.transaction(row) for row in range(700)], found.table.features)
    assert swept == {
        rule.rule_id: [row for row, hits in enumerate(road) if rule.rule_id in {hit.rule_id for hit in hits.hits}]
        for rule in rules.rules
    }
    assert all(swept.values())


def test_only_payments_that_are_old_enough_are_judged():
    young = NOW_MS - 30 * DAY_MS
    paid = payments(
        [{}, {}, {}, {"outcome": "block"}, {"outcome": "block"}, {"occurred_at": young}, {"occurred_at": young}],
        [UNKNOWN, FRAUD, UNSURE, UNKNOWN, LEGITIMATE, FRAUD, UNKNOWN],
    )

    sides = sides_of(paid, known_at_ms=NOW_MS, maturity_days=60)

    assert sides.honest.nonzero()[0].tolist() == [0, 4]
    assert sides.fraud.nonzero()[0].tolist() == [1]
    assert sides.unknown.nonzero()[0].tolist() == [2, 3]
    assert sides.immature.nonzero()[0].tolist() == [5, 6]


def test_the_report_counts_what_is_new_beside_what_was_there():
    young = {"occurred_at": NOW_MS - DAY_MS}
    rows = [
        {"count": 9, "amount_minor": 5000}, {"count": 9, "speed": 2, "amount_minor": 700}, {"speed": 2}, {"amount_minor": 30},
        {"count": 9, "amount_minor": 900}, {"speed": 2}, {}, {"count": 9, **young}, {"count": 9, **young},
    ]  # fmt: skip
    truth = [FRAUD, FRAUD, FRAUD, FRAUD, LEGITIMATE, LEGITIMATE, UNKNOWN, FRAUD, UNKNOWN]

    told = tried("rule busy review if :count: > 5", payments(rows, truth), baseline="rule fast block if :speed: > 1")

    counted = {
        name: getattr(told, name).payments for name in ("new_catches", "already_caught", "missed", "new_false_positives")
    }
    assert counted == {"new_catches": 1, "already_caught": 2, "missed": 1, "new_false_positives": 1}
    assert [(one.currency, one.minor) for one in told.new_catches.money] == [("USD", 5000)]
    assert [(one.currency, one.minor) for one in told.new_false_positives.money] == [("USD", 900)]
    assert (told.judged, told.frauds, told.immature, told.immature_flagged, told.immature_frauds) == (7, 4, 2, 2, 1)
    busy = next(rule for rule in told.rules if rule.rule_id == "busy")
    assert (busy.changed, busy.hits, busy.fraud, busy.honest, busy.immature, busy.new_catches) == (True, 5, 2, 1, 2, 1)
    assert [(one.rule_id, one.shared) for one in busy.overlaps] == [("fast", 1)]
    assert told.precision_of_new == wilson(1, 2)
    assert {one.kind: (one.transaction_id, one.explanation) for one in told.examples} == {
        "new catch": ("txn_0", ":count:[9] > 5"),
        "new false positive": ("txn_4", ":count:[9] > 5"),
    }
    assert sum(day.new_catches for day in told.days) == 1
    assert sum(day.payments for day in told.days) == 9


def test_a_false_positive_among_the_young_is_not_counted_as_one():
    rows = [{"count": 9, "occurred_at": NOW_MS - 10 * DAY_MS}] * 5

    told = tried("rule busy review if :count: > 5", payments(rows))

    assert told.new_false_positives.payments == 0
    assert told.immature_flagged == 5
    assert any("too young" in note for note in told.notes)


def test_a_rule_that_allows_loses_catches_and_frees_honest_payments():
    rows = [{"speed": 2, "country": "FR"}, {"speed": 2, "country": "FR"}, {"speed": 2}]

    told = tried(
        "rule trust allow if :country: = 'FR'",
        payments(rows, [FRAUD, LEGITIMATE, FRAUD]),
        baseline="rule fast block if :speed: > 1",
    )

    assert (told.lost_catches.payments, told.freed.payments, told.already_caught.payments) == (1, 1, 1)
    assert (told.stricter, told.milder) == (0, 2)


def test_a_shadow_rule_is_counted_and_has_no_say():
    told = tried("shadow rule busy block if :count: > 5", payments([{"count": 9}], [FRAUD]))

    assert told.new_catches.payments == 0
    assert [(rule.shadow, rule.hits, rule.new_catches) for rule in told.rules if rule.rule_id == "busy"] == [(True, 1, 1)]


def test_the_model_s_recorded_opinion_counts_as_caught_already():
    told = tried("rule busy review if :count: > 5", payments([{"count": 9, "probability": 0.97}], [FRAUD]))

    assert (told.already_caught.payments, told.new_catches.payments) == (1, 0)


def test_one_rule_that_fails_in_a_backtest_is_named_and_costs_the_others_nothing():
    paid = payments([{"count": 9, "currency": "???"}, {"count": 9}], [FRAUD, FRAUD])
    rules = load_rules("rule busy review if :count: > 5 rule rich block if :amount: > 1", features=FEATURES)
    chosen = {"known_at_ms": float(NOW_MS), "maturity_days": 60.0}

    found = backtest(rules, rules, paid, POLICY, **chosen)

    assert {one.rule.rule_id: (one.rows.tolist(), one.errors) for one in found.candidate.fired} == {
        "rich": ([1], 1),
        "busy": ([0, 1], 0),
    }
    assert found.candidate.flagged.tolist() == [True, True]


def test_payments_are_judged_by_the_lists_that_they_were_decided_with():
    then, now = ListContents(["card_1"]), ListContents(["card_2"])
    told = msgspec.json.encode({"cards": then.version}).decode()
    lost = msgspec.json.encode({"cards": "0" * 16}).decode()
    rows = [{"card_id": card, "lists": lists} for lists in (told, None, lost) for card in ("card_1", "card_2")]
    rules = load_rules("rule r block if :card_id: in @cards", features=FEATURES, lists={"cards": now})

    found = backtest(
        rules, None, payments(rows), POLICY, known_at_ms=NOW_MS, list_at=lambda _, version: {then.version: then}.get(version)
    )

    assert found.candidate.fired[0].rows.tolist() == [0, 3, 5]
    assert len(found.notes) == 1
    assert "0000000000000000" in found.notes[0]


def test_the_same_rule_in_both_sets_is_no_change_and_a_new_threshold_is_one():
    paid = payments([{"count": 9}], [FRAUD])
    chosen = {"known_at_ms": float(NOW_MS), "maturity_days": 60.0}
    old = load_rules("rule a block if :count: > 5 rule b block if :count: > 7 rule c block if :count: > 8", features=FEATURES)
    new = load_rules("# moved\nrule b block if :count: > 6 rule a block if :count:   > 5", features=FEATURES)

    found = backtest(new, old, paid, POLICY, **chosen)

    assert (found.changed, found.removed) == (("b",), ("c",))


def test_rows_of_other_features_and_without_a_vector_are_left_out_and_counted():
    table = recorded([{}, {"feature_set": "other"}, {}], [FRAUD, FRAUD, LEGITIMATE])
    vectors = table.rows["vector"].to_pylist()
    emptied = table.rows.set_column(
        table.rows.column_names.index("vector"), "vector", pa.array([vectors[0], vectors[1], b""], pa.binary())
    )

    found = payments_of(RecordedTable(emptied, table.truth), "f", FEATURES)

    assert len(found) == 1
    assert found.truth.tolist() == [FRAUD]
    assert found.left_out == {"no vector was recorded": 1, "another feature set": 1}


def test_rows_that_are_no_decisions_are_refused_with_the_command_that_makes_some():
    with pytest.raises(InvalidSource, match="decisions export"):
        payments_of(RecordedTable(pa.table({"transaction_id": ["a"]}), np.zeros(1, np.int8)), "f", FEATURES)


def test_decisions_that_were_never_made_cannot_be_the_baseline():
    table = recorded([{}])
    paid = payments_of(RecordedTable(table.rows.drop_columns(["outcome"]), table.truth), "f", FEATURES)

    with pytest.raises(InvalidRule, match="baseline"):
        backtest(load_rules("rule a block if true", features=FEATURES), None, paid, POLICY, known_at_ms=NOW_MS)


def test_labels_win_over_the_column_of_the_file():
    table = pa.table({"transaction_id": ["a", "b", "c"], "is_fraud": [True, False, None]})

    assert truths(table).tolist() == [FRAUD, LEGITIMATE, UNKNOWN]
    assert truths(table, {"a": "legitimate", "c": "unsure"}).tolist() == [LEGITIMATE, LEGITIMATE, UNSURE]


def test_intervals_hold_what_they_promise():
    random = np.random.default_rng(1)
    shares = [wilson(int(random.binomial(40, 0.1)), 40) for _ in range(2000)]
    covered = np.mean([one.low <= 0.1 <= one.high for one in shares])
    sums = [random.exponential(100.0, random.poisson(150)) for _ in range(50)]
    holds = [low <= 15_000 <= high for low, high in (sum_interval(one, seed) for seed, one in enumerate(sums))]

    assert 0.92 < covered < 0.98
    assert 0.86 < np.mean(holds) <= 1.0
    assert wilson(0, 0).share is None
    assert (wilson(0, 10).low, wilson(10, 10).high) == (0.0, 1.0)
    assert sum_interval(np.zeros(0)) == (0.0, 0.0)
    low, high = sum_interval(np.full(5000, 10.0))
    assert low < 50_000 < high


def test_the_page_stands_alone_and_escapes_what_others_wrote():
    told = tried("rule busy review if :count: > 5", payments([{"count": 9, "transaction_id": "<script>x"}], [FRAUD]))

    written = page(told, "Backtest of <my> rules")

    assert "<svg" in written
    assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)|<link|@import|url\(", written)
    assert "&lt;script&gt;x" in written
    assert datetime.fromtimestamp(OLD_MS / 1000, UTC).strftime("%m-%d") in written
    assert written == page(told, "Backtest of <my> rules")
