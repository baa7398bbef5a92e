"""
Every metric, declared once: its name, its labels, what it means and when to worry.

One ``Metrics`` per process, in a registry of its own. A process exposes what it can report: a group that it does not serve
would be a zero that nobody counts.
"""

import itertools
import platform
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector

from fraudstream import __version__
from fraudstream.domain.alert import Severity
from fraudstream.domain.decision import Decision, LabelValue, Outcome
from fraudstream.domain.evidence import Fallback
from fraudstream.telemetry.declaring import Declarer, Described, observe_all
from fraudstream.telemetry.labels import (
    BATCH_BUCKETS,
    COMPLETION_RESULTS,
    DEAD_LETTER_REASONS,
    DECIDING_GROUPS,
    EVENT_OUTCOMES,
    GROUP_STREAMS,
    LATENCY_BUCKETS_S,
    LOG_LEVELS,
    NOTIFICATION_BUCKETS_S,
    NOTIFICATION_CHANNELS,
    PAYMENT_CHANNELS,
    SCORE_BUCKETS,
    SHADOW_RESULTS,
    SINK_BUCKETS_S,
    STAGE_BUCKETS_S,
    STAGES,
    STALL_BUCKETS_S,
    TOUCH_RESULTS,
    WORKER_STATES,
)
from fraudstream.telemetry.monitor_metrics import MonitorMetrics

#: Room that OpenMetrics leaves for an exemplar, less the name of its one label.
_EXEMPLAR_CHARACTERS = 128 - len("transaction_id")
#: Faster decisions carry no exemplar, nor do others than the slowest of a batch: nobody looks for them, and it costs more than
#: the rest of the count together.
_EXEMPLAR_FROM_S = 0.05


class Metrics:
    """
    All metrics of one process. Attributes are the metrics, ``monitor`` those of the monitor; methods are for what takes more
    than one line to report.

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
        self._groups = tuple(groups)
        self._inputs = [(stream, group) for group in groups for stream in _inputs(group, streams)]
        deciding = any(group in DECIDING_GROUPS for group in groups)
        ProcessCollector(registry=self.registry)
        self._declare_process(self._declarer(True), revision)
        self._declare_intake(self._declarer(producer), streams)
        self.monitor = MonitorMetrics(self._declarer(monitor))
        self._declare_worker(self._declarer(bool(groups)))
        self._declare_decisions(self._declarer(deciding), streams)
        self._declare_rules(self._declarer(deciding))
        self._declare_lists(self._declarer(deciding))
        self._declare_model(self._declarer(deciding))
        self._declare_sinks(self._declarer("recorder" in groups or "labels" in groups))
        self._declare_alerts(self._declarer("alerter" in groups))

    def catalogue(self) -> list[Described]:
        """
        List what is declared, exposed by this process or not, in the order of declaration.
        """
        return list(self._described)

    def touched(self, group: str, results: Iterable[str]) -> None:
        """
        Count a batch of answers of the touch script.
        """
        for result, count in Tally(results).items():
            self.touches_total.labels(group, result).inc(count)

    def completed(self, group: str, results: Iterable[str]) -> None:
        """
        Count a batch of answers of the completion script.
        """
        for result, count in Tally(results).items():
            self.completions_total.labels(group, result).inc(count)

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
        if not decisions:
            return
        for (outcome, channel), count in Tally([(one.outcome, one.transaction.channel) for one in decisions]).items():
            known = channel or "none"
            self._decisions[outcome, known if known in PAYMENT_CHANNELS else "other"].inc(count)
        scores: defaultdict[str, list[float]] = defaultdict(list)
        for decision in decisions:
            if decision.probability is not None:
                scores[decision.model].append(decision.probability)
            for reason in decision.degraded:
                self.decisions_degraded_total.labels(reason.value).inc()
        for model, values in scores.items():
            observe_all(self._score_of(model[:12]), values)
        slowest = max(range(len(decisions)), key=latencies_s.__getitem__)
        name = decisions[slowest].transaction.transaction_id
        telling = latencies_s[slowest] >= _EXEMPLAR_FROM_S and len(name) <= _EXEMPLAR_CHARACTERS
        histogram, others = self._latencies[stream], [*latencies_s[:slowest], *latencies_s[slowest + 1 :]]
        histogram.observe(latencies_s[slowest], {"transaction_id": name} if telling else None)
        observe_all(histogram, others)

    def stalled(self, late_s: float, own_s: float, change_s: float | None) -> None:
        """
        Note one look at the loop of the worker.

        Args:
            late_s: How much later than asked it woke up.
            own_s: The same without its waiting for a core.
            change_s: The most of it that a takeover of rules can have caused; None when there was none.
        """
        self.event_loop_stall_seconds.observe(late_s)
        self.event_loop_own_stall_seconds.observe(own_s)
        if change_s is not None:
            self.takeover_stall_seconds.observe(late_s)
            self.takeover_held_seconds.observe(change_s)

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

    def know_rules(self, version: str, rules: Iterable[tuple[str, str]]) -> None:
        """
        Start the series of a rule set: each rule id with its action; only this version is shown as active from now on.
        """
        self.ruleset_info.clear()
        self.ruleset_info.labels(version[:12]).set(1)
        for rule_id, action in rules:
            self.rule_hits_total.labels(rule_id, action)
            self.rule_errors_total.labels(rule_id)
            if action == "allow":
                self.rule_overrides_total.labels(rule_id)
        self.ruleset_last_reload_successful.set(1)
        self.ruleset_last_reload_success_timestamp_seconds.set_to_current_time()

    def know_lists(self, versions: Mapping[str, str], entries: Mapping[str, int]) -> None:
        """
        Show the versions of the lists that the rules look into, and how many entries each has; older ones are taken off.
        """
        self.list_info.clear()
        self.list_entries.clear()
        for name, version in versions.items():
            self.list_info.labels(name, version).set(1)
            if name in entries:
                self.list_entries.labels(name).set(entries[name])

    def know_models(self, models: Iterable[tuple[str, str, str]], provider: str) -> None:
        """
        Start the series of the models in use; only they are shown as loaded from now on.

        Args:
            models: First 12 hex digits of the SHA-256 of each, its version, and its role, one of ``MODEL_ROLES``.
            provider: What executes them.
        """
        self.model_info.clear()
        self.model_score_psi.clear()
        self.model_feature_psi.clear()
        for model, version, role in models:
            self.model_info.labels(model, version, provider, role).set(1)
            if role == "shadow":
                self.shadow_score_ratio.labels(model)
                for result in SHADOW_RESULTS:
                    self.shadow_rows_total.labels(model, result)
            else:
                self._score_of(model)

    def know_sink(self, sink: str, tables: Iterable[str]) -> None:
        """
        Start the series of a sink, ``timescaledb`` or ``postgres``, and of the tables that it fills.
        """
        self.sink_write_duration_seconds.labels(sink)
        for outcome in ("committed", "retried", "failed"):
            self.sink_writes_total.labels(sink, outcome)
        for table in tables:
            self.sink_rows_total.labels(sink, table)

    def _score_of(self, model: str) -> Histogram:
        if model not in self._scores:  # a group without a model of its own joins the verdicts of one
            self._scores[model] = self.model_score_ratio.labels(model)
        return self._scores[model]

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

    def logged(self, level: str) -> None:
        """
        Count a line of the log; one below info, or of a level of others, counts for nothing.
        """
        if level in LOG_LEVELS:
            self.log_messages_total.labels(level).inc()

    def _declare_intake(self, new: Declarer, streams: Sequence[str]) -> None:
        self.producer_events_total = new.counter(
            "producer_events_total",
            "Transactions offered to the intake; rejected ones were refused because it is full: worry when it lasts.",
            ("stream", "outcome"),
            itertools.product(streams, ("appended", "rejected", "failed")),
        )

    def _declare_worker(self, new: Declarer) -> None:
        groups = [(group,) for group in self._groups]
        self.events_processed_total = new.counter(
            "events_processed_total",
            "Finished entries, exactly one count per entry and group; worry when failed or dead_lettered rise.",
            ("stream", "group", "outcome"),
            [(*pair, outcome) for pair in self._inputs for outcome in EVENT_OUTCOMES],
        )
        self.read_batch_events = new.histogram(
            "read_batch_events", "Entries that one read returned; it rises under load.", ("group",), groups, BATCH_BUCKETS
        )
        self.group_reclaimed_entries_total = new.counter(
            "group_reclaimed_entries_total",
            "Entries taken over from a consumer that is gone; worry when it does not stop.",
            ("stream", "group"),
            self._inputs,
        )
        self.event_retries_total = new.counter(
            "event_retries_total",
            "Entries that will be tried again: a server was away (unavailable), or the entry itself failed (failed).",
            ("group", "reason"),
            itertools.product(self._groups, ("unavailable", "failed")),
        )
        self.dlq_events_total = new.counter(
            "dlq_events_total",
            "Entries given up, by the stream they came from; worry when one reason stands out.",
            ("stream", "reason"),
            itertools.product(dict(self._inputs), DEAD_LETTER_REASONS),
        )
        self.stage_duration_seconds = new.histogram(
            "stage_duration_seconds",
            "Time of one step of a batch; shows where the time goes when latency rises.",
            ("stage",),
            [(stage,) for stage, groups in STAGES.items() if set(groups) & set(self._groups)],
            STAGE_BUCKETS_S,
        )
        self.group_cpu_seconds_total = new.counter(
            "group_cpu_seconds_total",
            "CPU that the work of a group took of the loop; tells the groups of one process apart.",
            ("group",),
            [(group,) for group in self._groups],
        )
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
            "How much later than asked the loop woke up while rules were being taken over, whatever the reason.",
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

    def _declare_decisions(self, new: Declarer, streams: Sequence[str]) -> None:
        # A worker completes for the lagging group as well, so both groups have series in each deciding process.
        self.touches_total = new.counter(
            "touches_total",
            "Answers of the touch script: first moved the states; done is a second entry of the same id.",
            ("group", "result"),
            itertools.product(DECIDING_GROUPS, TOUCH_RESULTS),
        )
        self.completions_total = new.counter(
            "completions_total",
            "Answers of the completion script; gone is a fencing, absent a lost history: worry at any.",
            ("group", "result"),
            itertools.product(DECIDING_GROUPS, COMPLETION_RESULTS),
        )
        self.step_ins_total = new.counter(
            "step_ins_total",
            "Entries completed for a group that missed the deadline; worry when it lasts: the group is away.",
            ("group",),
            [(group,) for group in DECIDING_GROUPS],
        )
        self.decisions_total = new.counter(
            "decisions_total",
            "Decisions, by the worker that emitted them; worry when the share of block triples in a day.",
            ("outcome", "channel"),
            itertools.product((o.value for o in Outcome), PAYMENT_CHANNELS),
        )
        self.decisions_degraded_total = new.counter(
            "decisions_degraded_total",
            "Decisions made without the opinion of a group, by reason; worry above 1 % of all.",
            ("reason",),
            [(reason.value,) for reason in Fallback],
        )
        self.decision_latency_seconds = new.histogram(
            "decision_latency_seconds",
            "From adding the entry to the decision, by the clock of Redis; the objective is 0.25.",
            ("stream",),
            [(stream,) for stream in streams],
            LATENCY_BUCKETS_S,
        )
        # Counted for each transaction: a look-up by labels costs more than the count itself.
        self._decisions = {
            (outcome, channel): self.decisions_total.labels(outcome.value, channel)
            for outcome in Outcome
            for channel in PAYMENT_CHANNELS
        }
        self._latencies = {stream: self.decision_latency_seconds.labels(stream) for stream in streams}

    def _declare_rules(self, new: Declarer) -> None:
        self.rule_hits_total = new.counter(
            "rule_hits_total",
            "Times that a rule fired; worry when one fires far more than its backtest said.",
            ("rule_id", "action"),
        )
        self.rule_errors_total = new.counter(
            "rule_errors_total", "Rows on which a rule could not be evaluated and was passed over; worry above 0.", ("rule_id",)
        )
        self.rule_trips_total = new.counter(
            "rule_trips_total", "Times that a rule was put in shadow for firing above its guard; look at once.", ("rule_id",)
        )
        self.ruleset_applies_total = new.counter("ruleset_applies_total", "Times that a rule set was taken over.")
        self.ruleset_apply_failures_total = new.counter(
            "ruleset_apply_failures_total",
            "Times that the active rule set could not be taken over and the old one stayed in force; worry above 0.",
        )
        self.rule_overrides_total = new.counter(
            "rule_overrides_total",
            "Times that an allow rule let through what another rule blocks; look at who wrote it.",
            ("rule_id",),
        )
        self.ruleset_last_reload_successful = new.gauge(
            "ruleset_last_reload_successful", "1 when the last rule set that was looked at was taken over; worry at 0."
        )
        self.ruleset_last_reload_successful.set(1)
        self.ruleset_last_reload_success_timestamp_seconds = new.gauge(
            "ruleset_last_reload_success_timestamp_seconds", "When a rule set was last taken over; changes mark a dashboard."
        )
        self.ruleset_info = new.gauge(
            "ruleset_info", "1, with the first 12 hex digits of the active rule set; worry when workers differ.", ("version",)
        )

    def _declare_lists(self, new: Declarer) -> None:
        self.list_info = new.gauge(
            "list_info",
            "1, with the version of a list that the rules look into; worry when workers differ.",
            ("list", "version"),
        )
        self.list_entries = new.gauge("list_entries", "Entries of a list that the rules look into.", ("list",))
        self.list_hits_total = new.counter(
            "list_hits_total",
            "Times that an entry of a list took part in a hit of a rule; worry when one falls to 0.",
            ("list",),
        )
        self.list_apply_failures_total = new.counter(
            "list_apply_failures_total",
            "Times that a list in force could not be taken over and the old one stayed; worry above 0.",
        )
        self.rules_behind_seconds = new.gauge(
            "rules_behind_seconds",
            "For how long this worker has judged by other rules or lists than are in force, 0 when in step; worry above 30.",
        )

    def _declare_model(self, new: Declarer) -> None:
        self.model_score_ratio = new.histogram(
            "model_score_ratio",
            "Fraud probability as the model gave it; worry when the shape changes overnight.",
            ("model",),
            (),
            SCORE_BUCKETS,
        )
        self._scores: dict[str, Histogram] = {}
        self.model_info = new.gauge(
            "model_info",
            "1, with a loaded model and its role (champion, canary, shadow); worry when workers differ for long.",
            ("model", "version", "provider", "role"),
        )
        self.model_swaps_total = new.counter("model_swaps_total", "Times that other models were taken over while working.")
        self.model_apply_failures_total = new.counter(
            "model_apply_failures_total",
            "Times that the wanted models could not be taken over and the old ones stayed in use; worry above 0.",
        )
        self.model_swap_stall_seconds = new.gauge(
            "model_swap_stall_seconds",
            "Longest that the worker's loop was held up while it took models over last; worry above 0.05.",
        )
        self.model_score_psi = new.gauge(
            "model_score_psi",
            "Population stability index of the scores of the last hour against training; from 0.1 on look, from 0.25 act.",
            ("model",),
        )
        self.model_feature_psi = new.gauge(
            "model_feature_psi",
            "The same for each feature of a model; one above 0.25 names what moved: the payments, or a producer's mistake.",
            ("model", "feature"),
        )
        self.shadow_score_ratio = new.histogram(
            "shadow_score_ratio",
            "Fraud probability as a shadow gave it, which decides nothing; compare with model_score_ratio.",
            ("model",),
            (),
            SCORE_BUCKETS,
        )
        self.shadow_rows_total = new.counter(
            "shadow_rows_total",
            "Rows by how a shadow would have ended them, by the bands alone; missed ones it did not score.",
            ("model", "result"),
        )

    def _declare_sinks(self, new: Declarer) -> None:
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

    def _declare_alerts(self, new: Declarer) -> None:
        channels = NOTIFICATION_CHANNELS
        self.alerts_raised_total = new.counter(
            "alerts_raised_total",
            "Alerts, before any of them is folded or sent.",
            ("severity",),
            [(severity.value,) for severity in Severity],
        )
        self.alert_groups_total = new.counter(
            "alert_groups_total",
            "Alert groups opened: what people would be told of alone in fair weather.",
            ("severity",),
            [(severity.value,) for severity in Severity],
        )
        self.alert_storm = new.gauge(
            "alert_storm",
            "1 while this process leads the channel and folds its alerts into a digest; worry when it does not end.",
            ("channel",),
        )
        self.notifications_total = new.counter(
            "notifications_total",
            "One per alert and channel, by how it ended; worry at undeliverable: nobody was told.",
            ("channel", "outcome"),
            itertools.product(channels, ("delivered", "deduplicated", "digested", "undeliverable")),
        )
        self.notification_attempts_total = new.counter(
            "notification_attempts_total",
            "One per try; worry when throttled or failed outnumber ok.",
            ("channel", "outcome"),
            itertools.product(channels, ("ok", "throttled", "failed")),
        )
        self.slack_interactions_total = new.counter(
            "slack_interactions_total",
            "Presses of buttons, and what became of them; worry at unsigned and replayed: somebody tries.",
            ("action", "outcome"),
            [("none", "unsigned"), ("none", "replayed")],
        )
        self.notification_latency_seconds = new.histogram(
            "notification_latency_seconds",
            "From the decision to the channel's acceptance; the objective is 30.",
            ("channel",),
            [(channel,) for channel in channels],
            NOTIFICATION_BUCKETS_S,
        )


def _inputs(group: str, intake: Sequence[str]) -> Sequence[str]:
    return intake if group in DECIDING_GROUPS else (GROUP_STREAMS[group],)
