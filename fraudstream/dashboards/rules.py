"""
Recording rules and alerts as their authors think of them, and as Prometheus reads them.

In an expression ``@30s`` is a number of seconds that is a span of time: with every duration divided by 30, as the fault drills
run, it becomes 1, and ``[5m]`` becomes ``[10s]``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: Where the page of each alert lies; the file bears its name.
RUNBOOKS = "https://github.com/fraudstream/fraudstream/blob/main/docs/runbooks"
INTERVAL_S = 15.0
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"@([0-9.]+)s\b")
_NUMBER = re.compile(r"(?<![\w.\"])[0-9]+(?:\.[0-9]+)?(?![\w.\"])")
_RANGE = re.compile(r"(\[|\boffset )([0-9]+)([smhd])(?=[\]:\s)])")


class Alert(NamedTuple):
    """
    One alert. ``held`` is how long it must hold before it fires, ``kept`` how long it goes on after it ended.

    ``severity`` is critical (somebody must act now), warning (somebody must look), or none.
    """

    name: str
    severity: str
    component: str
    held: str
    expr: str
    summary: str
    description: str
    dashboard: str
    kept: str = ""
    labels: Mapping[str, str] = {}


class Recording(NamedTuple):
    """
    What is asked again and again, computed once.
    """

    name: str
    expr: str
    labels: Mapping[str, str] = {}


Group = tuple[str, Sequence[Alert | Recording]]


def rendered(groups: Sequence[Group], *, divided_by: int = 1) -> dict[str, Any]:
    """
    Return a rule file as Prometheus reads it.

    Args:
        groups: Names, and what they hold.
        divided_by: How many times faster everything is to happen: every duration is divided by it, a drill's way to see within
            seconds what takes minutes.
    """
    every = {"interval": duration(INTERVAL_S, divided_by)}
    return {"groups": [{"name": name, **every, "rules": [_rule(one, divided_by) for one in rules]} for name, rules in groups]}


def duration(seconds: float, divided_by: int = 1) -> str:
    """
    Write a duration as Prometheus does, in milliseconds where it is no whole second.
    """
    ms = round(seconds * 1000 / divided_by)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms >= size and ms % size == 0:
            return f"{ms // size}{unit}"
    return f"{ms}ms"


def seconds(text: str) -> float:
    """
    Read a duration of one unit: 30s, 5m, 6h, 3d.
    """
    return float(text[:-1]) * _SECONDS[text[-1]]


def expression(text: str, divided_by: int = 1) -> str:
    """
    Write out an expression, its durations divided.
    """
    text = _SPAN.sub(lambda found: f"{float(found[1]) / divided_by:g}", text)
    return _RANGE.sub(lambda found: found[1] + duration(seconds(found[2] + found[3]), divided_by), text)


def numbers(alert: Alert) -> set[float]:
    """
    Return every number that stands in an alert's expression, ranges of time left out.
    """
    return {float(found) for found in _NUMBER.findall(_RANGE.sub("", expression(alert.expr)))}


def _rule(one: Alert | Recording, divided_by: int) -> dict[str, Any]:
    if isinstance(one, Recording):
        rule: dict[str, Any] = {"record": one.name, "expr": expression(one.expr, divided_by)}
        return rule | ({"labels": dict(one.labels)} if one.labels else {})
    rule = {"alert": one.name, "expr": expression(one.expr, divided_by)}
    if one.held:
        rule["for"] = duration(seconds(one.held), divided_by)
    if one.kept:
        rule["keep_firing_for"] = duration(seconds(one.kept), divided_by)
    return rule | {
        "labels": {"severity": one.severity, "component": one.component, **one.labels},
        "annotations": {
            "summary": one.summary,
            "description": one.description,
            "runbook_url": f"{RUNBOOKS}/{one.name}.md",
            "dashboard": one.dashboard,
        },
    }
