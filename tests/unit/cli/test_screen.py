import sys

import pytest
import typer

from fraudstream.app.findings import Finding, Level
from fraudstream.cli.doctor import secrets_in
from fraudstream.cli.screen import coloured, finding_lines, headline, table
from fraudstream.cli.spans import seconds


@pytest.mark.parametrize(
    ("text", "wanted"), [("30", 30), ("30s", 30), ("250ms", 0.25), ("5m", 300), ("5min", 300), ("1.5h", 5400), ("2 d", 172_800)]
)
def test_time_spans_are_read_with_their_unit(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "s", "-3s", "3 weeks", "1e3", "3s4"])
def test_what_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="30s, 5m or 2h"):
        seconds(text)


def test_numbers_stand_to_the_right_and_what_nobody_knows_is_a_question_mark() -> None:
    shown = table(("GROUP", "LAG", "OLDEST"), [("fraud-check", 12_345, "3 s"), ("recorder", 7, "-")])
    unknown = table(("GROUP", "LAG"), [("recorder", None)])

    assert shown.splitlines() == ["GROUP           LAG  OLDEST", "fraud-check  12,345  3 s", "recorder          7  -"]
    assert unknown.splitlines()[1].split() == ["recorder", "?"]


def test_a_table_of_nothing_is_its_head() -> None:
    assert table(("GROUP", "LAG"), []) == "GROUP  LAG"


def test_a_finding_has_its_command_under_it_and_its_further_lines_below_the_first() -> None:
    finding = Finding(level=Level.FAIL, about="rules", says="broken\nin line 3", command="edit it")

    assert finding_lines(finding) == "FAIL  rules: broken\n      in line 3\n      -> edit it"


@pytest.mark.parametrize(("environment", "wanted"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colour_is_for_terminals_that_want_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: bool
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    assert coloured() is wanted
    assert ("\x1b[" in headline("healthy", good=True)) is wanted


def test_only_secrets_in_the_environment_are_warned_of_and_never_shown() -> None:
    environment = {
        "REDIS_URL": "redis://127.0.0.1:6379/0",
        "POSTGRES_URL": "postgresql://user:pass-word@db/fraud",
        "FRAUDSTREAM_SLACK_BOT_TOKEN": "xoxb-pass-word",
        "FRAUDSTREAM_SMTP_PASSWORD_FILE": "/run/secrets/smtp",
        "FRAUDSTREAM_CURRENCY": "EUR",
    }

    findings = secrets_in(environment)

    assert [finding.says.split()[0] for finding in findings] == ["POSTGRES_URL", "FRAUDSTREAM_SLACK_BOT_TOKEN"]
    assert all(finding.level is Level.WARN for finding in findings)
    assert "pass-word" not in str(findings)
