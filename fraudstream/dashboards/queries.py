"""
Every PromQL expression that is shipped, with where it stands; and what Grafana fills into it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fraudstream.dashboards.files import BOARDS, RULES
from fraudstream.dashboards.panels import CHOSEN
from fraudstream.dashboards.rules import Alert, expression

#: Calls of Grafana that stand where a query stands, and ask for the values of a label.
_LABEL_VALUES = "label_values("


class Query(NamedTuple):
    """
    One expression; ``where`` names the file and the panel, variable or rule, ``instant`` whether it is asked for now only.
    """

    where: str
    text: str
    instant: bool = False


def of_panels() -> Iterator[Query]:
    """
    Yield the queries of the panels that ask Prometheus.
    """
    for board in BOARDS:
        if board.source == "prometheus":
            for panel in board.panels():
                for text, _ in panel.queries:
                    yield Query(f"{board.file}: {panel.title}", text.replace("$J", CHOSEN), panel.instant)


def of_variables() -> Iterator[Query]:
    """
    Yield what stands behind the variables.
    """
    for board in BOARDS:
        for variable in board.variables:
            yield Query(f"{board.file}: ${variable.name}", variable.query, instant=True)


def of_rules() -> Iterator[Query]:
    """
    Yield the expressions of recordings and alerts.
    """
    for file, groups in RULES.items():
        for _, rules in groups:
            for rule in rules:
                yield Query(f"{file}: {rule.name}", expression(rule.expr), instant=True)


def of_database() -> Iterator[Query]:
    """
    Yield the SQL of the panels that ask the database.
    """
    for board in BOARDS:
        if board.source == "postgres":
            for panel in board.panels():
                for text, _ in panel.queries:
                    yield Query(f"{board.file}: {panel.title}", text, panel.kind != "timeseries")


def alerts() -> list[Alert]:
    """
    Return every alert.
    """
    return [one for groups in RULES.values() for _, rules in groups for one in rules if isinstance(one, Alert)]


def filled(text: str, *, scrape_s: float = 15.0, span: str = "1h") -> str:
    """
    Fill in what Grafana would: four scrapes for a rate, the span on the screen, everything for what the viewer chose.
    """
    if text.startswith(_LABEL_VALUES):
        text = text.removeprefix(_LABEL_VALUES).rpartition(",")[0]
    values = {
        "$__rate_interval": f"{round(4 * scrape_s * 1000)}ms",
        "$__range": span,
        "$job": ".+",
        "$instance": ".+",
        "$group": ".+",
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def filled_sql(text: str, *, since: str, until: str) -> str:
    """
    Fill in what Grafana's PostgreSQL source would for the span between two times.
    """
    while (start := text.find("$__timeFilter(")) >= 0:
        end = text.index(")", start)
        column = text[start + len("$__timeFilter(") : end]
        text = f"{text[:start]}{column} BETWEEN '{since}' AND '{until}'{text[end + 1 :]}"
    return text
