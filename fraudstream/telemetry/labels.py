"""
The closed sets that label values come from, and the boundaries of histograms.
"""

from collections.abc import Collection, Mapping

#: The stream that each group reads, unpartitioned.
GROUP_STREAMS: Mapping[str, str] = {
    "fraud-check": "transactions:raw",
    "ml-scoring": "transactions:raw",
    "recorder": "transactions:decisions",
    "alerter": "transactions:fraud",
    "labels": "transactions:labels",
}
DECIDING_GROUPS = ("fraud-check", "ml-scoring")
#: Channels of payment that have a series of their own; what else a transaction may say counts as other, nothing as none.
PAYMENT_CHANNELS = ("pos", "web", "app", "transfer", "other", "none")
NOTIFICATION_CHANNELS = ("console", "slack", "email", "webhook")
TOUCH_RESULTS = ("first", "again", "late", "other", "done", "gone")
COMPLETION_RESULTS = ("stored", "emitted", "together", "apart", "unneeded", "other", "gone", "absent")
EVENT_OUTCOMES = ("scored", "invalid", "duplicate", "failed", "dead_lettered")
DEAD_LETTER_REASONS = (
    "decode_error", "schema_invalid", "card_number", "too_large", "max_retries", "sink_rejected", "model_error", "trimmed",
)  # fmt: skip
MODEL_ROLES = ("champion", "canary", "shadow")
SHADOW_RESULTS = ("same", "milder", "harsher", "missed")
LOG_LEVELS = ("info", "warning", "error")
WORKER_STATES = ("starting", "running", "draining", "stopped")
#: Steps of a batch, and the group that takes each; the first four are taken by both deciding groups.
STAGES: Mapping[str, Collection[str]] = {
    "decode": DECIDING_GROUPS,
    "touch": DECIDING_GROUPS,
    "features": DECIDING_GROUPS,
    "complete": DECIDING_GROUPS,
    "rules": ("fraud-check",),
    "model": ("ml-scoring",),
    "persist": ("recorder", "labels"),
}

#: 0.25 s is the objective and must be a boundary: a quantile between boundaries is a guess, a ratio at one is exact.
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
STAGE_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
#: 0.05 s is the most that a swap of rules or lists may hold up the loop of a worker.
STALL_BUCKETS_S = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
SCORE_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
SINK_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: 30 s is the objective of alert delivery.
NOTIFICATION_BUCKETS_S = (0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300)
