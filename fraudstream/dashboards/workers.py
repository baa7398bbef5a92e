"""
Workers and stages: where is work waiting, and which worker is slow?
"""

from fraudstream.dashboards import limits
from fraudstream.dashboards.panels import (
    GROUP,
    TARGETS,
    Board,
    Panel,
    Step,
    by,
    heatmap,
    largest,
    mean,
    of,
    quantile,
    quiet,
    rate,
    table,
)

_CHOSEN_GROUP = 'group=~"$group"'
_BOTH = "{{stream}} / {{group}}"
_EACH = "sum by (instance)"

WORKERS = Board(
    "workers.json",
    "fraudstream-workers",
    "Fraudstream / Workers and stages",
    "Where is work waiting, and which worker is slow?",
    [
        ("Consumer groups", [
            Panel("Entries not read", "Lag of each group, counted where Redis cannot tell it. Many and growing is too few workers.",
                  "short", [(largest("stream, group", "group_lag_entries", _CHOSEN_GROUP), _BOTH)]),
            Panel("Oldest unread entry", "Age of the oldest entry that the group has not read.", "s",
                  [(largest("stream, group", "group_oldest_unread_age_seconds", _CHOSEN_GROUP), _BOTH)],
                  steps=[Step(limits.UNREAD_S, "red", "FraudstreamBacklogHigh")]),
            Panel("Oldest pending entry", "Age of the oldest entry read and not acknowledged.", "s",
                  [(largest("stream, group", "group_oldest_pending_age_seconds", _CHOSEN_GROUP), _BOTH)],
                  steps=[Step(limits.PENDING_S, "red", "FraudstreamPendingTooOld")]),
            Panel("Pending entries", "Read and not acknowledged. Fine while it goes up and down.", "short",
                  [(largest("stream, group", "group_pending_entries", _CHOSEN_GROUP), _BOTH)]),
            Panel("Consumers", "By heartbeat: active ones work, idle ones are gone and their entries are taken over.", "short",
                  [(largest("group, state", "group_consumers", _CHOSEN_GROUP), "{{group}} {{state}}")]),
            Panel("Reclaimed, retried, stepped in", "Entries taken over from dead workers, tried again, or completed for a group "
                  "that missed the deadline.", "eps",
                  quiet([(by("group", rate("group_reclaimed_entries_total", _CHOSEN_GROUP)), "reclaimed {{group}}"),
                         (by("group, reason", rate("event_retries_total", _CHOSEN_GROUP)), "retry {{group}} {{reason}}"),
                         (by("group", rate("step_ins_total", _CHOSEN_GROUP)), "step-in {{group}}")])),
        ]),
        ("Workers", [
            table("Workers", "One row per process: events per second, entries in hand, seconds since the loop came round, "
                  "share of a processor, memory.",
                  [(by("instance", rate("events_processed_total")), "Events/s"),
                   (by("instance", of("worker_inflight_events")), "In hand"),
                   (f"time() - {largest('instance', 'worker_heartbeat_timestamp_seconds')}", "Heartbeat"),
                   (f"{_EACH} (rate(process_cpu_seconds_total{{$J}}[$__rate_interval]))", "CPU"),
                   ("max by (instance) (process_resident_memory_bytes{$J})", "Memory")], width=24, height=7),
            Panel("Seconds since the loop came round", "A loop that hangs is above the line while its process lives.", "s",
                  [(f"time() - {largest('instance', 'worker_heartbeat_timestamp_seconds')}", "{{instance}}")],
                  steps=[Step(limits.STUCK_S, "red", "FraudstreamWorkerStuck")]),
            Panel("Events by worker", "Finished entries per second. One far below the others is slow, or starved.", "eps",
                  [(by("instance", rate("events_processed_total")), "{{instance}}")]),
            Panel("Lines in the log, warning and above", "Per second, by worker. The log says what.", "eps",
                  quiet([(by("instance, level", rate("log_messages_total", 'level=~"warning|error"')), "{{instance}} {{level}}")])),
        ]),
        ("Where the time goes", [
            Panel("Mean time per stage", "Seconds per batch in each step, stacked: the top edge is what a batch takes.", "s",
                  [(mean("stage_duration_seconds", "stage"), "{{stage}}")], width=12, stacked=True),
            heatmap("Decision latency distribution", "Decisions per latency bucket.", "s", "decision_latency_seconds", width=12),
            Panel("Stage p99", "By step. touch and complete are the round trips to Redis.", "s",
                  [(quantile(0.99, "stage_duration_seconds", by="le, stage"), "{{stage}}")], width=12),
            Panel("CPU of each group", "Of the loop, per second: 1 is a whole core. Near it the group needs another process.", "percentunit",
                  [(by("instance, group", rate("group_cpu_seconds_total")), "{{instance}} {{group}}")], width=12),
            Panel("Mean batch size", "Entries per read. Rises under load.", "short",
                  [(mean("read_batch_events", "group"), "{{group}}")], width=12),
        ]),
        ("The scripts' answers", [
            Panel("Touched", "Answers of the touch script out of the ordinary: done (a duplicate), late, gone (a fencing).", "eps",
                  quiet([(by("group, result", rate("touches_total", 'result!~"first|again|other"')), "{{group}} {{result}}")]), width=12),
            Panel("Completed", "Answers of the completion script out of the ordinary: unneeded, apart (not in hand in both groups), gone (a fencing), absent (a lost history).",
                  "eps",
                  quiet([(by("group, result", rate("completions_total", 'result!~"stored|emitted|together|other"')), "{{group}} {{result}}")]),
                  width=12),
        ]),
    ],
    (*TARGETS, GROUP),
)  # fmt: skip
