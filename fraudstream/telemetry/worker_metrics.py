"""
What a worker tells whatever its group: entries and their ends, its state, and what holds up its loop.
"""

import itertools
from collections.abc import Sequence

from fraudstream.telemetry.declaring import Declarer
from fraudstream.telemetry.labels import (
    BATCH_BUCKETS,
    DEAD_LETTER_REASONS,
    EVENT_OUTCOMES,
    STAGE_BUCKETS_S,
    STAGES,
    STALL_BUCKETS_S,
    WORKER_STATES,
)


class WorkerMetrics:
    """
    What became of entries, and how the worker itself is.

    Args:
        new: Declares them.
        groups: Groups that the process serves.
        inputs: Each stream that is read, with its group.
    """

    def __init__(self, new: Declarer, groups: Sequence[str], inputs: Sequence[tuple[str, str]]) -> None:
        self._declare_entries(new, groups, inputs)
        self._declare_life(new)
        self._declare_stalls(new)

    def _declare_entries(self, new: Declarer, groups: Sequence[str], inputs: Sequence[tuple[str, str]]) -> None:
        self.events_processed_total = new.counter(
            "events_processed_total",
            "Finished entries, exactly one count per entry and group; worry when failed or dead_lettered rise.",
            ("stream", "group", "outcome"),
            [(*pair, outcome) for pair in inputs for outcome in EVENT_OUTCOMES],
        )
        self.read_batch_events = new.histogram(
            "read_batch_events",
            "Entries that one read returned; it rises under load.",
            ("group",),
            [(group,) for group in groups],
            BATCH_BUCKETS,
        )
        self.group_reclaimed_entries_total = new.counter(
            "group_reclaimed_entries_total",
            "Entries taken over from a consumer that is gone; worry when it does not stop.",
            ("stream", "group"),
            inputs,
        )
        self.event_retries_total = new.counter(
            "event_retries_total",
            "Entries that will be tried again: a server was away (unavailable), or the entry itself failed (failed).",
            ("group", "reason"),
            itertools.product(groups, ("unavailable", "failed")),
        )
        self.dlq_events_total = new.counter(
            "dlq_events_total",
            "Entries given up, by the stream they came from; worry when one reason stands out.",
            ("stream", "reason"),
            itertools.product(dict(inputs), DEAD_LETTER_REASONS),
        )
        self.stage_duration_seconds = new.histogram(
            "stage_duration_seconds",
            "Time of one step of a batch; shows where the time goes when latency rises.",
            ("stage",),
            [(stage,) for stage, taking in STAGES.items() if set(taking) & set(groups)],
            STAGE_BUCKETS_S,
        )
        self.group_cpu_seconds_total = new.counter(
            "group_cpu_seconds_total",
            "CPU that the work of a group took of the loop; tells the groups of one process apart.",
            ("group",),
            [(group,) for group in groups],
        )

    def _declare_life(self, new: Declarer) -> None:
        self.worker_inflight_events = new.gauge(
            "worker_inflight_events", "Entries in hand; worry when it stays above 0 while nothing finishes."
        )
        self.worker_heartbeat_timestamp_seconds = new.gauge(
            "worker_heartbeat_timestamp_seconds", "When the loop last came round; worry when older than 30 s."
        )
        self.ticked()
        self.worker_last_event_timestamp_seconds = new.gauge(
            "worker_last_event_timestamp_seconds", "When an entry was last finished, 0 before the first."
        )
        self.worker_state = new.gauge(
            "worker_state", "1 for the state that the worker is in; worry when draining lasts.", ("state",)
        )
        self.changed("starting")

    def _declare_stalls(self, new: Declarer) -> None:
        self.event_loop_stall_seconds = new.histogram(
            "event_loop_stall_seconds",
            "How much later than asked the loop of the worker woke up; what holds it up holds up every payment in hand.",
            (),
            (),
            STALL_BUCKETS_S,
        )
        self.event_loop_own_stall_seconds = new.histogram(
            "event_loop_own_stall_seconds",
            "The same without what the loop waited for a core that others had: what it holds up itself.",
            (),
            (),
            STALL_BUCKETS_S,
        )
        self.takeover_stall_seconds = new.histogram(
            "takeover_stall_seconds",
            "How much later than asked the loop woke up while rules or models were being taken over, whatever the reason.",
            (),
            (),
            STALL_BUCKETS_S,
        )
        self.takeover_held_seconds = new.histogram(
            "takeover_held_seconds",
            "The most of each such stall that the takeover can have caused; worry above 0.05.",
            (),
            (),
            STALL_BUCKETS_S,
        )
        self.takeover_cpu_seconds = new.histogram(
            "takeover_cpu_seconds",
            "CPU that building and trying a rule set took, in slices between the batches.",
            (),
            (),
            STALL_BUCKETS_S,
        )

    def ticked(self) -> None:
        """
        Note that the loop is alive.
        """
        self.worker_heartbeat_timestamp_seconds.set_to_current_time()

    def changed(self, state: str) -> None:
        """
        Note the state of the worker, one of ``WORKER_STATES``.
        """
        for known in WORKER_STATES:
            self.worker_state.labels(known).set(known == state)

    def stalled(self, late_s: float, own_s: float, change_s: float | None) -> None:
        """
        Note one look at the loop of the worker.

        Args:
            late_s: How much later than asked it woke up.
            own_s: The same without its waiting for a core.
            change_s: The most of it that a takeover of rules or models can have caused; None when there was none.
        """
        self.event_loop_stall_seconds.observe(late_s)
        self.event_loop_own_stall_seconds.observe(own_s)
        if change_s is not None:
            self.takeover_stall_seconds.observe(late_s)
            self.takeover_held_seconds.observe(change_s)
