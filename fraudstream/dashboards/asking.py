"""
Asks a running Prometheus everything that the dashboards and rules ask.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

from fraudstream.dashboards.queries import Query, filled, of_panels, of_rules, of_variables


class Answered(NamedTuple):
    """
    What came of one query: an error in words, or how many series.
    """

    query: Query
    series: int
    error: str = ""


def ask(url: str, query: str, *, at: float | None = None) -> list[Mapping[str, Any]]:
    """
    Return the series of an instant query.

    Raises:
        ValueError: Prometheus refuses the query; the message is its own.
        OSError: It does not answer.
    """
    parameters = {"query": query} | ({} if at is None else {"time": f"{at:.3f}"})
    request = f"{url.rstrip('/')}/api/v1/query?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 -- the operator's own address
            data = json.load(reply)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error).get("error", str(error))) from None
    return list(data["result"]) if data["resultType"] == "vector" else [data["result"]]


def ask_everything(url: str, *, scrape_s: float = 15.0, span: str = "1h", at: float | None = None) -> list[Answered]:
    """
    Ask every query of every panel, variable and rule.

    Raises:
        OSError: Prometheus does not answer.
    """
    answered = []
    for query in [*of_panels(), *of_variables(), *of_rules()]:
        try:
            found = ask(url, filled(query.text, scrape_s=scrape_s, span=span), at=at)
            answered.append(Answered(query, len(found)))
        except ValueError as error:
            answered.append(Answered(query, 0, str(error)))
    return answered
