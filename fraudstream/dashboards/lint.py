"""
What is wrong with the dashboards and rules as they are written.

The rules of grafana/dashboard-linter (their names begin without ours), and some of our own: declared metrics, thresholds that equal
the alerts', boundaries of histograms as Prometheus writes them.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import promql_parser

from fraudstream.dashboards.files import BOARDS
from fraudstream.dashboards.grafana import COLUMNS, render, units
from fraudstream.dashboards.panels import Board
from fraudstream.dashboards.queries import Query, alerts, filled, of_panels, of_rules, of_variables
from fraudstream.dashboards.rules import Alert, numbers
from fraudstream.telemetry.declaring import Described
from fraudstream.telemetry.metrics import Metrics

#: Metrics that are not declared here: of Prometheus, of the process, of the rules themselves.
_OTHERS = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"}
_RANGES = {"$__rate_interval", "$__range"}
_METRIC = re.compile(r"\b(fraudstream_[a-z0-9_]+)(\{[^}]*\})?")
_MATCHER = re.compile(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')
_LE = re.compile(r'\ble="([^"]+)"')
_RATED = re.compile(r"\b(?:rate|increase|deriv|changes)\($")
#: Labels that Prometheus adds, or a histogram has.
_ADDED = {"le", "job", "instance", "worker"}
_JOB, _INSTANCE = 'job=~"$job"', 'instance=~"$instance"'


class Fault(NamedTuple):
    """
    One thing that is wrong: which rule says so, where, and what.
    """

    rule: str
    where: str
    says: str

    def __str__(self) -> str:
        return f"{self.where}: {self.says} ({self.rule})"


def faults() -> list[Fault]:
    """
    Return everything that is wrong.
    """
    found = [fault for board in BOARDS for fault in _board(board)]
    found += [fault for query in [*of_panels(), *of_variables(), *of_rules()] for fault in _query(query)]
    return [*found, *_alerts()]


def _board(board: Board) -> Iterator[Fault]:
    text = json.loads(render(board))
    panels = [panel for panel in text["panels"] if panel["type"] != "row"]
    checks: Mapping[str, Callable[[], Iterable[str]]] = {
        "uneditable-dashboard": lambda: ["can be edited in the browser"] if text["editable"] else [],
        "template-datasource-rule": lambda: _source_variable(text, board.source),
        "template-job-rule": lambda: _variable(text, board, "job"),
        "template-instance-rule": lambda: _variable(text, board, "instance"),
        "template-on-time-change-reload-rule": lambda: _reloads(text),
        "unique-titles": lambda: _twins(panel["title"] for panel in panels),
        "unique-ids": lambda: _twins(panel["id"] for panel in text["panels"]),
        "grid": lambda: _grid(text["panels"]),
        "thresholds": lambda: _thresholds(board),
    }
    for rule, check in checks.items():
        yield from (Fault(rule, board.file, says) for says in check())
    for panel in panels:
        yield from (Fault(rule, f"{board.file}: {panel['title']}", says) for rule, says in _panel(panel, board))


def _source_variable(text: Mapping[str, Any], source: str) -> Iterator[str]:
    first = text["templating"]["list"][0]
    kind = {"prometheus": "prometheus", "postgres": "grafana-postgresql-datasource"}[source]
    if (first["name"], first["type"], first["query"]) != ("datasource", "datasource", kind):
        yield f"has no variable for its {source} data source"


def _variable(text: Mapping[str, Any], board: Board, name: str) -> Iterator[str]:
    found = [one for one in text["templating"]["list"] if one["name"] == name]
    if board.source == "prometheus" and not (found and found[0]["multi"] and found[0]["allValue"] == ".+"):
        yield f"lets nobody choose {name}, or not several, or not all"


def _reloads(text: Mapping[str, Any]) -> Iterator[str]:
    for one in text["templating"]["list"]:
        if one["type"] == "query" and one["refresh"] != 2:
            yield f"${one['name']} stays as it was when the span of time changes"


def _twins(values: Iterable[Any]) -> Iterator[str]:
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            yield f"{value} stands there twice"
        seen.add(value)


def _grid(panels: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > COLUMNS:
            yield f"{panel['title']} reaches beyond column {COLUMNS}"
        for cell in (
            (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
        ):
            if cell in taken:
                yield f"{panel['title']} lies over {taken[cell]}"
                break
            taken[cell] = panel["title"]


def _thresholds(board: Board) -> Iterator[str]:
    known = {alert.name: [one for one in alerts() if one.name == alert.name] for alert in alerts()}
    for panel in board.panels():
        for step in panel.steps:
            if not step.alert and not step.why:
                yield f"{panel.title}: {step.value} is nobody's threshold"
            elif step.alert and step.alert not in known:
                yield f"{panel.title}: there is no alert {step.alert}"
            elif step.alert and not any(_same(step.value, alert) for alert in known[step.alert]):
                yield f"{panel.title}: {step.alert} fires at another value than {step.value}"


def _same(value: float, alert: Alert) -> bool:
    found = numbers(alert)
    if alert.component == "slo":  # its numbers stand in what it compares
        found |= {number for query in of_rules() if "slo:" in query.where for number in _plain_numbers(query.text)}
    return any(abs(value - number) < 1e-9 for number in found)


def _plain_numbers(text: str) -> Iterator[float]:
    for number in re.findall(r"(?<![\w.])[0-9]+(?:\.[0-9]+)?(?![\w.])", text):
        yield float(number)
        yield 1 - float(number)


def _panel(panel: Mapping[str, Any], board: Board) -> Iterator[tuple[str, str]]:
    if not panel["title"] or not panel["description"].endswith("."):
        yield "panel-title-description-rule", "lacks a title or a sentence that describes it"
    if panel["fieldConfig"]["defaults"].get("unit") not in units():
        yield "panel-units-rule", f"has no unit that Grafana knows: {panel['fieldConfig']['defaults'].get('unit')}"
    if panel["datasource"]["uid"] != "${datasource}" or any(
        t["datasource"]["uid"] != "${datasource}" for t in panel.get("targets") or ()
    ):
        yield "panel-datasource-rule", "asks a data source that the viewer did not choose"
    if not panel.get("targets"):
        yield "panel-no-targets-rule", "asks nothing"
    for target in panel.get("targets") or ():
        if board.source != "prometheus":
            break
        yield from _target(target)


def _target(target: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    text = target["expr"]
    wrong = set(re.findall(r"\[([^\]]+)\]", text)) - _RANGES
    if wrong:
        yield "target-rate-interval-rule", f"rates over {', '.join(wrong)}"
    for name, matchers in _METRIC.findall(text):
        if _JOB not in matchers:
            yield "target-job-rule", f"{name} is asked of every job"
        if _INSTANCE not in matchers:
            yield "target-instance-rule", f"{name} is asked of every instance"
    if "topk(" in text and not target["instant"]:
        yield "topk-instant", "draws more lines than it names when asked over time"


def _query(query: Query) -> Iterator[Fault]:
    try:
        promql_parser.parse(filled(query.text))
    except ValueError as exc:
        yield Fault("target-promql-rule", query.where, str(exc))
    for found in _METRIC.finditer(query.text):
        yield from (Fault(rule, query.where, says) for rule, says in _metric(query.text, found))
    for boundary in _LE.findall(query.text):
        if boundary != str(float(boundary)):
            yield Fault("boundary", query.where, f'le="{boundary}" matches nothing: Prometheus writes {float(boundary)}')


@cache
def _catalogue() -> Mapping[str, Described]:
    """
    Return what is declared, by name; the declaration of a hundred metrics is not for every query.
    """
    return {one.name: one for one in Metrics().catalogue()}


def _metric(text: str, found: re.Match[str]) -> Iterator[tuple[str, str]]:
    catalogue = _catalogue()
    name = found[1]
    declared = next((one for end in ("", "_bucket", "_sum", "_count") if (one := catalogue.get(name.removesuffix(end)))), None)
    if declared is None:
        if ":" not in text[found.start() - 1 : found.end() + 1]:  # part of the name of a recording
            yield "declared", f"{name} is declared nowhere"
        return
    unknown = set(_MATCHER.findall(found[2] or "")) - {*declared.labels, *_ADDED}
    if unknown:
        yield "template-label-promql-rule", f"{name} has no label {', '.join(sorted(unknown))}"
    rated = _RATED.search(text[: found.start()]) or "_trips_total" in name or text.startswith("label_values")
    if name.endswith("_total") and not rated:
        yield "target-counter-agg-rule", f"{name} is a counter and asked for its value"


def _alerts() -> Iterator[Fault]:
    boards = {board.uid for board in BOARDS}
    for alert in alerts():
        if alert.dashboard not in boards:
            yield Fault("alert-dashboard", alert.name, f"points at dashboard {alert.dashboard}, which is not there")
        if not alert.summary.endswith(".") or not alert.description:
            yield Fault("alert-text", alert.name, "does not say in a sentence what is wrong")
        if alert.severity not in {"critical", "warning", "none"}:
            yield Fault("alert-severity", alert.name, f"is as bad as {alert.severity}")
