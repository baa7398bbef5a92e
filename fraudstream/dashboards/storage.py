"""
Storage and Redis: is everything stored, and does Redis have room?
"""

from fraudstream.dashboards import limits
from fraudstream.dashboards.panels import (
    TARGETS,
    Board,
    Panel,
    Step,
    by,
    largest,
    of,
    quantile,
    quiet,
    rate,
    stat,
)

_USED = f"max({of('redis_memory_used_bytes')}) / (max({of('redis_memory_limit_bytes')}) > 0)"
_NOT_COMMITTED = 'outcome!="committed"'

STORAGE = Board(
    "storage.json",
    "fraudstream-storage",
    "Fraudstream / Storage and Redis",
    "Is everything stored, and does Redis have room?",
    [
        ("Sinks", [
            Panel("Rows stored", "New rows per second, by table.", "rowsps",
                  [(by("sink, table", rate("sink_rows_total")), "{{sink}} {{table}}")]),
            Panel("Write time", "Seconds per batch, commit included.", "s",
                  [(quantile(0.5, "sink_write_duration_seconds", by="le, sink"), "{{sink}} p50"),
                   (quantile(0.9, "sink_write_duration_seconds", by="le, sink"), "{{sink}} p90"),
                   (quantile(0.99, "sink_write_duration_seconds", by="le, sink"), "{{sink}} p99")],
                  steps=[Step(limits.SLOW_WRITE_S, "red", "FraudstreamSinkSlow")]),
            Panel("Writes that did not go through", "Share of batches, by sink and outcome.", "percentunit",
                  [((f"sum by (sink, outcome) ({rate('sink_writes_total', _NOT_COMMITTED)}) / on (sink) group_left () "
                    f"sum by (sink) ({rate('sink_writes_total')})"), "{{sink}} {{outcome}}")],
                  steps=[Step(limits.WRITES, "red", "FraudstreamSinkFailing")]),
            Panel("Seconds since the last commit", "A flat low line is healthy while decisions are made.", "s",
                  [(f"time() - {largest('sink', 'sink_last_commit_timestamp_seconds')}", "{{sink}}")],
                  steps=[Step(limits.STALE_S, "red", "FraudstreamSinkStale")]),
            Panel("Decisions that wait to be stored", "Not read, or read and not committed by the recorder.", "short",
                  [(largest("group", "group_lag_entries", 'group=~"recorder|labels"'), "{{group}} unread"),
                   (largest("group", "group_pending_entries", 'group=~"recorder|labels"'), "{{group}} in work")]),
            Panel("Batches", "Writes per second, by outcome.", "ops",
                  [(by("sink, outcome", rate("sink_writes_total")), "{{sink}} {{outcome}}")]),
        ]),
        ("Redis", [
            stat("Memory used", "Share of maxmemory. Producers are refused above 80%.", "percentunit", _USED, width=6,
                 steps=[Step(limits.MEMORY_HIGH, "yellow", "FraudstreamRedisMemoryHigh"),
                        Step(limits.MEMORY_FULL, "red", "FraudstreamRedisFull")]),
            stat("Append-only file", "1 while the last write of the append-only file went through.", "short",
                 f"min({of('redis_append_ok')})", base="red", steps=[Step(1, "green", "FraudstreamRedisUnsafe")], width=6),
            stat("Evicted keys", "Keys that Redis threw away since its start. Anything but 0 is lost state.", "short",
                 f"max({of('redis_evicted_keys')})", steps=[Step(1, "red", "FraudstreamRedisUnsafe")], width=6),
            stat("Round trip", "What the monitor's last look took on the way there and back.", "s",
                 f"max({of('redis_answer_seconds')})", base="text", width=6),
            Panel("Memory", "In use, and the limit.", "bytes",
                  [(f"max({of('redis_memory_used_bytes')})", "used"),
                   (f"max({of('redis_memory_limit_bytes')}) > 0", "limit")]),
            Panel("Memory by stream", "As Redis reports it, up to four times too high.", "bytes",
                  [(largest("stream", "stream_memory_bytes"), "{{stream}}")]),
            Panel("Stream fill", "Entries divided by the admission limit. At 100% the producer refuses new transactions.",
                  "percentunit",
                  [(by("stream", f"{of('stream_entries')} / {of('stream_max_entries')}", fold="max"), "{{stream}}")],
                  steps=[Step(limits.STREAM_FULL, "red", "FraudstreamStreamNearLimit")]),
            Panel("Entries", "Length of each stream. The janitor drops what every group has finished.", "short",
                  [(largest("stream", "stream_entries"), "{{stream}}")]),
            Panel("Producers", "Transactions offered: appended, rejected because Redis is full, failed with unknown outcome.", "eps",
                  [(by("outcome", rate("producer_events_total")), "{{outcome}}")]),
            Panel("Clients", "Connections to Redis; about four for each worker.", "short",
                  [(f"max({of('redis_clients')})", "clients")]),
            Panel("Outages that workers met", "Work postponed because a server did not answer.", "eps",
                  quiet([(by("group", rate("event_retries_total", 'reason="unavailable"')), "{{group}}")]), width=24, height=6),
        ]),
    ],
    TARGETS,
)  # fmt: skip
