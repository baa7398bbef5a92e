"""
What one process watches for the others: streams, groups, the server, and what became of decisions.
"""

from fraudstream.telemetry.declaring import Declarer


class MonitorMetrics:
    """
    The gauges of the monitor, set at every look and absent where it could not look.
    """

    def __init__(self, new: Declarer) -> None:
        stream, pair = ("stream",), ("stream", "group")
        self.stream_entries = new.gauge(
            "stream_entries", "Entries in a stream; worry when it nears stream_max_entries.", stream
        )
        self.stream_max_entries = new.gauge(
            "stream_max_entries", "Entries above which producers are refused; nothing is ever cut off.", stream
        )
        self.stream_memory_bytes = new.gauge(
            "stream_memory_bytes", "Memory of a stream as Redis reports it, up to four times too high.", stream
        )
        self.group_lag_entries = new.gauge(
            "group_lag_entries",
            "Entries that a group has not read yet, NaN when unknown; worry when it grows for minutes.",
            pair,
        )
        self.group_lag_unknown = new.gauge(
            "group_lag_unknown", "1 while Redis cannot tell the lag: entries were deleted ahead of the group.", pair
        )
        self.group_oldest_unread_age_seconds = new.gauge(
            "group_oldest_unread_age_seconds",
            "Age of the oldest entry that a group has not read, 0 when none; worry above 30.",
            pair,
        )
        self.group_pending_entries = new.gauge(
            "group_pending_entries", "Entries read and not acknowledged; worry when they stay while nothing finishes.", pair
        )
        self.group_oldest_pending_age_seconds = new.gauge(
            "group_oldest_pending_age_seconds", "Age of the oldest unacknowledged entry, 0 when none; worry above 120.", pair
        )
        self.group_consumers = new.gauge(
            "group_consumers",
            "Consumers that gave a sign of life lately (active) or did not (idle); worry at 0 active.",
            ("stream", "group", "state"),
        )
        self.dlq_entries = new.gauge("dlq_entries", "Dead letters that wait for somebody; worry above 0.", stream)
        self.dlq_oldest_entry_age_seconds = new.gauge(
            "dlq_oldest_entry_age_seconds", "Age of the oldest dead letter, 0 when none; worry above a day.", stream
        )

        self.alerts_undeliverable_entries = new.gauge(
            "alerts_undeliverable_entries", "Alerts that a channel never took, by stream; worry above 0.", stream
        )
        self.notification_queue_entries = new.gauge(
            "notification_queue_entries",
            "Alerts that a channel is to be told of within a minute; worry when they stay while none is delivered.",
            ("channel",),
        )
        self._declare_server(new)
        self._declare_maturity(new)

    def _declare_server(self, new: Declarer) -> None:
        # Without labels there is no way to be absent while Redis is away; hence the one label, the name of the server.
        server = ("server",)
        self.redis_memory_used_bytes = new.gauge(
            "redis_memory_used_bytes", "Memory that Redis uses; worry when it nears the limit.", server
        )
        self.redis_memory_limit_bytes = new.gauge(
            "redis_memory_limit_bytes",
            "What Redis may use (maxmemory), 0 without a limit; producers are refused at 80 %.",
            server,
        )
        self.redis_clients = new.gauge("redis_clients", "Connections to Redis; worry when it only rises.", server)
        self.redis_evicted_keys = new.gauge(
            "redis_evicted_keys", "Keys that Redis threw away since its start; any is lost state.", server
        )
        self.redis_append_ok = new.gauge(
            "redis_append_ok", "1 while Redis can write its append-only file; at 0 a crash loses what came since.", server
        )
        self.redis_answer_seconds = new.gauge(
            "redis_answer_seconds", "Time that Redis took to answer the monitor's last look; worry above 0.1.", server
        )

    def _declare_maturity(self, new: Declarer) -> None:
        of_model, known = ("model",), "of the last 30 days whose truth is known"
        self.model_labelled_decisions = new.gauge(
            "model_labelled_decisions",
            f"Decisions {known}, by what it is; below some twenty frauds the ratios beside it say little.",
            ("model", "label"),
        )
        self.model_precision_ratio = new.gauge(
            "model_precision_ratio",
            f"Share of frauds among decisions {known} and whose score reaches the mildest band; worry when it drops.",
            of_model,
        )
        self.model_recall_ratio = new.gauge(
            "model_recall_ratio",
            f"Share of the frauds {known} whose score reaches the mildest band; worry when it falls by a third.",
            of_model,
        )
        self.decision_precision_ratio = new.gauge(
            "decision_precision_ratio",
            f"Share of frauds among the flagged decisions {known}, rules included; low means false alarms.",
            of_model,
        )
        self.decision_recall_ratio = new.gauge(
            "decision_recall_ratio",
            f"Share of the frauds {known} that were flagged, rules included; low means missed fraud.",
            of_model,
        )
