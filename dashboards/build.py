# ruff: noqa: INP001 -- a script beside what it writes
"""
Writes the dashboards: ``python dashboards/build.py``. The JSON beside this file is never edited by hand.

A panel is one line of what it asks and one of what the answer means; place, colours and plumbing are the same everywhere.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

#: Targets that the viewer chose.
CHOSEN = 'job=~"$job",instance=~"$instance"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: One colour for one meaning, everywhere.
COLOURS = {
    "approve": "green", "challenge": "yellow", "review": "orange", "block": "red",
    "invalid": "orange", "duplicate": "purple", "failed": "red", "dead_lettered": "red",
    "delivered": "green", "undeliverable": "red",
}  # fmt: skip
COLUMNS = 24


class Panel(NamedTuple):
    """
    One panel: ``queries`` are pairs of PromQL, with ``$J`` for the chosen targets, and legend.

    ``steps`` are the values from which a colour holds; the lowest colour is ``base``.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    steps: Sequence[tuple[float, str]] = ()
    base: str = "green"


def rate(metric: str, labels: str = "") -> str:
    """
    Write the rate of a counter over the chosen targets.
    """
    return f"rate(fraudstream_{metric}{{$J{',' + labels if labels else ''}}}[$__rate_interval])"


def quantile(q: float, metric: str, by: str = "le") -> str:
    """
    Write a quantile of a histogram.
    """
    return f"histogram_quantile({q:.2f}, sum by ({by}) ({rate(metric + '_bucket')}))"


def mean(metric: str, by: str) -> str:
    """
    Write the mean of what a histogram observed.
    """
    return f"sum by ({by}) ({rate(metric + '_sum')}) / sum by ({by}) ({rate(metric + '_count')})"


def share(part: str, whole: str) -> str:
    """
    Write a ratio that is 0, not undefined, while nothing happens.
    """
    return f"({part}) / clamp_min({whole}, 0.001)"


def stat(title: str, description: str, unit: str, query: str, **more: Any) -> Panel:
    """
    Make a number that can be read from across a room.
    """
    return Panel(title, description, unit, [(query, "")], kind="stat", width=4, height=4, **more)


RAW = 'stream=~"transactions:raw.*"'
FAILED = f'{RAW},outcome=~"failed|dead_lettered"'
BY_FRAUD_CHECK = 'group="fraud-check"'
FRAUD_CHECK = f"{RAW},{BY_FRAUD_CHECK}"
NOT_SCORED = 'outcome!="scored"'
FIRING = 'sort_desc(count by (alertname, severity, component) (ALERTS{alertstate="firing",alertname=~"Fraudstream.+"}))'
DECISIONS = f"sum({rate('decisions_total')})"
OVERVIEW: Sequence[tuple[str, Sequence[Panel]]] = [
    ("Now", [
        stat("Decisions", "Decisions made per second by all workers.", "eps", DECISIONS, base="text"),
        stat("Latency p99", "Time from XADD to decision. The objective is 250 ms.", "s",
             quantile(0.99, "decision_latency_seconds"), steps=[(0.15, "yellow"), (0.25, "red")]),
        stat("Failed events", "Share of transactions that failed or were dead-lettered in either group.", "percentunit",
             share(f"sum({rate('events_processed_total', FAILED)})", f"sum({rate('events_processed_total', FRAUD_CHECK)})"),
             steps=[(0.001, "yellow"), (0.01, "red")]),
        stat("Degraded decisions", "Share of decisions that were made without the opinion of a group.", "percentunit",
             share(f"sum({rate('decisions_degraded_total')})", DECISIONS), steps=[(0.001, "yellow"), (0.01, "red")]),
        stat("Dead letters", "Entries given up in the selected range.", "short",
             "sum(increase(fraudstream_dlq_events_total{$J}[$__range]))", steps=[(1, "yellow"), (100, "red")]),
        stat("Workers", "Processes that answer scrapes.", "short", "count(fraudstream_worker_heartbeat_timestamp_seconds{$J})",
             base="red", steps=[(1, "green")]),
    ]),
    ("Firing alerts", [
        Panel("Firing alerts", "Alerts firing now.", "short",
              [(FIRING, "")], kind="table", width=24, height=5),
    ]),
    ("Rate, errors, duration", [
        Panel("Entries read and decisions made", "Entries read by fraud-check against decisions. A lasting gap is a join that "
              "waits, or duplicates.", "eps",
              [(f"sum({rate('read_batch_events_sum', BY_FRAUD_CHECK)})", "read"),
               (DECISIONS, "decided")]),
        Panel("Entries not scored", "Finished entries that were not scored, by group and outcome.", "eps",
              [(f"sum by (group, outcome) ({rate('events_processed_total', NOT_SCORED)}) > 0",
                "{{group}} {{outcome}}"), ("vector(0)", "none")]),
        Panel("Decision latency", "XADD to decision. Red: beyond the objective. Dots: slow transactions, by id.", "s",
              [(quantile(q, "decision_latency_seconds"), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)],
              steps=[(0.25, "red")]),
    ]),
    ("Backlog", [
        Panel("Entries not read", "Lag of each group, counted where Redis cannot tell it.", "short",
              [("max by (group) (fraudstream_group_lag_entries{$J})", "{{group}}")]),
        Panel("Oldest entry in work", "Age of the oldest entry read and not acknowledged. Red: nothing finishes it.", "s",
              [("max by (group) (fraudstream_group_oldest_pending_age_seconds{$J})", "{{group}}")], steps=[(120, "red")]),
        Panel("Workers with a heartbeat", "Consumers of each group that gave a sign of life. At 0 nobody serves the group.",
              "short", [('max by (group) (fraudstream_group_consumers{$J,state="active"})', "{{group}}")]),
    ]),
    ("Decisions", [
        Panel("Outcomes", "Decisions per second, by outcome.", "eps",
              [(f"sum by (outcome) ({rate('decisions_total')})", "{{outcome}}")]),
        Panel("Degraded, by reason", "Decisions made with a fallback verdict.", "eps",
              [(f"sum by (reason) ({rate('decisions_degraded_total')}) > 0", "{{reason}}"), ("vector(0)", "none")]),
        Panel("Dead letters, by reason", "Entries given up per second.", "eps",
              [(f"sum by (reason) ({rate('dlq_events_total')}) > 0", "{{reason}}"), ("vector(0)", "none")]),
    ]),
    ("Where the time goes", [
        Panel("Mean time per stage", "Seconds per batch in each step.", "s",
              [(mean("stage_duration_seconds", "stage"), "{{stage}}")]),
        Panel("Mean batch size", "Entries per read. Rises under load.", "short",
              [(mean("read_batch_events", "group"), "{{group}}")]),
        Panel("Reclaimed, retried, stepped in", "Entries taken over from dead workers, tried again, or completed for a group "
              "that missed the deadline.", "eps",
              [(f"sum by (group) ({rate('group_reclaimed_entries_total')}) > 0", "reclaimed {{group}}"),
               (f"sum by (group, reason) ({rate('event_retries_total')}) > 0", "retry {{group}} {{reason}}"),
               (f"sum by (group) ({rate('step_ins_total')}) > 0", "step-in {{group}}"), ("vector(0)", "none")]),
    ]),
    ("Records and alerts", [
        Panel("Rows stored", "New rows per second, by table.", "rowsps",
              [(f"sum by (table) ({rate('sink_rows_total')})", "{{table}}")]),
        Panel("Write time", "Per batch, commit included.", "s",
              [(quantile(q, "sink_write_duration_seconds"), f"p{q * 100:.0f}") for q in (0.5, 0.99)]),
        Panel("Notifications", "Alerts that reached an end, by channel and outcome.", "eps",
              [(f"sum by (channel, outcome) ({rate('notifications_total')}) > 0", "{{channel}} {{outcome}}"),
               ("vector(0)", "none")]),
    ]),
    ("Service level objectives", [
        Panel("Burn rate, 1 h", "1 spends the budget of 30 days in exactly 30 days; 14.4 pages at once, 6 after 15 minutes.",
              "none", [("slo:sli_error:ratio_rate1h / on (slo) (1 - slo:objective:ratio)", "{{slo}}")], width=24, height=6,
              steps=[(6, "orange"), (14.4, "red")]),
    ]),
]  # fmt: skip


def render(title: str, uid: str, question: str, rows: Sequence[tuple[str, Sequence[Panel]]]) -> dict[str, Any]:
    """
    Lay out rows of panels, left to right, as the JSON that Grafana loads.
    """
    panels: list[dict[str, Any]] = []
    top = 0
    for row_title, row in rows:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row_title, "collapsed": False, "gridPos": place, "panels": []}
        )
        left, top = 0, top + 1
        for panel in row:
            place = {"h": panel.height, "w": panel.width, "x": left, "y": top}
            panels.append(_panel(panel, len(panels) + 1) | {"gridPos": place})
            left += panel.width
        top += max(panel.height for panel in row)
    return {
        "uid": uid,
        "title": title,
        "description": question,
        "tags": ["fraudstream", "generated"],
        "schemaVersion": 42,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "utc",
        "time": {"from": "now-1h", "to": "now"},
        "links": [_LINK],
        "templating": {"list": _VARIABLES},
        "panels": panels,
    }


_LINK = {
    "type": "dashboards", "title": "Fraudstream", "tags": ["fraudstream"], "asDropdown": True, "includeVars": True,
    "keepTime": True,
}  # fmt: skip
_VARIABLES: list[dict[str, Any]] = [
    {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
    *(
        {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": DATASOURCE,
            "query": query,
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "current": {"text": "All", "value": "$__all"},
        }
        for name, label, query in (
            ("job", "Job", "label_values(fraudstream_build_info, job)"),
            ("instance", "Instance", 'label_values(fraudstream_build_info{job=~"$job"}, instance)'),
        )
    ),
]


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    instant = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "expr": query.replace("$J", CHOSEN),
            "legendFormat": legend or "__auto",
            "instant": instant,
            "range": not instant,
            "format": "table" if instant else "time_series",
            "exemplar": panel.title == "Decision latency",
        }
        for place, (query, legend) in enumerate(panel.queries)
    ]
    steps = [{"color": panel.base, "value": None}, *({"color": colour, "value": value} for value, colour in panel.steps)]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    overrides: list[dict[str, Any]] = []
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {
            "fillOpacity": 5,
            "showPoints": "never",
            "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
        }
        overrides = [
            {
                "matcher": {"id": "byRegexp", "options": f".*\\b{word}$"},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
            }
            for word, colour in COLOURS.items()
            if any("{{outcome}}" in legend for _, legend in panel.queries)
        ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": _OPTIONS[panel.kind],
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "area"},
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
    "table": {"showHeader": True},
}


def build() -> dict[str, str]:
    """
    Return each dashboard's file name and text.
    """
    overview = render(
        "Fraudstream / Overview",
        "fraudstream-overview",
        "Start here. Is the pipeline deciding payments fast enough, and is anything on fire?",
        OVERVIEW,
    )
    return {"overview.json": json.dumps(overview, indent=1) + "\n"}


if __name__ == "__main__":
    for name, text in build().items():
        (Path(__file__).parent / name).write_text(text)
