"""
All metrics of a process, in a registry of its own. Each subject declares its own, in a module beside this one.

A process exposes what it can report: a group that it does not serve would be a zero that nobody counts.
"""

import itertools
import platform
from collections.abc import Collection, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector

from fraudstream import __version__
from fraudstream.domain.decision import Decision
from fraudstream.telemetry.alert_metrics import AlertMetrics
from fraudstream.telemetry.decision_metrics import DecisionMetrics
from fraudstream.telemetry.declaring import Declarer, Described
from fraudstream.telemetry.labels import DECIDING_GROUPS, GROUP_STREAMS, LOG_LEVELS
from fraudstream.telemetry.model_metrics import ModelMetrics
from fraudstream.telemetry.monitor_metrics import MonitorMetrics
from fraudstream.telemetry.rule_metrics import RuleMetrics
from fraudstream.telemetry.sink_metrics import SinkMetrics
from fraudstream.telemetry.worker_metrics import WorkerMetrics


class Metrics:
    """
    All metrics of one process: those of every process here, others by subject under ``worker``, ``decisions``, ``rules``,
    ``models``, ``sinks``, ``alerts`` and ``monitor``. Attributes are the metrics; methods are for what takes more than one line
    to report.

    Args:
        groups: Groups that this process serves; empty for one that is no worker.
        producer: Whether it writes transactions.
        monitor: Whether it watches streams and groups for the others.
        streams: The intake streams, several when partitioned.
        revision: Commit that the process was built from, empty when not known.
    """

    def __init__(
        self,
        *,
        groups: Collection[str] = tuple(GROUP_STREAMS),
        producer: bool = True,
        monitor: bool = True,
        streams: Sequence[str] = ("transactions:raw",),
        revision: str = "",
    ) -> None:
        self.registry = CollectorRegistry()
        self._described: list[Described] = []
        deciding = any(group in DECIDING_GROUPS for group in groups)
        inputs = [(stream, group) for group in groups for stream in _inputs(group, streams)]
        ProcessCollector(registry=self.registry)
        self._declare_process(self._declarer(True), revision)
        self._declare_intake(self._declarer(producer), streams)
        self.monitor = MonitorMetrics(self._declarer(monitor))
        self.worker = WorkerMetrics(self._declarer(bool(groups)), tuple(groups), inputs)
        self.decisions = DecisionMetrics(self._declarer(deciding), streams)
        self.rules = RuleMetrics(self._declarer(deciding))
        self.models = ModelMetrics(self._declarer(deciding))
        self.sinks = SinkMetrics(self._declarer("recorder" in groups or "labels" in groups))
        self.alerts = AlertMetrics(self._declarer("alerter" in groups))

    def catalogue(self) -> list[Described]:
        """
        List what is declared, exposed by this process or not, in the order of declaration.
        """
        return list(self._described)

    def decided(self, decision: Decision, latency_s: float, *, stream: str = "transactions:raw") -> None:
        """
        Count one decision; see ``decided_all``.
        """
        self.decided_all([decision], [latency_s], stream=stream)

    def decided_all(
        self, decisions: Sequence[Decision], latencies_s: Sequence[float], *, stream: str = "transactions:raw"
    ) -> None:
        """
        Count decisions that this process emitted, and how long each took from the entry to the decision.

        Args:
            decisions: What was decided, a batch at a time: counted one by one they would cost more than to join.
            latencies_s: By the clock of Redis, which both ends were read from.
            stream: One of the intake streams that the metrics were made for.
        """
        if decisions:
            self.decisions.decided(decisions, latencies_s, stream)
            self.models.scored(decisions)

    def logged(self, level: str) -> None:
        """
        Count a line of the log; one below info, or of a level of others, counts for nothing.
        """
        if level in LOG_LEVELS:
            self.log_messages_total.labels(level).inc()

    def _declarer(self, exposed: bool) -> Declarer:
        return Declarer(self.registry if exposed else None, self._described)

    def _declare_process(self, new: Declarer, revision: str) -> None:
        info = new.gauge(
            "build_info",
            "1, with what runs here; more than one version for long means that a rollout did not finish.",
            ("version", "revision", "python"),
        )
        info.labels(__version__, revision, platform.python_version()).set(1)
        self.log_messages_total = new.counter(
            "log_messages_total",
            "Lines written to the log; worry when warning or error rises: the log says why.",
            ("level",),
            [(level,) for level in LOG_LEVELS],
        )

    def _declare_intake(self, new: Declarer, streams: Sequence[str]) -> None:
        self.producer_events_total = new.counter(
            "producer_events_total",
            "Transactions offered to the intake; rejected ones were refused because it is full: worry when it lasts.",
            ("stream", "outcome"),
            itertools.product(streams, ("appended", "rejected", "failed")),
        )


def _inputs(group: str, intake: Sequence[str]) -> Sequence[str]:
    return intake if group in DECIDING_GROUPS else (GROUP_STREAMS[group],)
