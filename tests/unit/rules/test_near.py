"""
Near misses: which rules are one condition short, and how far.
"""

import numpy as np
import pytest

from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.rules.near import near_misses
from tests.support.builders import a_transaction

FEATURES = ("count", "speed")
LISTS = {"cards": ListContents(["card_9"])}


def near(source, *, count=7.0, speed=np.nan, **fields):
    rules = load_rules(source, features=FEATURES, lists=LISTS)
    return near_misses(rules, a_transaction(**fields), np.array([count, speed], np.float32))


def test_a_rule_one_condition_short_says_which_and_how_far():
    (miss,) = near("rule r block if :count: >= 8 and :amount: < 20")

    assert miss.condition == ":count:[7] >= 8"
    assert (miss.gap, miss.relative) == (1.0, 0.125)
    assert miss.words == "1 from the threshold"


def test_money_is_short_by_money():
    (miss,) = near("rule r block if :amount: < 12.50", amount_minor=1250)
    (other,) = near("rule r block if :amount: > 14.60 USD", amount_minor=1250)

    assert miss.words == "exactly on the threshold"
    assert other.words == "2.10 USD from the threshold"


@pytest.mark.parametrize(
    "condition",
    [
        ":count: >= 8 and :amount: > 500",
        ":count: = 7",
        "(:count: > 9 and :amount: > 500) or (:count: > 9 and :country: = 'FR')",
    ],
)
def test_a_rule_that_fires_or_is_two_conditions_short_is_no_near_miss(condition):
    assert near(f"rule r block if {condition}") == []


def test_the_nearest_way_through_an_or_counts():
    (miss,) = near("rule r block if (:count: > 9 and :amount: > 500) or (:count: > 6 and :country: = 'FR')")

    assert miss.condition == ":country:['DE'] = 'FR'"
    assert (miss.gap, miss.words) == (None, "another value is needed")


def test_a_missing_value_is_named_as_missing():
    (miss,) = near("rule r block if :speed: > 900 and :count: > 1")

    assert (miss.condition, miss.words) == (":speed:[missing] > 900", "a value is missing")


def test_denials_and_ranges_are_looked_through():
    between, denied = near(
        "rule a block if not (:count: > 6 or :amount: > 500) rule b block if :count: between 8 and 9", count=7.0
    )

    assert (denied.condition, denied.gap) == ("not :count:[7] > 6", 1.0)
    assert (between.condition, between.gap) == (":count:[7] between 8 and 9", 1.0)


def test_the_nearest_stands_first_and_personal_values_are_masked():
    first, second, last = near(
        "rule far block if :count: > 700 rule near block if :count: > 7.5 rule listed block if :card_id: in @cards",
        card_id="card_4711",
    )

    assert [first.rule_id, second.rule_id, last.rule_id] == ["near", "far", "listed"]
    assert last.condition == ":card_id:['***711'] in @cards"
    assert "4711" not in last.condition


def test_rules_that_are_not_in_force_for_it_are_left_out():
    assert near('rule r block if :count: > 8 active until "2020-01-01"') == []
