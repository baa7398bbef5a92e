"""
Every alert. A page (critical) means that somebody must act now; a cause is a warning.
"""

from fraudstream.dashboards import limits
from fraudstream.dashboards.objectives import burn_alerts
from fraudstream.dashboards.rules import Alert, Group

_OVERVIEW, _WORKERS, _DECISIONS, _DELIVERY, _STORAGE = (
    f"fraudstream-{name}" for name in ("overview", "workers", "decisions", "delivery", "storage")
)
_DECIDED = "sum(rate(fraudstream_decisions_total[5m]))"
_DEGRADED = "sum by (reason) (rate(fraudstream_decisions_degraded_total{{{}}}[5m]))"
_BLOCKS = 'sum(rate(fraudstream_decisions_total{outcome="block"}[15m]AGO)) / sum(rate(fraudstream_decisions_total[15m]AGO))'
_MEMORY = "max(fraudstream_redis_memory_used_bytes) / (max(fraudstream_redis_memory_limit_bytes) > 0)"
_LAG = "max by (stream, group) (fraudstream_group_lag_entries)"


def _fell(measure: str) -> str:
    """
    Write that precision or recall of a model is clearly below what it was a week ago.
    """
    now = f"max by (model) (fraudstream_model_{measure}_ratio)"
    return f"{now} < {limits.WORSE} * {now.replace('_ratio)', '_ratio offset 7d)')}"


WORKERS = [
    Alert(
        "FraudstreamDown", "critical", "worker", "1m", 'absent(up{job="fraudstream"} == 1)',
        "No fraudstream process answers scrapes.",
        "Payments are not being decided, or monitoring cannot see who decides them.", _OVERVIEW,
    ),
    Alert(
        "FraudstreamGroupGone", "critical", "worker", "1m",
        'max by (stream, group) (fraudstream_group_consumers{state="active",group!="labels"}) == 0',
        "No worker serves {{ $labels.group }}.",
        "Its entries wait in Redis and nothing is lost; start one: fraudstream worker start --group {{ $labels.group }}", _WORKERS,
    ),
    Alert(
        "FraudstreamMonitorBlind", "warning", "worker", "2m", "absent(fraudstream_stream_entries)",
        "Nobody can tell how the streams stand.",
        "The monitor is gone, or Redis does not answer it: alerts on lag, memory and dead letters are silent meanwhile.", _OVERVIEW,
    ),
    Alert(
        "FraudstreamWorkerDown", "warning", "worker", "2m", 'up{job="fraudstream"} == 0',
        "Worker {{ $labels.instance }} cannot be scraped.",
        "The target has been down for 2 minutes. Others take its entries over.", _WORKERS, kept="5m",
    ),
    Alert(
        "FraudstreamWorkerStuck", "critical", "worker", "1m",
        f"time() - fraudstream_worker_heartbeat_timestamp_seconds > @{limits.STUCK_S:g}s",
        "Worker {{ $labels.instance }} is alive but its loop has stopped.",
        "The loop last came round {{ $value | humanizeDuration }} ago. Its entries are taken over by others; restart it.", _WORKERS,
    ),
    Alert(
        "FraudstreamWorkerCrashLooping", "warning", "worker", "5m",
        'changes(process_start_time_seconds{job="fraudstream"}[15m]) > 3',
        "Worker {{ $labels.instance }} keeps restarting.", "It restarted {{ $value }} times in 15 minutes. Its last line says why.",
        _WORKERS,
    ),
    Alert(
        "FraudstreamErrorsLogged", "warning", "worker", "10m",
        'sum by (instance) (rate(fraudstream_log_messages_total{level="error"}[5m])) > 0.1',
        "Worker {{ $labels.instance }} logs errors all the time.", "{{ $value | humanize }} lines a second, for ten minutes.", _WORKERS,
    ),
]  # fmt: skip

STREAMS = [
    Alert(
        "FraudstreamConsumerStalled", "critical", "worker", "2m",
        f"{_LAG} > 0 unless on (stream, group) sum by (stream, group) (rate(fraudstream_events_processed_total[5m])) > 0",
        "Group {{ $labels.group }} stopped consuming {{ $labels.stream }}.",
        "{{ $value }} entries wait and none finished for 5 minutes.", _WORKERS,
    ),
    Alert(
        "FraudstreamBacklogHigh", "warning", "worker", "1m",
        f"max by (stream, group) (fraudstream_group_oldest_unread_age_seconds) > @{limits.UNREAD_S:g}s",
        "Group {{ $labels.group }} is {{ $value | humanizeDuration }} behind.",
        "That long ago was the oldest entry added to {{ $labels.stream }} that it has not read.", _WORKERS,
    ),
    Alert(
        "FraudstreamBacklogWillNotDrain", "warning", "worker", "15m",
        f"max by (stream, group) (deriv(fraudstream_group_lag_entries[15m])) > 0 and on (stream, group) {_LAG} > {limits.GROWING_ENTRIES}",
        "The backlog of {{ $labels.group }} keeps growing.",
        "It grows by {{ $value | humanize }} entries per second: capacity is below demand.", _WORKERS,
    ),
    Alert(
        "FraudstreamPendingTooOld", "warning", "worker", "1m",
        f"max by (stream, group) (fraudstream_group_oldest_pending_age_seconds) > @{limits.PENDING_S:g}s",
        "An entry of {{ $labels.stream }} has been in the hands of {{ $labels.group }} for {{ $value | humanizeDuration }}.",
        "What it needs is away (a database), its worker hangs, or it is poison and about to become a dead letter.", _WORKERS,
    ),
    Alert(
        "FraudstreamLagUnknown", "warning", "stream", "10m",
        "sum by (stream, group) (fraudstream_group_lag_unknown) > 0",
        "Redis cannot report the lag of {{ $labels.group }}.",
        "Entries of {{ $labels.stream }} were deleted ahead of the group, and too many are left to count.", _STORAGE,
    ),
    Alert(
        "FraudstreamStreamNearLimit", "warning", "stream", "10m",
        f"max by (stream) (fraudstream_stream_entries / fraudstream_stream_max_entries) > {limits.STREAM_FULL}",
        "{{ $labels.stream }} is {{ $value | humanizePercentage }} full.",
        "At its admission limit producers are refused. A group does not finish its entries.", _STORAGE,
    ),
    Alert(
        "FraudstreamProducersRefused", "warning", "stream", "2m",
        'sum by (stream) (rate(fraudstream_producer_events_total{outcome="rejected"}[5m])) > 0',
        "Producers of {{ $labels.stream }} are refused.",
        "{{ $value | humanize }} transactions a second are turned away because Redis is full; their producers wait and try again.",
        _STORAGE,
    ),
    Alert(
        "FraudstreamDeadLettersHigh", "warning", "dlq", "2m",
        f"sum by (stream) (increase(fraudstream_dlq_events_total[15m])) > {limits.LETTERS} and on (stream) "
        "sum by (stream) (rate(fraudstream_dlq_events_total[15m])) / sum by (stream) (rate(fraudstream_events_processed_total[15m]))"
        f" > {limits.LETTERS_SHARE}",
        "{{ $value | humanize }} entries of {{ $labels.stream }} were dead-lettered in 15 minutes.",
        "One reason from one time on is a release of a producer: fraudstream dlq stats", _DELIVERY,
    ),
    Alert(
        "FraudstreamDeadLettersOld", "warning", "dlq", "15m",
        f"max by (stream) (fraudstream_dlq_oldest_entry_age_seconds) > @{limits.LETTER_AGE_S:g}s",
        "A dead letter has waited {{ $value | humanizeDuration }}.", "Replay or discard it: fraudstream dlq list", _DELIVERY,
    ),
]  # fmt: skip

DECISIONS = [
    Alert(
        "FraudstreamModelFallback", "critical", "model", "2m",
        f"{_DEGRADED.format('reason=~' + chr(34) + 'model_.+' + chr(34))} / on () group_left () {_DECIDED} > {limits.DEGRADED}",
        "{{ $value | humanizePercentage }} of decisions are made without the model ({{ $labels.reason }}).",
        "model_deadline: is ml-scoring up, and fast enough? model_error: its log has the error.", _DECISIONS,
    ),
    Alert(
        "FraudstreamRulesFallback", "critical", "rules", "2m",
        f"{_DEGRADED.format('reason!~' + chr(34) + 'model_.+' + chr(34))} / on () group_left () {_DECIDED} > {limits.DEGRADED}",
        "{{ $value | humanizePercentage }} of decisions are made without the rules ({{ $labels.reason }}).",
        "rules_deadline: is fraud-check up, and fast enough? rules_error: its log has the error.", _DECISIONS,
    ),
    Alert(
        "FraudstreamModelDrift", "warning", "model", "1h", f"max by (model) (fraudstream_model_score_psi) > {limits.DRIFT}",
        'Scores of {{ $labels.model }} have drifted (PSI {{ $value | printf "%.2f" }}).',
        "0.1 is moderate and 0.25 major: the payments changed, or a producer garbles a field.", _DECISIONS,
    ),
    Alert(
        "FraudstreamModelVersionSplit", "warning", "model", "30m",
        'count(count by (model) (fraudstream_model_info{role="champion"})) > 1',
        "Workers decide with {{ $value }} different models.", "A rollout did not finish.", _DECISIONS,
    ),
    Alert(
        "FraudstreamModelRefused", "warning", "model", "0s", "sum by (instance) (increase(fraudstream_model_apply_failures_total[10m])) > 0",
        "Worker {{ $labels.instance }} could not take over the wanted model.",
        "It decides with the one before. Its log says models_refused and why.", _DECISIONS,
    ),
    Alert(
        "FraudstreamModelWorse", "warning", "model", "1h",
        f"({_fell('precision')} or {_fell('recall')}) "
        f'and on (model) max by (model) (fraudstream_model_labelled_decisions{{label="fraud"}}) >= {limits.WORSE_FRAUDS}',
        "Precision or recall of {{ $labels.model }} fell by a third within a week.",
        "Of what is known by now it is {{ $value | humanizePercentage }}: new fraud, a broken feature, or labels that come otherwise.",
        _DECISIONS,
    ),
    Alert(
        "FraudstreamBlockRateShift", "warning", "decisions", "15m",
        f"{_BLOCKS.replace('AGO', '')} > {limits.BLOCK_SHIFT} * ({_BLOCKS.replace('AGO', ' offset 1d')}) "
        "and on () sum(rate(fraudstream_decisions_total[15m])) > 1",
        "The block rate is {{ $value | humanizePercentage }}, three times that of yesterday.",
        "A fraud attack, a bad rule release or a broken feature.", _DECISIONS,
    ),
    Alert(
        "FraudstreamRuleErrors", "warning", "rules", "5m", "sum by (rule_id) (increase(fraudstream_rule_errors_total[10m])) > 5",
        "Rule {{ $labels.rule_id }} cannot be evaluated.",
        "It failed on {{ $value | humanize }} rows in 10 minutes and was passed over.", _DECISIONS,
    ),
    Alert(
        "FraudstreamRulesetReloadFailed", "warning", "rules", "1m",
        "min by (instance) (fraudstream_ruleset_last_reload_successful) == 0",
        "Worker {{ $labels.instance }} could not take over the active rule set.",
        "It goes on with the one before. Its log says rule_set_refused and why.", _DECISIONS,
    ),
    Alert(
        "FraudstreamRulesetVersionSplit", "warning", "rules", "1m", "count(count by (version) (fraudstream_ruleset_info)) > 1",
        "Workers run {{ $value }} different rule sets.", "Some worker has not taken over the active one within a minute.", _DECISIONS,
    ),
    Alert(
        "FraudstreamRuleTripped", "warning", "rules", "0s",
        "sum by (rule_id) (fraudstream_rule_trips_total) > 0 unless sum by (rule_id) (fraudstream_rule_trips_total offset 1h) "
        ">= sum by (rule_id) (fraudstream_rule_trips_total)",
        "Rule {{ $labels.rule_id }} fired far above its guard and was put in shadow.",
        "It has no effect on the whole fleet until somebody activates a set in which it is live.", _DECISIONS,
    ),
]  # fmt: skip

OUTSIDE = [
    Alert(
        "FraudstreamSinkFailing", "warning", "sink", "5m",
        'sum by (sink) (rate(fraudstream_sink_writes_total{outcome!="committed"}[5m])) / '
        f"sum by (sink) (rate(fraudstream_sink_writes_total[5m])) > {limits.WRITES}",
        "{{ $value | humanizePercentage }} of {{ $labels.sink }} writes do not go through.",
        "Decisions go on, and nothing is acknowledged until it is stored.", _STORAGE,
    ),
    Alert(
        "FraudstreamSinkStale", "critical", "sink", "2m",
        f"time() - max by (sink) (fraudstream_sink_last_commit_timestamp_seconds) > @{limits.STALE_S:g}s and on () {_DECIDED} > 0",
        "{{ $labels.sink }} has committed nothing for {{ $value | humanizeDuration }}.",
        "Decisions are made but not stored; they wait in transactions:decisions.", _STORAGE,
    ),
    Alert(
        "FraudstreamSinkSlow", "warning", "sink", "2m",
        "histogram_quantile(0.9, sum by (le, sink) (rate(fraudstream_sink_write_duration_seconds_bucket[5m]))) "
        f"> {limits.SLOW_WRITE_S:g}",
        "Writes to {{ $labels.sink }} take {{ $value | humanizeDuration }}.",
        "One batch in ten takes longer than a second; the backlog of the recorder grows next.", _STORAGE,
    ),
    Alert(
        "FraudstreamRedisMemoryHigh", "warning", "redis", "5m", f"{_MEMORY} > {limits.MEMORY_HIGH}",
        "Redis uses {{ $value | humanizePercentage }} of its memory.", "Producers are refused above 80%.", _STORAGE,
    ),
    Alert(
        "FraudstreamRedisFull", "critical", "redis", "1m", f"{_MEMORY} > {limits.MEMORY_FULL}",
        "Redis uses {{ $value | humanizePercentage }} of its memory: producers are refused.",
        "Nothing is lost and no new transaction gets in. fraudstream streams says what grows.", _STORAGE,
    ),
    Alert(
        "FraudstreamRedisUnsafe", "critical", "redis", "0s",
        "max by (server) (fraudstream_redis_evicted_keys) >= 1 or max by (server) (1 - fraudstream_redis_append_ok) >= 1",
        "Redis loses data: it evicts keys, or cannot write its append-only file.",
        "The maxmemory-policy must be noeviction; the disk may be full.", _STORAGE,
    ),
    Alert(
        "FraudstreamNotificationsFailing", "critical", "alerter", "5m",
        'sum by (channel) (rate(fraudstream_notifications_total{outcome="undeliverable"}[10m])) / '
        'sum by (channel) (rate(fraudstream_notifications_total{outcome=~"delivered|undeliverable"}[10m])) '
        f"> {limits.NOTIFICATIONS}",
        "{{ $value | humanizePercentage }} of {{ $labels.channel }} notifications are not delivered.",
        "Security may be unaware of fraud. What was not delivered stands in alerts:undeliverable.", _DELIVERY,
    ),
    Alert(
        "FraudstreamNotificationTriesFailing", "warning", "alerter", "2m",
        'sum by (channel) (rate(fraudstream_notification_attempts_total{outcome!="ok"}[5m])) / '
        f"sum by (channel) (rate(fraudstream_notification_attempts_total[5m])) > {limits.TRIES}",
        "{{ $value | humanizePercentage }} of the tries to reach {{ $labels.channel }} fail.",
        "They are tried again; what is refused for good becomes undeliverable.", _DELIVERY,
    ),
    Alert(
        "FraudstreamNotificationQueueOld", "warning", "alerter", "2m",
        "max by (channel) (fraudstream_notification_queue_entries) > 0 unless on (channel) "
        'sum by (channel) (rate(fraudstream_notifications_total{outcome="delivered"}[5m])) > 0',
        "{{ $value }} alerts wait for {{ $labels.channel }}, and none was delivered for 5 minutes.",
        "The channel is away or throttles us, or nobody serves it.", _DELIVERY,
    ),
    Alert(
        "FraudstreamAlertsUndeliverable", "warning", "alerter", "5m",
        "max by (stream) (fraudstream_alerts_undeliverable_entries) >= 1",
        "{{ $value }} alerts reached nobody.", "They stand in {{ $labels.stream }} until somebody has read them.", _DELIVERY,
    ),
]  # fmt: skip

SECURITY = [
    Alert(
        "FraudstreamSlackSignatureFailures",
        "warning",
        "security",
        "0s",
        'sum(increase(fraudstream_slack_interactions_total{outcome=~"unsigned|replayed"}[10m])) > 5',
        "{{ $value | humanize }} requests to the Slack endpoint were not signed by Slack.",
        "Somebody probes the endpoint, or the signing secret was changed on one side only.",
        _DELIVERY,
    )
]

META = [
    Alert(
        "Watchdog", "none", "meta", "", "vector(1)", "Always firing; proves that the alert path works.",
        "Wire it to a dead-man switch: its absence means that Prometheus, Alertmanager or the route is broken.", _OVERVIEW,
    ),
]  # fmt: skip


def groups() -> list[Group]:
    """
    Return every alert, by what it is about.
    """
    return [
        ("fraudstream.slo.alerts", burn_alerts()),
        ("fraudstream.workers", WORKERS),
        ("fraudstream.streams", STREAMS),
        ("fraudstream.decisions", DECISIONS),
        ("fraudstream.outside", OUTSIDE),
        ("fraudstream.security", SECURITY),
        ("fraudstream.meta", META),
    ]


def every() -> list[Alert]:
    """
    Return every alert in one list.
    """
    return [one for _, rules in groups() for one in rules if isinstance(one, Alert)]
