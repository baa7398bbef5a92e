"""
The commands that look at rule files, in this process.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraudstream.cli.main import app

GOOD = """
rule tiny_payments
  block if :card_small_count_1h: >= 6 and :amount: < 5.00
  test hit  { card_small_count_1h: 7, amount: 1.00 }
  test miss { card_small_count_1h: 7, amount: 60.00 }
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "my.rules"
    path.write_text(GOOD)
    return path


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def answer(*words: object, code: int = 0) -> dict:
    whole = json.loads(run(*words, "--json", code=code))
    assert whole["schema"].startswith("fraudstream.")
    return whole["data"]


def test_a_good_file_is_ok_and_named_by_its_hash(rules):
    found = answer("rules", "check", rules)

    assert (found["ok"], found["rules"], found["tests"], found["problems"]) == (True, 1, 2, [])
    assert found["rule_set"][:12] in run("rules", "check", rules)


def test_a_mistake_is_shown_with_its_line_and_a_caret(rules):
    rules.write_text(GOOD.replace("card_small_count_1h: >=", "card_small_cnt_1h: >="))

    text = run("rules", "check", rules, code=1)
    found = answer("rules", "check", rules, code=1)

    assert "my.rules:2:12: unknown attribute :card_small_cnt_1h:" in text
    assert "|            ^^^^" in text
    assert not found["ok"]
    assert (found["problems"][0]["line"], found["problems"][0]["column"]) == (2, 12)
    assert "card_small_count_1h" in found["problems"][0]["hint"]


def test_each_test_says_how_it_went(rules):
    rules.write_text(GOOD.replace("60.00", "4.00"))

    found = answer("rules", "test", rules, code=1)

    assert (found["passed"], found["failed"]) == (1, 1)
    (failed,) = [one for one in found["results"] if not one["passed"]]
    assert (failed["rule_id"], failed["expected"], failed["got"], failed["line"]) == ("tiny_payments", "miss", "hit", 4)
    assert "must miss, got hit" in run("rules", "test", rules, code=1)


def test_a_test_that_cannot_be_run_says_why(rules):
    rules.write_text(GOOD.replace("amount: 60.00", 'amount: "sixty"'))

    found = answer("rules", "test", rules, code=1)

    assert [(one["got"], one["problem"]) for one in found["results"] if not one["passed"]] == [
        ("error", "amount holds an amount, such as 12.50")
    ]


def test_what_looks_like_a_mistake_is_bad_news(rules):
    rules.write_text(GOOD + "rule never_so\n  review if :amount: < 5 and :amount: > 6\n")

    found = answer("rules", "lint", rules, code=1)

    kinds = {one["kind"] for one in found["findings"] if one["rule_id"] == "never_so"}
    assert kinds == {"never_true", "untested"}


def test_the_evaluators_agree_and_the_count_is_told():
    found = answer("rules", "fuzz", "--checks", 1000, "--seed", 5)

    assert found["checks"] >= 1000
    assert found["disagreements"] == 0


def test_a_file_that_is_not_there_is_no_bad_news_but_a_wrong_call():
    assert "cannot be read" in run("rules", "check", "no/such.rules", code=3)


def test_every_command_of_the_walk_exists():
    text = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    shown = {line.split()[3] for line in text.splitlines() if line.startswith("$ fraudstream rules ")}

    assert shown >= {"check", "test", "lint", "diff", "push", "activate", "disable", "rollback", "history"}
    for name in sorted(shown | {"list", "show", "fuzz"}):
        assert "Example: fraudstream rules" in run("rules", name, "--help")


def test_the_rules_are_measured_by_case():
    found = answer("bench", "rules", "--rules", 5, "--list-entries", 10, "--seconds", 0, "--backtest-rows", 40_000)

    (case,) = found["cases"]
    assert found["backtest_rows_per_second"] == found["backtest"]["rows_per_second"] > 10_000
    assert (found["backtest"]["rules"], found["backtest"]["rows"]) == (5, 40_000)
    assert found["backtest"]["rows_per_second_from_file"] < found["backtest"]["rows_per_cpu_second"]
    assert (case["rules"], case["list_entries"], case["batch"]) == (5, 10, 256)
    assert case["transactions_per_second"] > 1000
