"""
The ``/metrics`` page of a process: classic text, or OpenMetrics (with exemplars) for a scraper that asks for it.
"""

import json
import os
import socket
from pathlib import Path

from prometheus_client import start_http_server

from fraudstream.domain.errors import InvalidSettings
from fraudstream.telemetry.metrics import Metrics


class Exporter:
    """
    A running page; it answers in threads of its own until closed.
    """

    def __init__(self, metrics: Metrics, *, port: int, host: str) -> None:
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=metrics.registry)
        except OSError as error:
            raise InvalidSettings(
                f"metrics_port {port} on {host} cannot be used ({error.strerror}); choose another, 0 for a free one, or none"
            ) from error
        self._announcement: Path | None = None
        self.host = host
        self.port: int = self._server.server_port

    def announce(self, directory: Path, name: str) -> None:
        """
        Leave a file for ``file_sd_configs``, complete from the moment it can be seen; taken away again by ``close``.

        Args:
            directory: Created when it does not exist.
            name: Of the file. A process that comes back under the same name replaces what it left when it was killed.
        """
        directory.mkdir(parents=True, exist_ok=True)
        target = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        draft = directory / f".{name}.draft"
        draft.write_text(json.dumps([{"targets": [target], "labels": {"job": "fraudstream", "worker": name}}]))
        self._announcement = draft.replace(directory / f"{name}.json")

    def close(self) -> None:
        """
        Take the file away and stop answering; returns when the port is free again.
        """
        if self._announcement is not None:
            self._announcement.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(
    metrics: Metrics, port: int, directory: Path | None = None, *, host: str = "127.0.0.1", name: str | None = None
) -> Exporter:
    """
    Start the page of a process.

    Args:
        metrics: What it shows.
        port: 0 takes a free one.
        directory: Where to leave a file that tells Prometheus the port; None for nowhere.
        host: Address to listen on.
        name: Name of that file and value of the label ``worker``; host name and process id when None.

    Raises:
        InvalidSettings: The port cannot be had.
    """
    exporter = Exporter(metrics, port=port, host=host)
    if directory is not None:
        exporter.announce(directory, name or f"{socket.gethostname()}-{os.getpid()}")
    return exporter
