"""
What the recorder and the labels' group tell of the database that they write to.
"""

from collections.abc import Iterable

from fraudstream.domain.decision import LabelValue
from fraudstream.telemetry.declaring import Declarer
from fraudstream.telemetry.labels import SINK_BUCKETS_S


class SinkMetrics:
    """
    Batches, rows and labels stored.
    """

    def __init__(self, new: Declarer) -> None:
        self.sink_writes_total = new.counter(
            "sink_writes_total",
            "Batches offered to the database; worry when retried or failed outnumber committed.",
            ("sink", "outcome"),
        )
        self.sink_rows_total = new.counter("sink_rows_total", "Rows that are new in a table.", ("sink", "table"))
        self.sink_write_duration_seconds = new.histogram(
            "sink_write_duration_seconds",
            "Time of one batch, commit included; worry when p99 nears the batch interval.",
            ("sink",),
            (),
            SINK_BUCKETS_S,
        )
        self.sink_last_commit_timestamp_seconds = new.gauge(
            "sink_last_commit_timestamp_seconds",
            "When the last batch was committed; worry when older than 120 s under load.",
            ("sink",),
        )
        self.feedback_labels_total = new.counter(
            "feedback_labels_total",
            "Labels stored, by what they say; gives the share of false alarms over time.",
            ("label",),
            [(label.value,) for label in LabelValue],
        )

    def know_sink(self, sink: str, tables: Iterable[str]) -> None:
        """
        Start the series of a sink, ``timescaledb`` or ``postgres``, and of the tables that it fills.
        """
        self.sink_write_duration_seconds.labels(sink)
        for outcome in ("committed", "retried", "failed"):
            self.sink_writes_total.labels(sink, outcome)
        for table in tables:
            self.sink_rows_total.labels(sink, table)
