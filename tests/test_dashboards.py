"""
What is drawn and alerted on, as it is shipped.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from typer.main import get_command
from typer.testing import CliRunner

from fraudstream.cli.main import app
from fraudstream.dashboards import lint
from fraudstream.dashboards.files import BOARDS, built, rule_files
from fraudstream.dashboards.panels import Board, Panel, Step
from fraudstream.dashboards.queries import Query, alerts, filled, of_panels, of_rules, of_variables
from fraudstream.dashboards.rules import Alert, expression
from fraudstream.telemetry.metrics import Metrics
from tests.support.tools import needs

ROOT = Path(__file__).resolve().parents[1]
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("[FW]*.md"))
RULES_TESTS = sorted((ROOT / "tests" / "prometheus").glob("*.yml"))
NAMES = sorted({alert.name for alert in alerts()})
CATALOGUE = {described.name for described in Metrics().catalogue()}
QUERIES = [*of_panels(), *of_variables(), *of_rules()]


def test_nothing_is_wrong_with_what_is_shipped():
    assert [str(fault) for fault in lint.faults()] == []


def test_the_files_are_what_the_code_writes():
    shipped = {name: (ROOT / "dashboards" / name).read_text() for name in built()}

    assert shipped == built()
    assert {path.name for path in (ROOT / "dashboards").glob("*.json")} == {board.file for board in BOARDS}


@pytest.mark.parametrize("board", [board for board in BOARDS if board.source == "prometheus"], ids=lambda board: board.uid)
def test_grafanas_own_types_read_a_dashboard_and_write_the_same(board: Board):
    register_default_plugins()
    text = json.loads(built()[board.file])

    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(text)))

    assert again == text


def test_every_metric_that_is_asked_for_is_reported_by_some_code():
    code = "\n".join(path.read_text() for path in (ROOT / "fraudstream").rglob("*.py"))
    asked = {name for query in QUERIES for name in re.findall(r"\bfraudstream_[a-z0-9_]+", query.text)}
    families = {name for name in CATALOGUE if any(one.startswith(name) for one in asked)} - {"fraudstream_build_info"}
    attributes = sorted(name.removeprefix("fraudstream_") for name in families)

    assert len(attributes) > 50
    assert [name for name in attributes if not re.search(rf"\.{name}\b(?! = new\.)", code)] == []


def a_board(panel: Panel) -> Board:
    return Board("a.json", "a", "A", "Why?", [("Row", [panel])], BOARDS[0].variables)


def a_panel(**changes: Any) -> Panel:
    good = Panel(
        "Good", "It says what it shows.", "s", [('max(fraudstream_dlq_entries{job=~"$job",instance=~"$instance"})', "")]
    )
    return good._replace(**changes)


@pytest.mark.parametrize(
    ("rule", "panel"),
    [
        ("panel-title-description-rule", a_panel(description="no sentence")),
        ("panel-title-description-rule", a_panel(title="")),
        ("panel-units-rule", a_panel(unit="furlongs")),
        ("panel-no-targets-rule", a_panel(queries=[])),
        ("target-rate-interval-rule", a_panel(queries=[("rate(fraudstream_dlq_events_total{$J}[1m])", "")])),
        ("target-job-rule", a_panel(queries=[('fraudstream_dlq_entries{instance=~"$instance"}', "")])),
        ("target-instance-rule", a_panel(queries=[('fraudstream_dlq_entries{job=~"$job"}', "")])),
        ("topk-instant", a_panel(queries=[("topk(3, fraudstream_dlq_entries{$J})", "")])),
        ("grid", a_panel(width=25)),
        ("thresholds", a_panel(steps=[Step(5, "red")])),
        ("thresholds", a_panel(steps=[Step(5, "red", "FraudstreamUnheardOf")])),
        ("thresholds", a_panel(steps=[Step(31, "red", "FraudstreamBacklogHigh")])),
    ],
)
def test_the_lint_finds_a_fault_of_a_panel(rule: str, panel: Panel):
    assert rule in {fault.rule for fault in lint._board(a_board(panel))}
    assert list(lint._board(a_board(a_panel()))) == []


@pytest.mark.parametrize(
    ("rule", "query"),
    [
        ("target-promql-rule", "sum(rate(fraudstream_dlq_entries[5m])"),
        ("declared", "fraudstream_unheard_of_total"),
        ("template-label-promql-rule", 'fraudstream_dlq_entries{group="a"}'),
        ("target-counter-agg-rule", "sum(fraudstream_dlq_events_total)"),
        ("boundary", 'fraudstream_notification_latency_seconds_bucket{le="30"}'),
    ],
)
def test_the_lint_finds_a_fault_of_a_query(rule: str, query: str):
    assert rule in {fault.rule for fault in lint._query(Query("here", query))}
    assert list(lint._query(Query("here", "sum(rate(fraudstream_dlq_events_total[5m]))"))) == []


def test_a_board_whose_viewer_cannot_choose_is_refused():
    fixed = a_board(a_panel())._replace(variables=())

    assert {"template-job-rule", "template-instance-rule"} <= {fault.rule for fault in lint._board(fixed)}


def test_every_duration_is_divided_for_a_drill():
    alert = next(alert for alert in alerts() if alert.name == "FraudstreamSinkStale")
    slow, fast = (yaml.safe_load(rule_files(divided_by=by)["alerts.yml"]) for by in (1, 30))
    found = [next(r for g in file["groups"] for r in g["rules"] if r["alert"] == alert.name) for file in (slow, fast)]

    assert [rule["for"] for rule in found] == ["2m", "4s"]
    assert "> 120 and" in found[0]["expr"]
    assert "> 4 and" in found[1]["expr"]
    assert "[5m]" in found[0]["expr"]
    assert "[10s]" in found[1]["expr"]
    assert expression("sum(rate(a[15m] offset 1d)) > @30s", 30) == "sum(rate(a[30s] offset 48m)) > 1"
    assert [group["interval"] for group in fast["groups"]] == ["500ms"] * len(fast["groups"])


def test_the_alert_set_is_whole():
    assert len(alerts()) >= 31
    assert {alert.severity for alert in alerts()} == {"critical", "warning", "none"}


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    assert {path.stem for path in RUNBOOKS} == set(NAMES)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_its_four_headings_and_commands_to_type(path: Path):
    text = path.read_text()

    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert text.startswith(f"# {path.stem}\n")
    assert path.stem == "Watchdog" or commands(text), "a runbook without a command to type"


@pytest.mark.parametrize("path", [*RUNBOOKS, ROOT / "docs" / "operations.md"], ids=lambda path: path.stem)
def test_every_command_of_a_runbook_exists_with_its_options(path: Path):
    for words in commands(path.read_text()):
        problem = unknown_in(words)
        assert problem is None, f"fraudstream {' '.join(words)}: {problem}"


def commands(text: str) -> list[list[str]]:
    """
    Return the words of each of our commands in blocks of shell, without pipes and comments.
    """
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r"[|;]|&&|  #", line)]
    return [part.split()[1:] for part in parts if part.startswith("fraudstream ")]


def unknown_in(words: list[str]) -> str | None:
    command: Any = get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        if rest[0] not in command.commands:
            return f"there is no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    wrong = [word for word in rest if word.startswith("-") and len(word) > 1 and word.split("=")[0] not in known]
    return f"there is no option {wrong[0]}" if wrong else None


def rule_tests() -> list[dict[str, Any]]:
    return [test for path in RULES_TESTS for test in yaml.safe_load(path.read_text())["tests"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_proved_to_fire_and_to_stay_silent(name: str):
    cases = [case for test in rule_tests() for case in test.get("alert_rule_test", ()) if case["alertname"] == name]

    assert [case for case in cases if case.get("exp_alerts")], "nothing shows that it fires"
    assert name == "Watchdog" or [case for case in cases if not case.get("exp_alerts")], "nothing shows that it stays silent"


@needs("promtool")
def test_prometheus_accepts_its_configuration_and_rules():
    done = subprocess.run(
        ["promtool", "check", "config", str(ROOT / "dashboards" / "prometheus" / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
@pytest.mark.parametrize("path", RULES_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent_as_they_should(path: Path):
    collects_seldom = {**os.environ, "GOGC": "1000"}
    words = ["promtool", "test", "rules", str(path)]
    done = subprocess.run(words, env=collects_seldom, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
def test_prometheus_understands_every_query_of_the_dashboards(tmp_path: Path):
    texts = [filled(query.text) for query in [*of_panels(), *of_variables()]]
    rules = [{"record": f"query{number}", "expr": text} for number, text in enumerate(texts)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))

    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, check=False
    )

    assert len(rules) > 80
    assert done.returncode == 0, done.stdout + done.stderr


ROUTES = [
    (["alertname=Watchdog", "severity=none"], "deadman"),
    (["alertname=FraudstreamDown", "severity=critical"], "oncall,ops"),
    (["alertname=FraudstreamWorkerDown", "severity=warning"], "ops"),
    (["alertname=FraudstreamNotificationsFailing", "severity=critical", "channel=slack"], "oncall"),
    (["alertname=FraudstreamNotificationQueueOld", "severity=warning"], "oncall"),
    (["alertname=FraudstreamErrorBudgetBurn", "severity=critical", "slo=alert-delivery"], "oncall"),
    (["alertname=FraudstreamErrorBudgetBurn", "severity=critical", "slo=decision-latency"], "oncall,ops"),
]


@needs("amtool")
@pytest.mark.parametrize(("labels", "receivers"), ROUTES, ids=lambda value: value if isinstance(value, str) else value[0])
def test_alerts_reach_their_receivers(labels: list[str], receivers: str):
    file = ROOT / "dashboards" / "alertmanager" / "alertmanager.yml"
    done = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={file}", *labels], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == receivers, done.stderr


@needs("amtool")
def test_alertmanager_accepts_its_configuration():
    file = ROOT / "dashboards" / "alertmanager" / "alertmanager.yml"
    done = subprocess.run(["amtool", "check-config", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_silences_only_warnings_about_the_same_thing():
    config = yaml.safe_load((ROOT / "dashboards" / "alertmanager" / "alertmanager.yml").read_text())
    equal = next(rule["equal"] for rule in config["inhibit_rules"] if "equal" in rule)

    assert "component" in equal  # labels that both lack count as equal
    assert all(len({alert.component for alert in alerts() if alert.name == name}) == 1 for name in NAMES)


def test_the_command_says_whether_the_files_are_up_to_date(tmp_path: Path):
    first = CliRunner().invoke(app, ["dashboards", "build", "--out", str(tmp_path)])
    second = CliRunner().invoke(app, ["dashboards", "build", "--out", str(tmp_path), "--check"])
    (tmp_path / "overview.json").write_text("{}")
    third = CliRunner().invoke(app, ["dashboards", "build", "--out", str(tmp_path), "--check"])

    assert (first.exit_code, second.exit_code, third.exit_code) == (0, 0, 1)
    assert first.stdout.count("wrote ") == len(built())
    assert "differs" in third.stdout


def test_the_command_checks_without_a_prometheus_and_says_where_none_answers():
    alone = CliRunner().invoke(app, ["dashboards", "check", "--json"])
    away = CliRunner().invoke(app, ["dashboards", "check", "--prometheus", "http://127.0.0.1:1"])

    assert (alone.exit_code, away.exit_code) == (0, 4)
    assert json.loads(alone.stdout)["data"]["faults"] == []


def test_the_alerts_of_a_drill_are_the_shipped_ones():
    shipped = {alert.name for alert in alerts()}
    drilled = yaml.safe_load(rule_files(divided_by=30)["alerts.yml"])

    assert {rule["alert"] for group in drilled["groups"] for rule in group["rules"]} == shipped
    assert isinstance(alerts()[0], Alert)
