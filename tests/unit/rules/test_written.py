"""
Rules over payments in which tokens stand for people: who is written out in them, or on their lists, is met.
"""

import numpy as np
import pytest

from fraudstream.domain.errors import InvalidRule
from fraudstream.domain.tokens import Tokens
from fraudstream.rules.lists import ListContents, read_list
from fraudstream.rules.load import load_rules
from tests.support.builders import a_transaction

TOKENS = Tokens(b"0123456789abcdef")
JANE, MAX = "Jane.Doe@example.com", "max@example.org"


def hits(source: str, lists: dict[str, ListContents] | None = None, **fields: object) -> list[str]:
    rules = load_rules(source, features=(), lists=lists or {}, written=TOKENS.text)
    matrix = np.zeros((1, 0), np.float32)
    (found,) = rules.evaluate([TOKENS.transaction(a_transaction(**fields))], matrix)
    return [hit.rule_id for hit in found.hits]


@pytest.mark.parametrize(
    "condition",
    [
        f':email: = "{JANE}"',
        f':email: in ("{JANE}", "x@y.org")',
        f'not (:email: != "{JANE}")',
        f':amount: > 1 USD and (:email: = "{JANE}" or :email: = "{MAX}")',
        f'lower(:email:) = "{JANE.lower()}"',
        'domain(:email:) = "example.com"',
        f':merchant: = "call {JANE}"',
    ],
)
def test_somebody_who_is_written_out_is_met(condition: str) -> None:
    source = f"rule it review if {condition}\n"

    assert hits(source, email=JANE, merchant=f"call {JANE}", amount_minor=500) == ["it"]
    assert hits(source, email="other@example.net", merchant="call nobody", amount_minor=500) == []


def test_tests_beside_a_rule_are_in_the_words_of_people() -> None:
    source = f'rule it review if :email: in @watched\n  test hit {{ email: "{MAX}" }}\n  test miss {{ email: "{JANE}" }}\n'

    assert hits(source, {"watched": read_list(MAX, TOKENS.text)}, email=MAX) == ["it"]
    with pytest.raises(InvalidRule, match="must hit"):
        hits(source, {"watched": read_list(MAX)}, email=MAX)


def test_what_is_written_out_does_not_change_which_rules_they_are() -> None:
    source = f'rule it review if :email: = "{JANE}"\n  test hit {{ email: "{JANE}" }}\n'

    assert load_rules(source, features=(), written=TOKENS.text).id == load_rules(source, features=()).id
