"""
Lists and rates at the shell: what is typed, what is printed, and how a command ends.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fraudstream.cli.main import app
from fraudstream.local import LocalValkey
from fraudstream.rules.instants import moment_text

Run = Callable[..., Any]


@pytest.fixture
def fraudstream(valkey: LocalValkey, tmp_path: Path) -> Run:
    """
    Run a command on an empty Redis, rules that look into @blocked, and a file for it; return its end and what it printed.
    """
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "blocked.list").write_text("card_0\n")
    (tmp_path / "my.rules").write_text("rule blocked block if :card_id: in @blocked\n")
    env = {
        "REDIS_URL": valkey.url,
        "FRAUDSTREAM_RULES": str(tmp_path / "my.rules"),
        "FRAUDSTREAM_LISTS": str(tmp_path / "lists"),
        "FRAUDSTREAM_ACTOR": "ana",
        "COLUMNS": "200",
    }

    def run(*words: str, stdin: str = "") -> Any:
        return CliRunner().invoke(app, list(words), env=env, input=stdin)

    return run


def data(done: Any) -> Any:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["data"]


def test_a_list_from_its_first_entry_to_its_history(fraudstream: Run, tmp_path: Path) -> None:
    added = fraudstream("lists", "add", "blocked", "card_1", "@Mailinator.com", "--for", "30d", "--reason", "case 118")
    checked = fraudstream("lists", "check", "blocked", "card_1", "me@mailinator.com", "card_9")
    removed = fraudstream("lists", "remove", "blocked", "card_0", "--reason", "paid")
    shown = data(fraudstream("lists", "show", "blocked", "--json"))
    exported = fraudstream("lists", "export", "blocked", str(tmp_path / "out.csv"))
    back = fraudstream("lists", "rollback", "blocked", "--reason", "not paid after all")
    (row,) = data(fraudstream("lists", "list", "--json"))["lists"]
    history = data(fraudstream("lists", "history", "blocked", "--json"))["history"]

    assert "@blocked: 2 added; 3 entries" in added.output
    assert checked.exit_code == 1
    assert "me@mailinator.com: held by @mailinator.com, until " in checked.output
    assert "card_9: not on the list" in checked.output
    assert "1 removed; 2 entries" in removed.output
    assert [(one["value"], one["author"], one["hits"]) for one in shown["entries"]] == [
        ("@mailinator.com", "ana", 0),
        ("card_1", "ana", 0),
    ]
    assert "wrote 2 entries" in exported.output
    assert (tmp_path / "out.csv").read_text().splitlines()[1].endswith("case 118,ana," + shown_time(shown, 0))
    assert back.exit_code == 0
    assert (row["where"], row["entries"], row["pointer"]["kind"]) == ("redis", 3, "rollback")
    assert [(one["kind"], one["reason"]) for one in history] == [
        ("rollback", "not paid after all"),
        ("remove", "paid"),
        ("add", "case 118"),
    ]


def shown_time(shown: Any, at: int) -> str:
    return moment_text(shown["entries"][at]["added_ms"])


def test_a_file_is_imported_from_standard_input_and_replaces_when_told_to(fraudstream: Run) -> None:
    first = data(
        fraudstream("lists", "import", "blocked", "-", "--format", "jsonl", "--reason", "feed", "--json", stdin='"a"\n"b"\n')
    )
    second = data(
        fraudstream(
            "lists", "import", "blocked", "-", "--format", "list", "--replace", "--reason", "feed", "--json", stdin="b\nc\n"
        )
    )
    again = fraudstream("lists", "import", "blocked", "-", "--format", "list", "--reason", "feed", stdin="b\nc\n")

    assert (first["added"], first["entries"]) == (2, 3)
    assert (second["added"], second["removed"], second["entries"]) == (1, 2, 2)
    assert again.exit_code == 6
    assert "refused: @blocked holds exactly this already" in again.output


def test_what_is_wrong_is_said_and_ends_with_the_right_code(fraudstream: Run) -> None:
    clear = fraudstream("lists", "add", "blocked", "4111111111111111", "--reason", "x")
    unknown = fraudstream("lists", "show", "nothing")
    both = fraudstream("lists", "add", "blocked", "a", "--for", "1d", "--until", "2030-01-01", "--reason", "x")
    wrong = fraudstream("lists", "import", "blocked", "-", "--format", "csv", "--reason", "x", stdin="value,until\na,soon\n")

    assert (clear.exit_code, unknown.exit_code, both.exit_code, wrong.exit_code) == (2, 1, 2, 1)
    assert "clear card number" in clear.output
    assert "there is no list @nothing" in unknown.output
    assert "-:2: until is no date or time" in wrong.output


def test_rates_are_put_in_force_and_shown(fraudstream: Run, tmp_path: Path) -> None:
    (tmp_path / "ecb.rates").write_text("base USD\n2026-01-02 EUR 1.1\n")
    before = fraudstream("lists", "rates")
    done = fraudstream("lists", "rates", str(tmp_path / "ecb.rates"))
    after = fraudstream("lists", "rates")

    assert "there are no rates" in before.output
    assert "rates: 1 added" in done.output
    assert "2026-01-02 EUR 1.1\n# 1 rates of EUR, USD, version" in after.output


def test_without_workers_nobody_is_behind_and_expected_rates_are_shown(fraudstream: Run) -> None:
    none = fraudstream("rules", "workers")
    noted = fraudstream("rules", "expect", "blocked=0.02%", "--payments", "1000000")
    wrong = fraudstream("rules", "expect", "blocked=2")

    assert none.exit_code == 0
    assert "no worker of group fraud-check" in none.output
    assert "blocked  0.020%           1,000,000  ana" in noted.output
    assert wrong.exit_code == 2
