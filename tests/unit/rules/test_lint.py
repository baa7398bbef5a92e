from itertools import product
from math import nan
from random import Random

import pytest

from fraudstream.rules.implication import always, implies, never
from fraudstream.rules.lint import FindingKind, lint
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.rules.row import Row, build_row
from tests.support.builders import a_transaction

LISTS = {"cards": ListContents(["a"]), "spare": ListContents(["b"])}
TESTED = "test miss { count: 0, country: 'XX' }"


def findings(source, lists=()):
    rules = load_rules(source, features=("count", "mean"), lists=LISTS)
    return [(found.kind, found.rule_id) for found in lint(rules, lists) if found.kind is not FindingKind.UNTESTED]


@pytest.mark.parametrize(
    "condition",
    [
        ":count: > 5 and :count: < 3",
        ":count: > 5 and not :count: > 5",
        ":count: > 5 and :count: <= 5",
        ":count: between 5 and 3",
        ":country: = 'DE' and :country: in ('FR', 'ES')",
        ":amount: > 5 USD and :amount: < 5 USD",
        "5 < :count: and :count: = 5",
        "is_missing(:count:) and not is_missing(:count:)",
        ":card_id: in @cards and :card_id: not in @cards",
        "false or :count: > 5 and :count: < 3",
    ],
)
def test_a_condition_that_can_never_be_true_is_found(condition):
    assert findings(f"rule r block if {condition}") == [(FindingKind.NEVER_TRUE, "r")]


@pytest.mark.parametrize(
    "condition", ["true", "not false", "true or :count: > 1", "is_missing(:count:) or not is_missing(:count:)"]
)
def test_a_condition_that_is_always_true_is_found(condition):
    assert findings(f"rule r block if {condition}") == [(FindingKind.ALWAYS_TRUE, "r")]


@pytest.mark.parametrize(
    "condition",
    [
        ":count: > 3 and :count: < 5",
        ":count: >= 5 and :count: <= 5",
        ":count: > 5 or not :count: > 5",
        ":amount: > 5 and :amount: < 5 USD",
        ":count: in (1, 3) and :count: = 2",
        ":count: != 5",
    ],
)
def test_a_condition_that_may_go_either_way_is_left_alone(condition):
    assert findings(f"rule r block if {condition}") == []


ATOMS = (
    *(
        ":count: > 3",
        ":count: >= 3",
        "3 > :count:",
        ":count: = 3",
        ":count: != 3",
        ":count: in (1, 3)",
        ":count: between 1 and 5",
    ),
    *(
        ":amount: > 5",
        ":amount: > 5 USD",
        ":amount: <= 5 EUR",
        ":country: = 'DE'",
        ":country: != 'DE'",
        ":country: in ('DE', 'FR')",
    ),
    *(":card_id: in @cards", "is_missing(:count:)", "is_missing(:country:)", "true", "false"),
)


def test_every_proof_holds_over_all_transactions_that_matter():
    random = Random(3)
    conditions = [a_condition(random) for _ in range(120)]
    rules = load_rules(
        "\n".join(f"rule r{number} block if {condition}" for number, condition in enumerate(conditions)),
        features=("count", "mean"),
        lists=LISTS,
    ).rules
    rows = [
        Row(a_transaction(country=country, card_id=card, currency=currency, amount_minor=minor), [count, nan])
        for country, card in product(("DE", "FR", None), ("a", "b"))
        for currency, minor in product(("USD", "EUR"), (400, 500, 600))
        for count in (nan, 0.0, 1.0, 2.0, 3.0, 5.0, 6.0)
    ]
    truths = [frozenset(at for at, row in enumerate(rows) if build_row(rule.condition, LISTS)(row)) for rule in rules]

    proofs = 0
    for rule, truth in zip(rules, truths, strict=True):
        assert not never(rule.condition) or not truth
        assert not always(rule.condition) or len(truth) == len(rows)
        for other, its_truth in zip(rules, truths, strict=True):
            if implies(rule.condition, other.condition):
                proofs += 1
                assert truth <= its_truth, f"{rule.text} does not imply {other.text}"
    assert proofs > 1000


def a_condition(random, depth=0):
    if depth == 2 or random.random() < 0.3:
        return random.choice(ATOMS)
    parts = [a_condition(random, depth + 1) for _ in range(random.randint(1, 3))]
    joined = random.choice((" and ", " or ")).join(parts)
    return f"not ({joined})" if random.random() < 0.2 else f"({joined})"


def test_the_second_of_two_equal_rules_is_a_duplicate():
    source = "rule b block if :count: > 5 and :mean: < 1\nrule a block if :mean: < 1 and 5 < :count:"

    assert findings(source) == [(FindingKind.DUPLICATE, "a")]


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (":count: > 6", ":count: > 5"),
        (":count: > 5 and :mean: > 1", ":count: > 5"),
        (":count: = 7", ":count: between 5 and 9"),
        (":country: = 'DE'", ":country: in ('DE', 'FR')"),
        (":count: > 6", ":count: > 5 or :mean: > 1"),
        (":count: > 6 or :mean: > 2", ":count: > 5 or :mean: > 1"),
        (":count: in (2, 3)", ":count: in (1, 2, 3)"),
        ("not :count: <= 6", ":count: > 5"),
    ],
)
def test_a_rule_that_another_covers_is_redundant_or_unreachable(narrow, wide):
    assert findings(f"rule n block if {narrow}\nrule w block if {wide}") == [(FindingKind.REDUNDANT, "n")]
    assert findings(f"rule n review if {narrow}\nrule w allow if {wide}") == [(FindingKind.UNREACHABLE, "n")]
    assert findings(f"rule n block if {narrow}\nrule w review if {wide}") == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (":count: = 2", ":count: in (1, 3)"),
        (":amount: > 6 EUR", ":amount: > 5 USD"),
        (":amount: > 6", ":amount: > 5 USD"),
        (":count: > 6", ":mean: > 5"),
        (":count: > 6 or :mean: > 2", ":count: > 5"),
    ],
)
def test_a_rule_that_goes_further_is_left_alone(one, other):
    assert findings(f"rule a block if {one}\nrule b block if {other}") == []


@pytest.mark.parametrize("clause", ["rollout 50% by card_id", "active from 2026-01-01"])
def test_a_rule_that_is_not_always_in_force_covers_nobody(clause):
    assert findings(f"rule a block if :count: > 6\nrule b block if :count: > 5 {clause}") == []


def test_a_shadow_covers_nobody_and_a_doubt_needs_no_cover():
    assert findings("rule a block if :count: > 6\nshadow rule b block if :count: > 5") == []
    assert findings("rule a block if :count: > 6 on_missing fire\nrule b block if :count: > 5") == []


def test_a_rule_without_tests_and_a_list_without_rules_are_named():
    rules = load_rules(
        f"rule a block if :count: > 5 {TESTED}\nrule b block if :mean: > 5", features=("count", "mean"), lists=LISTS
    )

    found = lint(rules, LISTS)

    assert [(one.kind, one.rule_id, one.line) for one in found] == [
        (FindingKind.UNUSED_LIST, "", 0),
        (FindingKind.UNUSED_LIST, "", 0),
        (FindingKind.UNTESTED, "b", 2),
    ]
    assert "@cards" in found[0].message
