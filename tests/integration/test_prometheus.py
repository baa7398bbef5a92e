"""
A real Prometheus finds a worker by the file it leaves, scrapes it, and answers every query that the project ships.
"""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fraudstream.local.process import free_port
from fraudstream.telemetry import exporter
from fraudstream.telemetry.metrics import Metrics
from tests.support.builders import a_decision, a_transaction
from tests.support.tools import needs
from tests.support.wait import wait_until_sync
from tests.test_dashboards import queries

ROOT = Path(__file__).resolve().parents[2]
pytestmark = needs("prometheus")


class Prometheus:
    def __init__(self, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.targets = folder / "targets"
        shutil.copytree(ROOT / "dashboards" / "prometheus" / "rules", folder / "rules")
        config = yaml.safe_load((ROOT / "dashboards" / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        del config["alerting"]
        config["scrape_configs"] = [
            {"job_name": "fraudstream", "file_sd_configs": [{"files": [f"{self.targets}/*.json"], "refresh_interval": "1s"}]}
        ]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        command += [f"--web.listen-address={self.address}", "--enable-feature=exemplar-storage"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    def get(self, path: str, **parameters: str) -> Any:
        url = f"http://{self.address}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            if error.code != 503:  # it is still starting
                raise AssertionError(f"{parameters}: {error.read().decode()}") from None
            return {"result": []}
        except urllib.error.URLError:
            return {"result": []}

    def value(self, query: str) -> float | None:
        rows = self.get("api/v1/query", query=query)["result"]
        return float(rows[0]["value"][1]) if rows else None

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


def filled(expression: str) -> str:
    """
    Fill in what Grafana would.
    """
    values = {"$__rate_interval": "5s", "$__range": "1m", "$job": ".+", "$instance": ".+"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path)
    yield server
    server.stop()


def test_a_worker_is_found_scraped_and_every_query_is_answered(prometheus: Prometheus):
    metrics = Metrics()
    page = exporter.serve(metrics, 0, prometheus.targets, name="worker-a")
    wait_until_sync(lambda: prometheus.value('up{worker="worker-a"}') == 1, "the worker is scraped", timeout_s=30)

    metrics.decided(a_decision(a_transaction(transaction_id="txn_slow")), 0.3)
    wait_until_sync(lambda: prometheus.value("sum(fraudstream_decisions_total)") == 1, "the decision is seen", timeout_s=30)
    wait_until_sync(lambda: prometheus.value("slo:objective:ratio") is not None, "the rules are evaluated", timeout_s=30)
    exemplars = prometheus.get(
        "api/v1/query_exemplars", query="fraudstream_decision_latency_seconds_bucket", start="0", end="9999999999"
    )
    answers = {
        where: prometheus.get("api/v1/query", query=filled(text)) for where, text in queries() if "label_values" not in text
    }
    page.close()
    wait_until_sync(lambda: prometheus.value('up{worker="worker-a"}') is None, "the closed worker is forgotten", timeout_s=30)

    assert [row["labels"]["transaction_id"] for series in exemplars for row in series["exemplars"]] == ["txn_slow"]
    for title in ("Decisions", "Latency p99", "Failed events", "Degraded decisions", "Dead letters", "Workers"):
        assert answers[f"overview.json: {title}"]["result"] != [], title
