"""
A Prometheus of our own, with the shipped rules at any speed, and the alerts that it fires.
"""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from fraudstream.dashboards.asking import ask
from fraudstream.dashboards.files import rule_files
from fraudstream.dashboards.rules import INTERVAL_S, duration
from fraudstream.local.process import free_port
from tests.support.wait import wait_until_sync


class Prometheus:
    """
    Scrapes what leaves a file in ``targets``.

    Args:
        folder: Where everything is kept.
        divided_by: By how much every duration of the rules, and the scrape interval, is divided.
        data: Blocks to serve instead of scraping; None for none.
    """

    def __init__(self, folder: Path, *, divided_by: int = 30, data: Path | None = None) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.targets = folder / "targets"
        self.folder = folder
        self.targets.mkdir(parents=True, exist_ok=True)
        (folder / "rules").mkdir(exist_ok=True)
        for name, text in rule_files(divided_by=divided_by).items():
            (folder / "rules" / name).write_text(text)
        every = duration(INTERVAL_S, divided_by)
        config: dict[str, Any] = {"global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}}
        if data is None:
            found = {"files": [f"{self.targets}/*.json"], "refresh_interval": "500ms"}
            config["rule_files"] = ["rules/*.yml"]
            config["scrape_configs"] = [{"job_name": "fraudstream", "file_sd_configs": [found]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={data or folder / 'data'}"]
        command += [f"--web.listen-address={self.url.removeprefix('http://')}", "--enable-feature=exemplar-storage"]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        wait_until_sync(lambda: self.value("vector(7)") == 7, "Prometheus to answer")

    def value(self, query: str) -> float | None:
        """
        Return the value of the first series, None without one or while it does not answer.
        """
        try:
            rows = ask(self.url, query)
        except (OSError, ValueError):
            return None
        return float(rows[0]["value"][1]) if rows else None

    def firing(self) -> set[str]:
        """
        Return the names of the alerts that fire now.
        """
        rows = ask(self.url, 'ALERTS{alertstate="firing",alertname=~"Fraudstream.+"}')
        return {row["metric"]["alertname"] for row in rows}

    def stop(self) -> None:
        """
        End it.
        """
        self.process.terminate()
        self.process.wait(timeout=60)
