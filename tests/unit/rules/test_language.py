import msgspec
import pytest

from fraudstream.domain.errors import InvalidRule
from fraudstream.domain.evidence import Action
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.rules.syntax import Expression, OnMissing

FEATURES = ("card_count_1h", "card_sum_amount_minor_24h")
LISTS = {"trusted_cards": ListContents(["a"])}


def load(source):
    return load_rules(source, features=FEATURES, lists=LISTS, name="some.rules")


def refusal(source):
    with pytest.raises(InvalidRule) as caught:
        load(source)
    return str(caught.value)


def test_every_clause_is_kept():
    rules = load(
        """
        shadow rule busy_card  # a comment
          score -7.5 if :card_count_1h: >= 8
          reason "busy 'card'" tags velocity, card priority 3 on_missing review guard max_rate 0.5%
          rollout 12.5% by card_id active from 2026-01-01 until "2026-02-01T08:00:00Z"
          test hit { card_count_1h: 9 }
        """
    )

    rule = rules.rules[0]

    assert (rule.rule_id, rule.action, rule.points, rule.shadow) == ("busy_card", Action.SCORE, -7.5, True)
    assert (rule.reason, rule.tags, rule.priority) == ("busy 'card'", ("velocity", "card"), 3)
    assert (rule.on_missing, rule.guard_max_rate) == (OnMissing.REVIEW, 0.005)
    assert (rule.rollout.share, rule.rollout.field) == (1250, "card_id")
    assert (rule.active_from_ms, rule.active_until_ms) == (1_767_225_600_000, 1_769_932_800_000)
    assert (rule.text, rule.line, len(rule.tests)) == (":card_count_1h: >= 8", 1, 1)


def test_a_problem_shows_line_caret_and_the_nearest_name():
    text = refusal("# first\nrule a\n  block if :card_cnt_1h: > 3\n")

    assert text.splitlines() == [
        "some.rules:3:12: unknown attribute :card_cnt_1h:",
        "  3 |   block if :card_cnt_1h: > 3",
        "    |            ^^^^^^^^^^^^^",
        "    = did you mean :card_count_1h:?",
    ]


def test_every_problem_is_named_at_once():
    text = refusal(
        """
        rule one block if :nothing: > 1
        rule two block if :amount: >
        rule three block if :country: in @trusted_crads
        rule four block if :amount: > 5 prioriti 3
        rule five block if :amount: > 5  test miss { amount: 9 }
        """
    )

    assert [part.split(":")[1] for part in text.splitlines() if part.startswith("some.rules:")] == ["1", "3", "3", "4", "5"]
    assert "did you mean @trusted_cards?" in text
    assert "did you mean priority?" in text
    assert "rule five must miss this transaction, and hit it" in text


def test_a_failing_test_refuses_the_whole_file():
    text = refusal("rule good block if :amount: > 5\nrule bad block if :amount: > 5 test hit { amount: 4 }")

    assert "rule bad must hit this transaction, and missed it" in text


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (":country: > 'US'", "strings have no order"),
        (":country: = 5", "a string cannot be compared with a number"),
        (":amount: + :country: > 1", "one cannot calculate with a string"),
        (":amount: * :amount: > 1", "two amounts cannot be multiplied"),
        ("3 / :amount: > 1", "a number cannot be divided by an amount"),
        (":amount:", "this is an amount of money, not a condition"),
        ("(:amount: > 1) > 2", "this is a condition, where a value is needed"),
        (":amount: == 1", "write a single ="),
        (":amount: > 1 && :amount: < 2", "write and"),
        ("1 < :amount: < 2", "comparisons do not chain"),
        (":amount: > 1 AND :amount: < 2", "does not belong here"),
        ("amount > 1", "an attribute stands between colons, as in :amount:"),
        (":amount: in (1 USD)", "money cannot stand in a set"),
        (":amount: > 1.001 USD", "USD has 2 digits after the point"),
        (":amount: > 1 XXX", "unknown currency 'XXX'"),
        (":amount: > 5q", "unknown unit 'q'"),
        (":country: in trusted_cards", "a list is written @trusted_cards"),
        (":country: = @trusted_cards", "a list may stand only behind in"),
        (":ip: in_cidr ('10.0.0.0/99')", "this is no network"),
        (":amount: in_cidr ('10.0.0.0/8')", "which is a string"),
        ("hour(:amount:) > 1", "hour cannot take an amount of money"),
        ("ratio(:amount:) > 1", "ratio takes 2 values, not 1"),
        ("lowr(:email:) = 'a'", "did you mean lower?"),
        ("is_missing(:amount:, :email:)", "is_missing takes one value"),
        (":email: = 'a", "this string has no end on its line"),
        (":email: like 5", "expected a string after like"),
        (":amount: > 1 §", "has no meaning here"),
        (":email: = '" + "a" * 257 + "'", "a string has at most 256 bytes"),
        (":amount: > " + "9" * 33, "a number has at most 32 characters"),
        ("not " * 30 + "true", "nests at most 24 levels"),
        ("(" * 30 + "true" + ")" * 30, "nests at most 24 levels"),
        ("-" * 30 + "1 > 0", "nests at most 24 levels"),
        ("+".join("1" * 30) + " > 0", "has at most 24 signs"),
        (":card_id: in (" + ",".join(f"'{n}'" for n in range(401)) + ")", "at most 400 parts"),
        (" or ".join(f":amount: > {n}" for n in range(150)), "at most 400 parts"),
    ],
)
def test_what_means_nothing_is_refused_with_a_reason(condition, message):
    assert message in refusal(f"rule a block if {condition}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("rule a block if true rule a allow if true", "there are two rules a"),
        ("rule Bad block if true", "this cannot be the name of a rule"),
        ("rule a blok if true", "did you mean block?"),
        ("rule a hard allow if true", "expected 'block' after hard"),
        ("rule a score 5 if true", "points need a sign"),
        ("rule a score +500 if true", "points lie between 1 and 100"),
        ("rule a block if true on_missing maybe", "expected skip, fire or review"),
        ("rule a block if true guard max_rate 5", "is a percentage from 0% to 100%"),
        ("rule a block if true rollout 5% by amount", "a rollout cannot stick to 'amount'"),
        ("rule a block if true rollout 0.001% by card_id", "at most two digits after the point"),
        ("rule a block if true active from 2026-02-01 until 2026-01-01", "would end before it begins"),
        ("rule a block if true active from 2026-02-31", "expected a date or a time"),
        ("rule a block if true priority 1.5", "a priority is a whole number"),
        ("rule a block if true priority 1 priority 2", "already has a clause priority"),
        ("rule a block if true test hit { amuont: 5 }", "did you mean amount?"),
        ("rule a block if true test hit { amount: 'x' }", "amount holds an amount"),
        ("rule a block if true test hit { card_count_1h: 'x' }", "card_count_1h holds a number"),
        ("rule a block if true test hit { country: 5 }", "country holds a string"),
        ("rule a block if true test hit { currency: 'XXX' }", "a currency is a code of ISO 4217"),
        ("rule a block if true test hit { @other: ('x') }", "unknown list @other"),
        ("feature a = count() by card_id over 1h", "move this line to the features file"),
        ("ruel a block if true", "did you mean rule?"),
        (
            "rule a block if true\n" + "# " + "x" * 10 + "\n" + "tags " + ", ".join(["t"] * 5000),
            "a rule has at most 8192 characters",
        ),
        ("\n".join(f"rule r{n} block if true" for n in range(2001)), "at most 2000 rules"),
    ],
)
def test_a_broken_statement_is_refused_with_a_reason(source, message):
    assert message in refusal(source)


def test_the_tree_of_a_condition_survives_json():
    source = """rule a block if not (:amount: > -3 * 5.00 USD or :country: not in ("DE") and lower(:email:) like "%x" and true)
                and :ip: in_cidr @trusted_cards and :card_count_1h: between 1 and min(2, 3m)"""
    written = load(source).rules[0].written

    again = msgspec.json.decode(msgspec.json.encode(written), type=Expression)

    assert again == written


def test_a_file_without_rules_is_an_empty_set():
    assert load("# nothing yet\n").rules == ()


def test_the_id_does_not_depend_on_line_ends_or_blanks_at_line_ends():
    one = load("rule a block if true  \r\n\r\n")
    other = load("\ufeff\nrule a block if true\n")

    assert one.id == other.id
    assert len(one.id) == 64


def test_the_id_depends_on_the_text():
    assert load("rule a block if :amount: > 5").id != load("rule a block if :amount: > 6").id


def test_only_lists_that_a_rule_names_are_in_the_set():
    lists = {**LISTS, "other": ListContents(["b"])}

    rules = load_rules("rule a block if :card_id: in @trusted_cards", features=FEATURES, lists=lists)

    assert rules.lists == {"trusted_cards": LISTS["trusted_cards"].version}


def test_a_score_without_a_name_is_called_after_what_it_says():
    one = load("score +15 if :country: != 'US'").rules[0]
    same = load("score  +15  if   :country:\n != 'US'").rules[0]
    other = load("score +16 if :country: != 'US'").rules[0]

    assert one.rule_id == same.rule_id != other.rule_id
    assert one.reason == "score +15"
