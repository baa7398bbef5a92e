"""
One worker of our own fleet as a process of its own, for the demo, the benchmarks and the tests.
"""

import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from fraudstream.local.owner import ourselves
from fraudstream.local.process import HOST, LocalServer


class LocalWorker(LocalServer):
    """
    ``fraudstream worker start`` for some groups; ``stop`` lets it drain, ``kill`` does not.

    Args:
        groups: As ``--group`` takes them.
        environment: The whole environment of the process: settings, and what Python needs.
        folder: Where its log is kept; None for a fresh private one.
    """

    def __init__(self, groups: str, *, environment: Mapping[str, str], folder: Path | None = None) -> None:
        super().__init__(f"worker-{groups.replace(',', '-')}", folder=folder, port=None, owner=ourselves())
        self.groups = groups
        self._given = dict(environment)

    @property
    def url(self) -> str:
        """
        The address of its metrics.
        """
        return f"http://{HOST}:{self.port}/metrics"

    def metrics(self) -> str:
        """
        Return its metrics as Prometheus would read them.

        Raises:
            OSError: It does not answer.
        """
        with urllib.request.urlopen(self.url, timeout=5) as reply:  # noqa: S310 our own page on loopback
            return str(reply.read(), "utf-8")

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def _environment(self) -> dict[str, str]:
        return self._given

    def _command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "fraudstream",
            "worker",
            "start",
            "--group",
            self.groups,
            "--metrics-port",
            str(self.port),
        ]

    def _answers(self) -> bool:
        try:
            return "fraudstream_build_info" in self.metrics()
        except (urllib.error.URLError, OSError):
            return False
