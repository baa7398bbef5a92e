"""
A real Prometheus finds a worker by the file it leaves and scrapes it; every query that is shipped is answered with data.
"""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from fraudstream.dashboards.asking import ask_everything
from fraudstream.dashboards.queries import filled_sql, of_database, of_panels, of_variables
from fraudstream.telemetry import exporter
from fraudstream.telemetry.metrics import Metrics
from tests.support.blocks import END_S, write_blocks
from tests.support.builders import a_decision, a_transaction
from tests.support.prometheus import Prometheus
from tests.support.tools import needs
from tests.support.wait import wait_until_sync


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path, divided_by=30)
    yield server
    server.stop()


@needs("prometheus")
def test_a_worker_is_found_and_scraped_with_exemplars_and_forgotten_when_it_ends(prometheus: Prometheus):
    metrics = Metrics()
    page = exporter.serve(metrics, 0, prometheus.targets, name="worker-a")
    wait_until_sync(lambda: prometheus.value('up{worker="worker-a"}') == 1, "the worker is scraped")

    metrics.decided(a_decision(a_transaction(transaction_id="txn_slow")), 0.3)
    wait_until_sync(lambda: prometheus.value("sum(fraudstream_decisions_total)") == 1, "the decision is seen")
    wait_until_sync(lambda: prometheus.value("slo:objective:ratio") is not None, "the rules are evaluated")
    exemplars = exemplars_of(prometheus.url, "fraudstream_decision_latency_seconds_bucket")
    page.close()
    wait_until_sync(lambda: prometheus.value('up{worker="worker-a"}') is None, "the worker is forgotten")

    assert exemplars == ["txn_slow"]


def exemplars_of(url: str, query: str) -> list[str]:
    wanted = urllib.parse.urlencode({"query": query, "start": "0", "end": "9999999999"})
    with urllib.request.urlopen(f"{url}/api/v1/query_exemplars?{wanted}", timeout=5) as reply:
        found = json.load(reply)["data"]
    return [row["labels"]["transaction_id"] for series in found for row in series["exemplars"]]


@needs("prometheus", "promtool")
def test_every_query_and_variable_is_answered_with_data(tmp_path: Path):
    server = Prometheus(tmp_path, data=write_blocks(tmp_path))
    try:
        answered = ask_everything(server.url, at=END_S - 60.0)
    finally:
        server.stop()

    shown = {one.query.where for one in answered if one.series}
    asked = {query.where for query in [*of_panels(), *of_variables()]}
    assert [(one.query.where, one.error) for one in answered if one.error] == []
    assert asked - shown == set()
    assert len(asked) > 80


async def test_every_question_to_the_database_is_one_that_the_dashboards_role_may_ask(database: str):
    connection = await asyncpg.connect(database)
    try:
        allowed = await connection.fetchval("SELECT grant_to_dashboards()")
        await connection.execute("SET ROLE fraudstream_dashboards")
        for query in of_database():
            text = filled_sql(query.text, since="2026-01-01T00:00:00Z", until="2026-02-01T00:00:00Z")
            await connection.fetch(text)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT card_id FROM fraud_transactions")
    finally:
        await connection.close()

    assert allowed
