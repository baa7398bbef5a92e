"""
A panel as its author thinks of it: one line of what it asks and one of what the answer means.

Place, colours and plumbing are the same everywhere and live in ``grafana``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

#: Stands in queries for the targets that the viewer chose.
CHOSEN = 'job=~"$job",instance=~"$instance"'


class Step(NamedTuple):
    """
    The value from which a colour holds.

    ``alert`` names the alert that fires beyond it and keeps the same number; empty for one that only warns the eye, and then
    ``why`` says where the number comes from.
    """

    value: float
    colour: str
    alert: str = ""
    why: str = ""


class Panel(NamedTuple):
    """
    One panel: ``queries`` are pairs of PromQL (or SQL), with ``$J`` for the chosen targets, and legend.

    The lowest colour is ``base``. ``instant`` asks for now instead of a span of time.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    steps: Sequence[Step] = ()
    base: str = "green"
    stacked: bool = False
    instant: bool = False
    exemplars: bool = False
    most: float | None = None


class Variable(NamedTuple):
    """
    What the viewer chooses: values of a label, all of them at first.
    """

    name: str
    label: str
    query: str


class Board(NamedTuple):
    """
    One dashboard: it answers one question, in rows in the order of the data's way.

    ``source`` is ``prometheus`` or ``postgres``; ``file`` the name of what is written.
    """

    file: str
    uid: str
    title: str
    question: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    variables: Sequence[Variable] = ()
    source: str = "prometheus"

    def panels(self) -> list[Panel]:
        """
        List the panels in the order of the screen.
        """
        return [panel for _, row in self.rows for panel in row]


JOB = Variable("job", "Job", "label_values(fraudstream_build_info, job)")
INSTANCE = Variable("instance", "Instance", 'label_values(fraudstream_build_info{job=~"$job"}, instance)')
GROUP = Variable("group", "Group", 'label_values(fraudstream_group_lag_entries{job=~"$job"}, group)')
TARGETS = (JOB, INSTANCE)


def rate(metric: str, labels: str = "", over: str = "$__rate_interval") -> str:
    """
    Write the rate of a counter over the chosen targets.
    """
    return f"rate({of(metric, labels)}[{over}])"


def of(metric: str, labels: str = "") -> str:
    """
    Write a metric of the chosen targets.
    """
    return f"fraudstream_{metric}{{$J{',' + labels if labels else ''}}}"


def rise(metric: str, labels: str = "") -> str:
    """
    Write by how much a counter rose in the span on the screen.
    """
    return f"increase({of(metric, labels)}[$__range])"


def quantile(q: float, metric: str, by: str = "le", labels: str = "") -> str:
    """
    Write a quantile of a histogram.
    """
    return f"histogram_quantile({q:.2f}, sum by ({by}) ({rate(metric + '_bucket', labels)}))"


def quantiles(metric: str, labels: str = "", shown: Sequence[float] = (0.5, 0.95, 0.99)) -> list[tuple[str, str]]:
    """
    Write several quantiles, each with its legend.
    """
    return [(quantile(q, metric, labels=labels), f"p{q * 100:.0f}") for q in shown]


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


def by(labels: str, expression: str, *, fold: str = "sum") -> str:
    """
    Fold series into one for each set of these labels.
    """
    return f"{fold} by ({labels}) ({expression})"


def largest(labels: str, metric: str, matchers: str = "") -> str:
    """
    Write a gauge that several processes may report alike.
    """
    return by(labels, of(metric, matchers), fold="max")


def quiet(queries: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """
    Show only what is above zero, and a line at zero where nothing is.
    """
    return [*((f"{query} > 0", legend) for query, legend in queries), ("vector(0)", "none")]


def stat(title: str, description: str, unit: str, query: str, **more: Any) -> Panel:
    """
    Make a number that can be read from across a room.
    """
    return Panel(title, description, unit, [(query, "")], **{"kind": "stat", "width": 4, "height": 4, **more})


def bars(title: str, description: str, unit: str, query: str, legend: str, **more: Any) -> Panel:
    """
    Make a list of bars of what is largest now.
    """
    return Panel(title, description, unit, [(query, legend)], **{"kind": "bargauge", "instant": True, **more})


def table(title: str, description: str, queries: Sequence[tuple[str, str]], **more: Any) -> Panel:
    """
    Make a table of what holds now.
    """
    return Panel(title, description, **{"unit": "short", "queries": queries, "kind": "table", "instant": True, **more})


def heatmap(title: str, description: str, unit: str, metric: str, **more: Any) -> Panel:
    """
    Make a map of how the values of a histogram lie over time.
    """
    query = f"sum by (le) (increase({of(metric + '_bucket')}[$__rate_interval]))"
    return Panel(title, description, unit, [(query, "{{le}}")], **{"kind": "heatmap", **more})
