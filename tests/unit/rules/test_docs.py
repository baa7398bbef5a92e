"""
The language reference: every example in it loads, and what it claims is so.
"""

from pathlib import Path

import numpy as np
import pytest

from fraudstream.domain.errors import InvalidRule
from fraudstream.features.load import load_features
from fraudstream.rules.functions import FUNCTIONS
from fraudstream.rules.load import load_lists, load_rules
from fraudstream.rules.vocabulary import FIELDS
from tests.support.builders import a_transaction

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "rules.md").read_text()
FEATURES = load_features((ROOT / "models" / "default.features").read_text()).names
LISTS = load_lists(ROOT / "models" / "lists")


def blocks(language):
    return [part.partition("\n```")[0] for part in TEXT.split(f"```{language}\n")[1:]]


def load(source, name="<docs>"):
    return load_rules(source, features=FEATURES, lists=LISTS, name=name)


@pytest.mark.parametrize("source", blocks("rules"))
def test_every_example_loads_and_passes_its_tests(source):
    assert load(source).rules


def test_the_examples_fit_together_in_one_file():
    whole = "\n".join(blocks("rules"))

    assert len(load(whole).rules) == whole.count("\nrule ") + whole.count("shadow rule ") + whole.count("\nscore ")


def test_the_explanation_shown_is_what_a_hit_says():
    rules = load(blocks("rules")[0])
    matrix = np.full((1, len(FEATURES)), np.nan, np.float32)
    matrix[0, FEATURES.index("card_small_count_1h")] = 7

    (row,) = rules.evaluate([a_transaction(amount_minor=100)], matrix)

    assert [hit.explanation for hit in row.hits] == [blocks("text")[0]]


def test_the_error_shown_is_what_a_mistake_gets():
    with pytest.raises(InvalidRule) as caught:
        load("# first\nrule a\n  block if :card_cnt_1h: > 3", name="my.rules")

    assert str(caught.value) == blocks("text")[1]


def test_the_table_of_kleene_is_what_the_language_does():
    words = {"true": "true", "false": "false", "unknown": ":card_count_1h: > 0"}
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| ")]
    table = [row for row in rows if len(row) == 5 and set(row) <= set(words)]
    matrix = np.full((1, len(FEATURES)), np.nan, np.float32)

    assert len(table) == 6
    for a, b, both, either, inverse in table:
        for condition, claim in ((f"{a} and {b}", both), (f"{a} or {b}", either), (f"not {a}", inverse)):
            written = " ".join(words.get(word, word) for word in condition.split())
            rules = load(f"rule yes block if {written}\nrule no block if not ({written})")
            hits = [hit.rule_id for hit in rules.evaluate([a_transaction()], matrix)[0].hits]
            assert {"true": ["yes"], "false": ["no"], "unknown": []}[claim] == hits, condition


@pytest.mark.parametrize("name", [*FIELDS, *FUNCTIONS, "is_missing"])
def test_every_field_and_function_is_documented(name):
    assert f"`{name}`" in TEXT or f"`{name}(" in TEXT or f", `{name}(" in TEXT
