"""
The batch evaluator against the row evaluator: conditions, and whole hits with their order and explanation.
"""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.rules.fuzz import compare, fuzz, random_round
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.rules.random_rules import FEATURES, LISTS, TEXTS, random_rules
from tests.support.builders import a_transaction

LIST_CONTENTS = {name: ListContents(entries) for name, entries in LISTS.items()}
texts = st.none() | st.sampled_from(TEXTS) | st.text(max_size=12)
amounts = st.integers(0, 10**12)
balances = st.none() | st.integers(-(10**12), 10**12)
features = st.floats(width=32) | st.sampled_from([0.0, 1.0, 3.0, 5.0, 0.1, float("nan")])


@st.composite
def transactions(draw):
    return a_transaction(
        amount_minor=draw(amounts),
        currency=draw(st.sampled_from(["USD", "EUR", "JPY", "KWD"])),
        occurred_at_ms=draw(st.integers(0, 2**32 * 1000 - 1)),
        latitude=draw(st.none() | st.floats(-90, 90)),
        longitude=draw(st.none() | st.floats(-180, 180)),
        balance_before_minor=draw(balances),
        balance_after_minor=draw(balances),
        **{name: draw(texts) for name in ("country", "card_id", "email", "ip", "merchant", "channel", "type", "device_id")},
    )


@settings(max_examples=150, deadline=None)
@given(
    st.randoms(use_true_random=False),
    st.lists(st.tuples(transactions(), st.lists(features, min_size=6, max_size=6)), min_size=1, max_size=6),
)
def test_no_rule_and_no_transaction_tells_the_evaluators_apart(random, rows):
    rules = load_rules(random_rules(random, 4), features=FEATURES, lists=LIST_CONTENTS)
    matrix = np.array([vector for _, vector in rows], np.float32)

    assert compare(rules, [transaction for transaction, _ in rows], matrix) == []


@pytest.mark.parametrize("seed", [1, 2])
def test_the_fuzz_finds_no_disagreement(seed):
    checks, disagreements = fuzz(100_000, seed)

    assert checks >= 100_000
    assert disagreements == 0


def test_the_fuzz_finds_a_planted_disagreement():
    source, rows, matrix = random_round(Random(7))
    rules = load_rules(source, features=FEATURES, lists=LIST_CONTENTS)
    other = load_rules(source.replace(" not in ", " in "), features=FEATURES, lists=LIST_CONTENTS)
    mixed = [
        type(one)(one.rule, one.condition, two.verdict, one.explain) for one, two in zip(rules.ready, other.ready, strict=True)
    ]
    planted = replace(rules, ready=tuple(mixed))

    assert compare(planted, rows, matrix) != []


def test_a_seed_gives_the_same_rules_and_transactions():
    one, other = random_round(Random(5)), random_round(Random(5))

    assert one[:2] == other[:2]
    assert np.array_equal(one[2], other[2], equal_nan=True)


def test_random_rules_reach_every_answer():
    source, rows, matrix = random_round(Random(11))
    rules = load_rules(source, features=FEATURES, lists=LIST_CONTENTS)

    hits = [hit for row in rules.evaluate(rows, matrix) for hit in row.hits]

    assert len({hit.action for hit in hits}) == 6
    assert 0 < len(hits) < len(rows) * len(rules.rules)
