"""
What conditions mean, asked of both evaluators at once.
"""

import numpy as np
import pytest

from fraudstream.domain.evidence import Action
from fraudstream.rules.columns import TOGETHER_ROWS
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from tests.support.builders import a_transaction

FEATURES = ("count", "mean_minor", "place")
LISTS = {
    "empty": ListContents([]),
    "cards": ListContents(["card_1", "card_2"]),
    "mail": ListContents(["@example.com", "bob@other.org"]),
    "nets": ListContents(["203.0.113.0/24", "198.51.100.7"]),
}
NOTHING = float("nan")


def hits_of(source, count=NOTHING, mean_minor=NOTHING, place=NOTHING, **fields):
    rules = load_rules(source, features=FEATURES, lists=LISTS)
    transactions = [a_transaction(**fields)]
    matrix = np.array([[count, mean_minor, place]], np.float32)

    by_batch, by_row = rules.evaluate(transactions, matrix), rules.evaluate_by_row(transactions, matrix)

    assert by_batch == by_row
    return by_batch[0]


def meaning(condition, **values):
    """
    Return True, False or None for unknown.
    """
    hits = hits_of(f"rule yes block if {condition}\nrule no block if not ({condition})", **values).hits
    found = [hit.rule_id for hit in hits]
    assert len(found) < 2
    return {"yes": True, "no": False}[found[0]] if found else None


TRUE, FALSE, UNKNOWN = ":amount: > 0", ":amount: < 0", ":count: > 0"


@pytest.mark.parametrize(
    ("a", "b", "both", "either", "inverse"),
    [
        (TRUE, TRUE, True, True, False),
        (TRUE, UNKNOWN, None, True, False),
        (TRUE, FALSE, False, True, False),
        (UNKNOWN, UNKNOWN, None, None, None),
        (UNKNOWN, FALSE, False, None, None),
        (FALSE, FALSE, False, False, True),
    ],
)
def test_the_table_of_kleene_holds(a, b, both, either, inverse):
    assert meaning(f"{a} and {b}") is both
    assert meaning(f"{b} and {a}") is both
    assert meaning(f"{a} or {b}") is either
    assert meaning(f"{b} or {a}") is either
    assert meaning(f"not {a}") is inverse


@pytest.mark.parametrize(
    ("condition", "values", "answer"),
    [
        (":count: = 3", {"count": 3}, True),
        (":count: != 3", {"count": 3}, False),
        (":count: != 3", {}, None),
        (":count: != 3", {"count": float("inf")}, None),
        (":count: between 3 and 5", {"count": 5}, True),
        (":count: between 3 and 5", {"count": 6}, False),
        (":count: between 3 and :mean_minor:", {"count": 2}, False),
        (":count: / 0 > 1", {"count": 3}, None),
        (":count: / :place: > 1", {"count": 3, "place": 0}, None),
        (":count: * 1e", {"count": 3}, "refused"),
        (":count: * 99999999999999999999999999999999 * :count: * :count: > 1", {"count": 3e38}, True),
        ("2 + 3 * 4 = 14", {}, True),
        ("(2 + 3) * 4 = 20", {}, True),
        ("-2 - -3 = 1", {}, True),
        (":count: < 5m", {"count": 299}, True),
        (":count: >= 50%", {"count": 0.5}, True),
        ("is_missing(:count:)", {}, True),
        ("is_missing(:count:)", {"count": 0}, False),
        ("is_missing(:country:)", {"country": None}, True),
        ("coalesce(:count:, 0) = 0", {}, True),
        ("coalesce(:country:, 'none') = 'none'", {"country": None}, True),
        ("min(:count:, 3) = 3", {"count": 9}, True),
        ("max(:count:, 3) = 9", {"count": 9}, True),
        ("max(:count:, 3) = 3", {}, None),
        ("abs(:count:) = 4", {"count": -4}, True),
        ("ratio(:count:, :place:) = 2", {"count": 6, "place": 3}, True),
        ("bucket(:count:, 10) = 20", {"count": 29}, True),
        ("bucket(:count:, 10) = -10", {"count": -1}, True),
        ("log10(:count:) = 2", {"count": 100}, True),
        ("log10(:count:) = 2", {"count": 0}, None),
        ("log10(:amount:) = 2", {"amount_minor": 100_00}, True),
        ("hour(:timestamp:) = 11", {}, True),
        ("weekday(:timestamp:) = 3", {}, True),
        ("age_days(:count:) > 20000", {"count": 0}, True),
        ("distance_km(:latitude:, :longitude:, 48.8566, 2.3522) between 870 and 885", {}, True),
        ("distance_km(:latitude:, :longitude:, 91, 0) > 0", {}, None),
        (":timestamp: >= '2026-01-15'", {}, True),
        (":timestamp: < '2026-01-15T11:59:58Z'", {}, False),
        (":country: = 'DE'", {}, True),
        (":country: = 'de'", {}, False),
        (":country: != 'DE'", {"country": None}, None),
        (":country: in ('DE', 'FR')", {}, True),
        (":country: not in ('DE', 'FR')", {}, False),
        (":country: not in ('DE', 'FR')", {"country": None}, None),
        (":count: in (1, 2)", {"count": 2}, True),
        (":count: not in (1, 2)", {}, None),
        (":card_id: in @cards", {}, True),
        (":card_id: in @empty", {}, False),
        (":card_id: in @empty", {"card_id": None}, None),
        (":email: in @mail", {"email": "anyone@EXAMPLE.com"}, True),
        (":email: in @mail", {"email": "bob@other.org"}, True),
        (":email: in @mail", {"email": "eve@other.org"}, False),
        (":email: in @mail", {"email": "eve@sub.example.com"}, False),
        (":ip: in @nets", {}, True),
        (":ip: in_cidr @nets", {"ip": "198.51.100.7"}, True),
        (":ip: in_cidr ('203.0.113.0/24')", {"ip": "::ffff:203.0.113.9"}, True),
        (":ip: in_cidr ('2001:db8::/32')", {"ip": "2001:db8::9"}, True),
        (":ip: in_cidr ('2001:db8::/32')", {}, False),
        (":ip: in_cidr ('2001:db8::/32')", {"ip": "not an address"}, None),
        (":ip: not in_cidr ('2001:db8::/32')", {}, True),
        ("lower(:email:) startswith 'jane@'", {"email": "JANE@x.org"}, True),
        ("domain(:email:) = 'x.org'", {"email": "JANE@X.org"}, True),
        ("domain(:email:) = 'x.org'", {"email": "nobody"}, None),
        ("length(:merchant:) = 2", {"merchant": "日本"}, True),
        (":merchant: endswith 'Shop'", {}, True),
        (":merchant: contains 'ple S'", {}, True),
        (":merchant: like '%Shop'", {}, True),
        (":email: = :merchant:", {"email": "same", "merchant": "same"}, True),
        ("true", {}, True),
    ],
)
def test_a_condition_means_what_the_reference_says(condition, values, answer):
    if answer == "refused":
        with pytest.raises(Exception, match="unknown unit"):
            meaning(condition, **values)
    else:
        assert meaning(condition, **values) is answer


@pytest.mark.parametrize(
    ("condition", "minor", "currency", "answer"),
    [
        (":amount: < 5.10", 509, "USD", True),
        (":amount: <= 5.10", 510, "USD", True),
        (":amount: < 5.10", 510, "USD", False),
        (":amount: < 500", 499, "JPY", True),
        (":amount: < 5", 4_999, "KWD", True),
        (":amount: < 5.00 USD", 499, "USD", True),
        (":amount: < 5.00 USD", 499, "EUR", None),
        (":amount: = 0.29", 29, "USD", True),
        (":amount: > 3 * :mean_minor:", 301, "USD", True),
        (":amount: > 3 * :mean_minor:", 300, "USD", False),
        (":mean_minor: > 99", 1, "USD", True),
        (":mean_minor: > 0.99 USD", 1, "USD", True),
        (":mean_minor: > 0.99 USD", 1, "EUR", None),
        (":amount: - :mean_minor: = 0.01", 101, "USD", True),
        (":amount: / :mean_minor: = 2", 200, "USD", True),
        (":amount: + 5 = 6", 100, "USD", True),
        (":amount_minor: = 250", 250, "USD", True),
        ("coalesce(:balance_before:, 0) = 0", 1, "USD", True),
        ("5 USD < 6 EUR", 1, "USD", None),
        ("5 USD < 6 USD", 1, "USD", True),
        ("min(:amount:, 5 USD) = 2.00 USD", 200, "USD", True),
    ],
)
def test_money_is_compared_in_the_units_that_were_written(condition, minor, currency, answer):
    assert meaning(condition, amount_minor=minor, currency=currency, mean_minor=100) is answer


def test_a_batch_of_many_currencies_takes_each_row_in_its_own():
    rules = load_rules("rule a block if :amount: >= 5\nrule b block if :amount: >= 5.00 EUR", features=())
    rows = [(500, "USD"), (499, "EUR"), (500, "EUR"), (5, "JPY"), (4, "JPY"), (5000, "KWD")]
    transactions = [a_transaction(amount_minor=minor, currency=currency) for minor, currency in rows]

    answers = rules.evaluate(transactions, np.zeros((len(rows), 0), np.float32))

    assert [[hit.rule_id for hit in row.hits] for row in answers] == [["a"], [], ["a", "b"], ["a"], [], ["a"]]


@pytest.mark.parametrize(
    ("on_missing", "expected"),
    [("skip", []), ("fire", [("r", Action.BLOCK)]), ("review", [("r", Action.REVIEW)])],
)
def test_a_rule_in_doubt_does_what_it_was_told(on_missing, expected):
    hits = hits_of(f"rule r block if :count: > 5 on_missing {on_missing}").hits

    assert [(hit.rule_id, hit.action) for hit in hits] == expected


def test_a_score_in_doubt_asks_for_review_without_points():
    (hit,) = hits_of("rule r score +20 if :count: > 5 on_missing review").hits

    assert (hit.action, hit.points) == (Action.REVIEW, 0.0)


def test_hits_stand_by_class_then_priority_then_id():
    hits = hits_of(
        """
        rule z score +5 if true        rule y review if true       rule x challenge if true
        rule c block if true           rule b block if true        rule a block if true priority 200
        rule w allow if true           rule v hard block if true   rule first block if true priority 1
        rule doubt block if :count: > 1 on_missing review priority 1
        """
    ).hits

    assert [hit.rule_id for hit in hits] == ["v", "w", "first", "b", "c", "a", "x", "doubt", "y", "z"]


def test_a_shadow_rule_never_stands_among_the_hits():
    found = hits_of("shadow rule s hard block if true rule r review if true")

    assert [hit.rule_id for hit in found.hits] == ["r"]
    assert [hit.rule_id for hit in found.shadow_hits] == ["s"]


def test_a_rule_is_in_force_from_its_first_moment_to_just_before_its_last():
    source = "rule r block if true active from 2026-01-01 until 2026-01-02"
    begin = 1_767_225_600_000
    day = 86_400_000

    fired = [bool(hits_of(source, occurred_at_ms=at).hits) for at in (begin - 1, begin, begin + day - 1, begin + day)]

    assert fired == [False, True, True, False]


def test_a_rollout_sticks_to_its_share_of_entities():
    source = "rule r block if true rollout 25% by card_id"
    rules = load_rules(source, features=())
    transactions = [a_transaction(card_id=f"card_{number}") for number in range(4000)]
    matrix = np.zeros((4000, 0), np.float32)

    first = [bool(row.hits) for row in rules.evaluate(transactions, matrix)]
    again = [bool(row.hits) for row in rules.evaluate(transactions[::-1], matrix)][::-1]

    assert first == again
    assert 0.22 < sum(first) / 4000 < 0.28


def test_a_rollout_leaves_out_who_has_no_such_field():
    assert hits_of("rule r block if true rollout 100% by card_id", card_id=None).hits == ()


def test_an_empty_batch_has_no_answers():
    rules = load_rules("rule r block if :count: > 1", features=FEATURES)

    assert rules.evaluate([], np.zeros((0, 3), np.float32)) == []


def test_a_matrix_of_another_shape_is_refused():
    rules = load_rules("rule r block if :count: > 1", features=FEATURES)

    with pytest.raises(ValueError, match=r"shape \(1, 2\), these rules need \(1, 3\)"):
        rules.evaluate([a_transaction()], np.zeros((1, 2), np.float32))


def test_the_answer_of_a_row_does_not_depend_on_its_neighbours():
    source = "rule a block if :country: = 'DE' and :amount: > 5 USD\nrule b review if domain(:email:) = 'x.org' or :count: > 2"
    rules = load_rules(source, features=FEATURES)
    transactions = [
        a_transaction(country=country, email=email, currency=currency)
        for country in ("DE", None)
        for email in ("a@x.org", "b")
        for currency in ("USD", "EUR")
    ]
    matrix = np.array([[number, 0, 0] for number in range(len(transactions))], np.float32)

    together = rules.evaluate(transactions, matrix)

    assert together == [rules.evaluate([one], matrix[at : at + 1])[0] for at, one in enumerate(transactions)]


def test_a_large_batch_says_what_small_ones_say():
    source = "rule a block if :count: > 2 and :place: <= 5\nrule b review if not :count: >= 3 or :count: > 2 on_missing fire"
    rules = load_rules(source, features=FEATURES)
    transactions = [a_transaction() for _ in range(TOGETHER_ROWS + 1)]
    matrix = np.random.default_rng(1).choice([0.0, 2.0, 3.0, 5.0, 6.0, np.nan], (len(transactions), 3)).astype(np.float32)

    large = rules.evaluate(transactions, matrix)

    assert large == [
        row for at in range(0, len(large), 500) for row in rules.evaluate(transactions[at : at + 500], matrix[at : at + 500])
    ]
