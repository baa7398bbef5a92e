import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fraudstream.telemetry.labels import LATENCY_BUCKETS_S
from fraudstream.telemetry.metrics import Metrics
from tests.support.tools import needs

ROOT = Path(__file__).resolve().parents[1]
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))
RULES = sorted((ROOT / "dashboards" / "prometheus" / "rules").glob("*.yml"))
CATALOGUE = {described.name: described for described in Metrics().catalogue()}


def queries() -> list[tuple[str, str]]:
    """
    Every PromQL expression that the project ships, with where it stands.
    """
    found = []
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        found += [(f"{path.name}: {p['title']}", t["expr"]) for p in board["panels"] for t in p.get("targets", ())]
        found += [(f"{path.name}: ${v['name']}", v["query"]) for v in board["templating"]["list"] if v["type"] == "query"]
    for path in RULES:
        rules = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
        found += [(f"{path.name}: {rule.get('alert') or rule['record']}", rule["expr"]) for rule in rules]
    return found


def panels() -> list[tuple[str, dict[str, Any]]]:
    boards = [(path.name, json.loads(path.read_text())) for path in DASHBOARDS]
    return [(name, panel) for name, board in boards for panel in board["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


QUERIES = pytest.mark.parametrize(("where", "expression"), [pytest.param(*row, id=row[0]) for row in queries()])
PANELS = pytest.mark.parametrize("panel", [pytest.param(panel, id=f"{name}: {panel['title']}") for name, panel in panels()])


def family(sample: str) -> str | None:
    """
    The declared metric behind the name of a sample, None when there is none.
    """
    candidates = [sample, *(sample.removesuffix(end) for end in ("_bucket", "_sum", "_count") if sample.endswith(end))]
    return next((name for name in candidates if name in CATALOGUE), None)


@QUERIES
def test_every_metric_that_is_asked_for_is_declared(where: str, expression: str):
    asked = set(re.findall(r"\bfraudstream_[a-z_]+", expression))

    assert {name for name in asked if family(name) is None} == set(), where


@QUERIES
def test_every_metric_that_is_asked_for_is_reported_by_some_code(where: str, expression: str):
    code = "\n".join(path.read_text() for path in (ROOT / "fraudstream").rglob("*.py"))
    asked = {family(name) for name in re.findall(r"\bfraudstream_[a-z_]+", expression)} - {None, "fraudstream_build_info"}
    attributes = [str(name).removeprefix("fraudstream_") for name in asked]

    assert [name for name in attributes if not re.search(rf"\.{name}\b(?! = new\.)", code)] == [], where


@QUERIES
def test_every_label_that_is_matched_is_declared(where: str, expression: str):
    for name, matchers in re.findall(r"\b(fraudstream_[a-z_]+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers)))
        assert labels <= {*CATALOGUE[family(name) or name].labels, "le", "job", "instance"}, where


@QUERIES
def test_boundaries_are_written_as_prometheus_writes_them(where: str, expression: str):
    boundaries = re.findall(r'le="([^"]+)"', expression)

    assert all(boundary == str(float(boundary)) and float(boundary) in LATENCY_BUCKETS_S for boundary in boundaries), where


@QUERIES
def test_counters_are_asked_for_their_rise(where: str, expression: str):
    counters = re.findall(r"(\w+)\((fraudstream_[a-z_]+_total)\b", expression)

    assert len(counters) == len(re.findall(r"fraudstream_[a-z_]+_total\b", expression)), where
    assert {function for function, _ in counters} <= {"rate", "increase"}, where


def test_the_dashboards_are_what_their_builder_writes():
    built = runpy.run_path(str(ROOT / "dashboards" / "build.py"))["build"]()

    assert {path.name: path.read_text() for path in DASHBOARDS} == built


@PANELS
def test_every_panel_says_what_it_shows(panel: dict[str, Any]):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert panel["datasource"]["uid"] == "${datasource}"


@PANELS
def test_rates_fit_the_scrape_interval_and_the_chosen_targets(panel: dict[str, Any]):
    for target in panel["targets"]:
        ranges = re.findall(r"\[([^\]]+)\]", target["expr"])
        assert set(ranges) <= {"$__rate_interval", "$__range"}
        selected = re.findall(r"fraudstream_[a-z_]+\{([^}]*)\}", target["expr"])
        assert all('job=~"$job"' in labels and 'instance=~"$instance"' in labels for labels in selected)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_lie_side_by_side_within_the_grid(path: Path):
    board = json.loads(path.read_text())
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in board["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["title"] for panel in board["panels"] if panel["type"] != "row"}) == len(
        [panel for panel in board["panels"] if panel["type"] != "row"]
    )
    assert board["editable"] is False
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_objective_on_the_dashboard_is_a_boundary_of_the_histogram():
    latency = next(panel for _, panel in panels() if panel["title"] == "Decision latency")

    assert latency["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] in LATENCY_BUCKETS_S


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_says_how_bad_what_and_where_to_look(alert: dict[str, Any]):
    boards = {json.loads(path.read_text())["uid"] for path in DASHBOARDS}

    assert alert["labels"]["severity"] in {"critical", "warning", "info", "none"}
    assert alert["labels"]["component"]
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["description"]
    assert alert["annotations"]["dashboard"] in boards


@pytest.mark.parametrize("alert", sorted({alert["alert"] for alert in alerts()}))
def test_every_alert_is_proved_to_fire(alert: str):
    tests = yaml.safe_load((ROOT / "tests" / "prometheus" / "rules_test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case.get("exp_alerts")}

    assert alert in fired | {"Watchdog"}  # which the healthy fleet's test counts


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
def test_prometheus_understands_every_query_of_the_dashboards(tmp_path: Path):
    filled = [
        expression.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$job", ".+").replace("$instance", ".+")
        for where, expression in queries()
        if ".json" in where and not expression.startswith("label_values")
    ]
    rules = [{"record": f"query{number}", "expr": expression} for number, expression in enumerate(filled)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))

    done = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, check=False
    )

    assert len(rules) > 20
    assert done.returncode == 0, done.stdout + done.stderr


@needs("promtool")
def test_alerts_fire_and_stay_silent_as_they_should():
    done = subprocess.run(
        ["promtool", "test", "rules", str(ROOT / "tests" / "prometheus" / "rules_test.yml")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@needs("amtool")
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=Watchdog", "severity=none"], "deadman"),
        (["alertname=FraudstreamDown", "severity=critical"], "oncall"),
        (["alertname=FraudstreamWorkerDown", "severity=warning"], "ops"),
    ],
)
def test_alerts_reach_their_receiver(labels: list[str], receiver: str):
    file = ROOT / "dashboards" / "alertmanager" / "alertmanager.yml"
    done = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={file}", *labels], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == receiver, done.stderr
