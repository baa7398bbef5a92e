import pytest

from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.rules.guard import FEWEST_SEEN, Guards, fingerprint
from fraudstream.rules.load import load_rules
from fraudstream.rules.ruleset import RowHits

SOURCE = """
rule watched block if :amount: < 5 guard max_rate 1%
rule free block if :amount: < 5
shadow rule asleep block if :amount: < 5 guard max_rate 1%
"""
HITS = {rule_id: RuleHit(rule_id=rule_id, action=Action.BLOCK) for rule_id in ("watched", "free", "asleep")}


def guards():
    return Guards(load_rules(SOURCE, features=()))


def rows(count, *, every, rule_id="watched"):
    return [RowHits(hits=(HITS[rule_id],)) if number % every == 0 else RowHits() for number in range(count)]


def test_a_rule_far_above_its_guard_trips_and_says_how_far():
    guard = guards()
    guard.count(rows(2_000, every=20))

    (trip,) = guard.tripped()

    assert (trip.rule_id, trip.max_rate) == ("watched", 0.01)
    assert trip.rate == pytest.approx(0.05, abs=0.001)
    assert trip.text == "watched fired on 5.00% of payments, its guard is 1.00%"


@pytest.mark.parametrize("every", [100, 80])
def test_a_rule_at_its_guard_or_a_little_above_by_chance_does_not_trip(every):
    guard = guards()
    for _ in range(20):
        guard.count(rows(2_000, every=every))

        assert guard.tripped() == []


def test_nothing_trips_on_the_first_few_payments():
    guard = guards()

    guard.count(rows(FEWEST_SEEN - 1, every=1))
    before = guard.tripped()
    guard.count(rows(100, every=1))

    assert before == []
    assert [trip.rule_id for trip in guard.tripped()] == ["watched"]


def test_rules_without_a_guard_and_rules_in_shadow_never_trip():
    guard = guards()
    guard.count(rows(2_000, every=1, rule_id="free"))
    guard.count(rows(2_000, every=1, rule_id="asleep"))

    assert guard.tripped() == []


def test_an_old_burst_is_forgotten():
    guard = guards()
    guard.count(rows(2_000, every=20))
    for _ in range(20):
        guard.count(rows(2_000, every=3_000))

    assert guard.tripped() == []


def test_a_rule_that_fires_far_more_often_than_in_its_backtest_trips_without_a_guard():
    rules = load_rules(SOURCE, features=())
    guard = Guards(rules, {fingerprint(rule): 0.002 for rule in rules.rules})
    guard.count([*rows(2_000, every=20, rule_id="free"), *rows(2_000, every=100, rule_id="asleep")])

    (trip,) = guard.tripped()

    assert (trip.rule_id, trip.max_rate, trip.backtested) == ("free", 0.01, 0.002)
    assert trip.text.endswith("its backtest said 0.200%, and 1.00% is the most that this allows")


def test_a_rule_that_never_fired_in_its_backtest_may_fire_now_and_then():
    rules = load_rules(SOURCE, features=())
    guard = Guards(rules, {fingerprint(rule): 0.0 for rule in rules.rules})

    guard.count(rows(20_000, every=500, rule_id="free"))

    assert guard.tripped() == []


def test_a_backtest_counts_for_a_rule_however_it_is_called_and_for_no_other():
    one, renamed, shadowed, other = [
        fingerprint(load_rules(source, features=()).rules[0])
        for source in (
            "rule a block if :amount: < 5 reason 'x'",
            "rule b block if  :amount:   < 5 guard max_rate 1%",
            "shadow rule a block if :amount: < 5",
            "rule a block if :amount: < 6",
        )
    ]

    assert one == renamed == shadowed
    assert one != other
