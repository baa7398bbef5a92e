"""
One rule that fails costs nobody else anything.
"""

import numpy as np

from fraudstream.rules.load import load_rules
from fraudstream.rules.ruleset import count_errors
from tests.support.builders import a_transaction

SOURCE = """
rule fragile block if :merchant: startswith 'x' on_missing review
rule steady review if :amount: > 1
rule rolled challenge if :amount: > 1 rollout 100% by device_id
"""


def answers(*transactions):
    rules = load_rules(SOURCE, features=())
    matrix = np.zeros((len(transactions), 0), np.float32)
    by_batch = rules.evaluate(transactions, matrix)
    assert by_batch == rules.evaluate_by_row(transactions, matrix)
    return by_batch


def test_a_rule_that_raises_on_one_transaction_still_serves_the_others():
    broken = a_transaction(merchant=5)

    rows = answers(a_transaction(merchant="xy"), broken, a_transaction(merchant="ab"), a_transaction(merchant=None))

    assert [[hit.rule_id for hit in row.hits] for row in rows] == [
        ["fragile", "rolled", "steady"],
        ["rolled", "steady"],
        ["rolled", "steady"],
        ["rolled", "fragile", "steady"],
    ]
    assert [row.errors for row in rows] == [(), ("fragile",), (), ()]
    assert count_errors(rows) == {"fragile": 1}


def test_a_currency_that_does_not_exist_fails_only_the_rules_that_need_it():
    (row,) = answers(a_transaction(merchant="xy", currency="???"))

    assert row.errors == ("rolled", "steady")
    assert [hit.rule_id for hit in row.hits] == ["fragile"]


def test_a_rollout_key_that_is_no_valid_text_still_has_its_place():
    (row,) = answers(a_transaction(device_id="\ud800"))

    assert [hit.rule_id for hit in row.hits] == ["rolled", "steady"]


def test_a_value_that_cannot_be_shown_does_not_cost_the_hit():
    rules = load_rules("rule r block if :amount: > 5 USD or :country: = 'DE'", features=())

    (row,) = rules.evaluate([a_transaction(currency="???")], np.zeros((1, 0), np.float32))

    assert [hit.explanation for hit in row.hits] == ["the values cannot be shown"]
