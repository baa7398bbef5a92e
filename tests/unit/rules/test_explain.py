import numpy as np
import pytest

from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from tests.support.builders import a_transaction

LISTS = {"mail": ListContents(["@example.com"])}


def explanation(condition, feature=float("nan"), **fields):
    rules = load_rules(f"rule r block if {condition} on_missing fire", features=("count",), lists=LISTS)
    (row,) = rules.evaluate([a_transaction(**fields)], np.array([[feature]], np.float32))
    return row.hits[0].explanation


def test_an_explanation_is_the_condition_with_its_values():
    text = explanation(
        ":count: >= 8 and :amount: <\n    5.00 USD  # tiny\n   and not (:country: = 'FR')", feature=9, amount_minor=199
    )

    assert text == ":count:[9] >= 8 and :amount:[1.99 USD] < 5.00 USD and not (:country:['DE'] = 'FR')"


@pytest.mark.parametrize(
    ("condition", "shown", "fields"),
    [
        (":card_id: in ('tok_4111222233')", ":card_id:['***2233'] in ('…')", {"card_id": "tok_4111222233"}),
        (":user_id: = 'user_12345'", ":user_id:['***345'] = '…'", {"user_id": "user_12345"}),
        (":user_id: != 'abc'", ":user_id:['***'] != '…'", {"user_id": "u1"}),
        (":email: in @mail", ":email:['***@example.com'] in @mail", {"email": "jane@example.com"}),
        (":email: != ''", ":email:['***'] != '…'", {"email": "jane"}),
        ("lower(:email:) startswith 'jane'", "lower(:email:['***@example.com']) startswith '…'", {}),
        ("domain(:email:) = 'example.com'", "domain(:email:['***@example.com']) = 'example.com'", {}),
        (":ip: in_cidr ('203.0.113.0/24')", ":ip:['203.0.113.*'] in_cidr ('203.0.113.0/24')", {}),
        (":ip: startswith '2001'", ":ip:['2001:db8:1:*'] startswith '…'", {"ip": "2001:db8:1:2::3"}),
        (":ip: = 'x'", ":ip:['***'] = '…'", {"ip": "x"}),
        (":device_id: = :device_id:", ":device_id:['***ique'] = :device_id:['***ique']", {"device_id": "device_unique"}),
        (":latitude: > 50", ":latitude:[52.5] > 50", {}),
        ("hour(:timestamp:) = 11", "hour(:timestamp:[2026-01-15T11:59:58Z]) = 11", {}),
        (":merchant: like '%100\\%%'", ":merchant:['100% %s'] like '%100\\%%'", {"merchant": "100% %s"}),
        ("length(:merchant:) > 64", "length(:merchant:['" + "m" * 63 + "…']) > 64", {"merchant": "m" * 500}),
        (":merchant: contains 'x'", ":merchant:['x\ufffd[31m'] contains 'x'", {"merchant": "x\x1b[31m"}),
        (":balance_before: > 1", ":balance_before:[missing] > 1", {}),
        (":country: = 'FR'", ":country:[missing] = 'FR'", {"country": None}),
        (":count: > 1", ":count:[missing] > 1", {}),
    ],
)
def test_values_are_shown_for_people_and_personal_ones_masked(condition, shown, fields):
    assert explanation(condition, **fields) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(9.0, "9"), (0.1, "0.1"), (1e20, "1e+20"), (16777217.0, "16777216"), (-2.5, "-2.5")]
)
def test_numbers_are_shown_short(value, shown):
    assert explanation("is_missing(:count:) or :count: < 1 or :count: >= 1", feature=value).count(f":count:[{shown}]") == 3
