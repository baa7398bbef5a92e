"""
A decision store whose writes show up in the metrics.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence

from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.errors import DecisionStoreUnavailable
from fraudstream.fleet.ports import DecisionStore, Recorded
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.troubles import Troubles

#: From here on a write is slow, in seconds: as long as the alert FraudstreamSinkSlow waits.
SLOW_WRITE_S = 1.0
_TABLES = ("approved_transactions", "fraud_transactions", "labels")


class MeasuredDecisionStore:
    """
    Passes every call on to another ``DecisionStore`` and counts what came of it.

    Args:
        store: Does the work.
        metrics: Those of the process.
        sink: ``timescaledb`` or ``postgres``, a label of the metrics.
        troubles: Told of slow writes.
    """

    def __init__(
        self, store: DecisionStore, metrics: Metrics, *, sink: str = "postgres", troubles: Troubles | None = None
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._sink = sink
        self._troubles = troubles
        metrics.sinks.know_sink(sink, _TABLES)

    async def record(self, decisions: Iterable[Decision]) -> Recorded:
        """
        Store decisions; see ``DecisionStore``.
        """
        recorded = await self._measured(self._store.record(decisions))
        self._rows("fraud_transactions", recorded.flagged)
        self._rows("approved_transactions", len(recorded.stored) - recorded.flagged)
        return recorded

    async def record_labels(self, labels: Sequence[Label]) -> Recorded:
        """
        Store labels; see ``DecisionStore``.
        """
        recorded = await self._measured(self._store.record_labels(labels))
        said = {each.label_id: each.label.value for each in reversed(labels)}
        for value, count in Counter(said[label_id] for label_id in recorded.stored).items():
            self._metrics.sinks.feedback_labels_total.labels(value).inc(count)
        self._rows("labels", len(recorded.stored))
        return recorded

    async def _measured(self, call: Awaitable[Recorded]) -> Recorded:
        started = time.perf_counter()
        try:
            recorded = await call
        except DecisionStoreUnavailable:
            self._wrote("retried")
            raise
        took_s = time.perf_counter() - started
        if took_s > SLOW_WRITE_S and self._troubles is not None:
            self._troubles.note("writes", f"the database took {took_s:.1f} s for a batch")
        self._metrics.sinks.sink_write_duration_seconds.labels(self._sink).observe(took_s)
        self._metrics.sinks.sink_last_commit_timestamp_seconds.labels(self._sink).set_to_current_time()
        self._wrote("failed" if recorded.refused else "committed")
        return recorded

    def _wrote(self, outcome: str) -> None:
        self._metrics.sinks.sink_writes_total.labels(self._sink, outcome).inc()

    def _rows(self, table: str, count: int) -> None:
        self._metrics.sinks.sink_rows_total.labels(self._sink, table).inc(count)
