"""
The rules that ship: they load over the features that ship, and each carries what an analyst needs.
"""

from pathlib import Path

import numpy as np
import pytest

from fraudstream.domain.evidence import Action
from fraudstream.features.load import load_features
from fraudstream.rules.lint import lint
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_lists, load_rules_file
from tests.support.builders import a_transaction

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def lists():
    return load_lists(MODELS / "lists")


@pytest.fixture(scope="module")
def rules(lists):
    features = load_features((MODELS / "default.features").read_text()).names
    return load_rules_file(MODELS / "default.rules", features=features, lists=lists)


def test_at_least_ten_rules_ship_and_every_class_is_among_them(rules):
    assert len(rules.rules) >= 10
    assert {rule.action for rule in rules.rules} == set(Action)
    assert any(rule.shadow for rule in rules.rules)


def test_every_shipped_rule_has_reason_tags_and_both_tests(rules):
    for rule in rules.rules:
        assert rule.reason != rule.rule_id.replace("_", " ")
        assert rule.tags
        assert {test.hit for test in rule.tests} == {True, False}


def test_every_shipped_rule_that_stops_a_payment_has_a_guard(rules):
    stopping = [
        rule for rule in rules.rules if rule.action in (Action.BLOCK, Action.CHALLENGE, Action.REVIEW) and not rule.shadow
    ]

    assert [rule.rule_id for rule in stopping if rule.guard_max_rate is None] == []


def test_the_linter_has_nothing_to_say_of_the_shipped_rules(rules, lists):
    assert lint(rules, lists) == []


def test_the_shipped_rules_hold_when_the_lists_are_emptied(lists):
    features = load_features((MODELS / "default.features").read_text()).names

    rules = load_rules_file(MODELS / "default.rules", features=features, lists={name: ListContents([]) for name in lists})

    assert set(rules.lists) == set(lists)


def test_an_ordinary_payment_without_history_meets_no_rule(rules):
    matrix = np.full((1, len(rules.features)), np.nan, np.float32)

    (row,) = rules.evaluate([a_transaction()], matrix)

    assert (row.hits, row.shadow_hits, row.errors) == ((), (), ())


def test_a_sanctioned_country_is_blocked_whatever_allows(rules):
    matrix = np.full((1, len(rules.features)), np.nan, np.float32)

    (row,) = rules.evaluate([a_transaction(country="KP", card_id="card_trusted_example_1")], matrix)

    assert [(hit.rule_id, hit.action) for hit in row.hits] == [
        ("sanctioned_country", Action.HARD_BLOCK),
        ("trusted_card", Action.ALLOW),
    ]
