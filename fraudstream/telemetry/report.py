"""
What one consumer of one group tells: the same facts as metrics for the SRE and as events for whoever reads the log.
"""

from collections import Counter as Tally
from collections.abc import Mapping, Sequence, Sized

import structlog

from fraudstream.domain.alert import Severity
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.evidence import Action
from fraudstream.telemetry.labels import DECIDING_GROUPS
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.troubles import Troubles

#: How the answers of the scripts end an entry: the others leave it open, or it was no longer ours.
_ENDS = {"done": "duplicate", "stored": "scored", "emitted": "scored", "together": "scored", "unneeded": "duplicate"}


class GroupReport:
    """
    Reports for the runtime and for the stage of one group; every method returns at once.

    Args:
        metrics: Those of the process.
        stream: The stream that the group reads.
        group: The group, which for a consumer that steps in is the lagging one.
        worker: The consumer's name.
        stepping_in: Whether this consumer answers for a group that does not.
    """

    def __init__(self, metrics: Metrics, *, stream: str, group: str, worker: str, stepping_in: bool = False) -> None:
        self._metrics = metrics
        self._stream = stream
        self._group = group
        self._stepping_in = stepping_in
        self.troubles = Troubles()
        self._log = structlog.get_logger().bind(worker=worker, group=group, stepping_in=stepping_in)

    def ticked(self) -> None:
        """
        The loop is alive.
        """
        self._metrics.worker.ticked()

    def read(self, entries: int) -> None:
        """
        One read returned so many entries.
        """
        if entries:
            self._metrics.worker.read_batch_events.labels(self._group).observe(entries)

    def reclaimed(self, entries: int) -> None:
        """
        Entries were taken over from consumers that are gone.
        """
        if entries:
            self._metrics.worker.group_reclaimed_entries_total.labels(self._stream, self._group).inc(entries)
            self._log.warning("entries_reclaimed", entries=entries)

    def in_hand(self, entries: int) -> None:
        """
        So many entries are being worked on.
        """
        self._metrics.worker.worker_inflight_events.set(entries)

    def handled(self, entries: int, letters: int) -> None:
        """
        A batch met its end; the deciding groups tell more of it by ``touched`` and ``completed``.
        """
        if self._group not in DECIDING_GROUPS:
            self._finished(entries, "scored")
            self._log.info("batch_handled", entries=entries, letters=letters)

    def spent(self, cpu_s: float) -> None:
        """
        The work of a batch took so much CPU of the loop.
        """
        self._metrics.worker.group_cpu_seconds_total.labels(self._group).inc(cpu_s)

    def gave_up(self, error: str) -> None:
        """
        An entry was given up after too many tries.
        """
        self._finished(1, "dead_lettered")
        if self._group in DECIDING_GROUPS:
            # Their stage writes the letter itself, before the verdict that ends the entry.
            self._metrics.worker.dlq_events_total.labels(self._stream, "max_retries").inc()
        self._log.error("entry_given_up", error=error)

    def _finished(self, entries: int, outcome: str) -> None:
        self._metrics.worker.events_processed_total.labels(self._stream, self._group, outcome).inc(entries)
        self._metrics.worker.worker_last_event_timestamp_seconds.set_to_current_time()

    def retried(self, reason: str, error: str, *, entries: int, pause_s: float) -> None:
        """
        Work will be tried again.
        """
        self._metrics.worker.event_retries_total.labels(self._group, reason).inc(max(1, entries))
        self.troubles.note("work", error, max(1, entries))
        self._log.warning("work_postponed", reason=reason, error=error, entries=entries, pause_s=round(pause_s, 3))

    def buried(self, reason: str, entry_id: str, error: str) -> None:
        """
        A dead letter was written.
        """
        self._metrics.worker.dlq_events_total.labels(self._stream, reason).inc()
        self._log.error("dead_letter_written", reason=reason, entry_id=entry_id, error=error)

    def changed(self, state: str) -> None:
        """
        The worker is starting, running, draining or stopped.
        """
        if not self._stepping_in:
            self._metrics.worker.changed(state)
        self._log.info(f"worker_{state}")

    def touched(self, places: Sequence[str]) -> None:
        """
        A batch was touched.
        """
        tally = Tally(places)
        self._metrics.decisions.touched(self._group, tally)
        self._end(tally)

    def completed(self, answers: Sequence[str]) -> None:
        """
        A batch was completed.
        """
        tally = Tally(answers)
        self._metrics.decisions.completed(self._group, tally)
        self._end(tally)
        if self._stepping_in:
            self._metrics.decisions.step_ins_total.labels(self._group).inc(tally["emitted"])
        self._log.info("batch_completed", **{str(answer): count for answer, count in tally.items()})

    def _end(self, answers: Mapping[str, int]) -> None:
        for answer, entries in answers.items():
            if answer in _ENDS:
                self._finished(entries, _ENDS[answer])

    def decided(self, decisions: Sequence[Decision], latencies_s: Sequence[float]) -> None:
        """
        This worker emitted decisions.
        """
        self._metrics.decided_all(decisions, latencies_s, stream=self._stream)
        for decision, latency_s in zip(decisions, latencies_s, strict=True):
            if decision.rule_hits:
                self._hits(decision)
            if decision.flagged:
                self._flagged(decision, latency_s)

    def _flagged(self, decision: Decision, latency_s: float) -> None:
        self._log.info(
            "decision_flagged",
            transaction_id=decision.transaction.transaction_id,
            outcome=decision.outcome.value,
            score=round(decision.score, 4),
            rules=[hit.rule_id for hit in decision.rule_hits],
            degraded=[reason.value for reason in decision.degraded],
            latency_s=round(latency_s, 4),
        )

    def _hits(self, decision: Decision) -> None:
        blocked = any(hit.action is Action.BLOCK for hit in decision.rule_hits)
        for hit in decision.rule_hits:
            self._metrics.rules.rule_hits_total.labels(hit.rule_id, hit.action.value).inc()
            if blocked and hit.action is Action.ALLOW and decision.outcome is Outcome.APPROVE:
                self._metrics.rules.rule_overrides_total.labels(hit.rule_id).inc()

    def invalid(self, reason: str) -> None:
        """
        A delivery was no transaction.
        """
        self._finished(1, "invalid")
        self._log.warning("transaction_refused", reason=reason)

    def timed(self, step: str, seconds: float) -> None:
        """
        One step of a batch took so long.
        """
        self._metrics.worker.stage_duration_seconds.labels(step).observe(seconds)

    def rules_failed(self, errors: Mapping[str, int]) -> None:
        """
        Rules could not be evaluated on some rows.
        """
        for rule_id, rows in errors.items():
            self._metrics.rules.rule_errors_total.labels(rule_id).inc(rows)
            self.troubles.note("rules", f"rule {rule_id} cannot be evaluated", rows)
            self._log.warning("rule_failed", rule_id=rule_id, rows=rows)

    def rules_applied(self, version: str, rules: Sequence[tuple[str, str]]) -> None:
        """
        A rule set is in force from now on: its id, and each rule id with its action.
        """
        self._metrics.rules.know_rules(version, rules)
        self._metrics.rules.ruleset_applies_total.inc()
        self._log.info("rule_set_applied", rule_set=version, rules=len(rules))

    def rules_built(self, cpu_s: float) -> None:
        """
        A rule set was built and tried between the batches, with so much CPU.
        """
        self._metrics.worker.takeover_cpu_seconds.observe(cpu_s)

    def rules_behind(self, seconds: float) -> None:
        """
        This worker has judged by other rules or lists than are in force for so long.
        """
        self._metrics.rules.rules_behind_seconds.set(seconds)

    def rules_tripped(self, rule_ids: Sequence[str], reason: str, *, author: str) -> None:
        """
        Rules fired far above their guard and were put in shadow by this worker, for the whole fleet.
        """
        for rule_id in rule_ids:
            self._metrics.rules.rule_trips_total.labels(rule_id).inc()
        self._log.error("rules_tripped", rules=list(rule_ids), reason=reason, author=author or "the file of the settings")

    def lists_applied(self, versions: Mapping[str, str], lists: Mapping[str, Sized]) -> None:
        """
        Lists are in force from now on: the versions that the rules look into, and every list by name.
        """
        self._metrics.rules.know_lists(versions, {name: len(contents) for name, contents in lists.items()})
        self._log.info("lists_applied", lists=dict(versions))

    def lists_hit(self, hits: Mapping[str, int]) -> None:
        """
        Entries of lists took part in hits of rules so often.
        """
        for name, count in hits.items():
            self._metrics.rules.list_hits_total.labels(name).inc(count)

    def lists_refused(self, error: str) -> None:
        """
        A list in force could not be taken over; the one before stays.
        """
        self._metrics.rules.list_apply_failures_total.inc()
        self._log.error("list_refused", error=error)

    def rules_refused(self, version: str, error: str) -> None:
        """
        The active rule set could not be taken over; the one before stays in force.
        """
        self._metrics.rules.ruleset_apply_failures_total.inc()
        self._metrics.rules.ruleset_last_reload_successful.set(0)
        self.troubles.note("rules", f"rule set {version[:12]} cannot be taken over: {error}")
        self._log.error("rule_set_refused", rule_set=version, error=error)

    def models_applied(self, models: Sequence[tuple[str, str, str]], stall_s: float | None) -> None:
        """
        Models are in use from now on: id, version and role of each.

        Args:
            models: The champion first.
            stall_s: Longest that the loop was held up meanwhile; None at start-up, when nobody waited.
        """
        self._metrics.models.know_models(
            [(model[:12], version, role) for model, version, role in models], "CPUExecutionProvider"
        )
        if stall_s is not None:
            self._metrics.models.model_swaps_total.inc()
            self._metrics.models.model_swap_stall_seconds.set(stall_s)
        self._log.info(
            "models_applied",
            models=[f"{role} {version} {model[:12]}" for model, version, role in models],
            stall_s=None if stall_s is None else round(stall_s, 4),
        )

    def models_refused(self, models: Sequence[str], error: str) -> None:
        """
        The wanted models could not be taken over; those before stay in use.
        """
        self._metrics.models.model_apply_failures_total.inc()
        self.troubles.note("model", f"the wanted model cannot be taken over: {error}")
        self._log.error("models_refused", models=[model[:12] for model in models], error=error)

    def shadow_scored(self, model: str, scores: Sequence[float], *, same: int, milder: int, harsher: int) -> None:
        """
        A shadow scored rows; so many would have ended as they did, milder, or harsher.
        """
        observe = self._metrics.models.shadow_score_ratio.labels(model[:12]).observe
        for score in scores:
            observe(score)
        for result, rows in (("same", same), ("milder", milder), ("harsher", harsher)):
            self._metrics.models.shadow_rows_total.labels(model[:12], result).inc(rows)

    def shadow_missed(self, model: str, rows: int, error: str) -> None:
        """
        Rows that a shadow did not score: it failed, or was too slow.
        """
        self._metrics.models.shadow_rows_total.labels(model[:12], "missed").inc(rows)
        if error:
            self._log.warning("shadow_failed", model=model[:12], rows=rows, error=error)

    def drifted(self, model: str, moved: Mapping[str, float]) -> None:
        """
        So far each feature moved from the training of a model, and under the empty name its score.
        """
        for name, value in moved.items():
            if name:
                self._metrics.models.model_feature_psi.labels(model[:12], name).set(value)
            else:
                self._metrics.models.model_score_psi.labels(model[:12]).set(value)

    def fell_back(self, reason: str, error: str, transactions: int) -> None:
        """
        A verdict was replaced by no opinion.
        """
        self.troubles.note(reason.partition("_")[0], error, transactions)
        self._log.error("verdict_fell_back", reason=reason, error=error, transactions=transactions)


class AlertReport:
    """
    What the alerter tells, as metrics.
    """

    def __init__(self, metrics: Metrics, troubles: Troubles | None = None) -> None:
        self._metrics = metrics
        self._troubles = troubles
        self._log = structlog.get_logger()

    def raised(self, severity: Severity, *, opened: bool) -> None:
        """
        A flagged decision went into a group, or opened one.
        """
        self._metrics.alerts.alerts_raised_total.labels(severity.value).inc()
        if opened:
            self._metrics.alerts.alert_groups_total.labels(severity.value).inc()

    def attempted(self, channel: str, outcome: str) -> None:
        """
        One try ended.
        """
        self._metrics.alerts.notification_attempts_total.labels(channel, outcome).inc()
        if outcome != "ok" and self._troubles is not None:
            does = "throttles us" if outcome == "throttled" else "does not take our messages"
            self._troubles.note(channel, f"{channel} {does}")

    def told(self, channel: str, outcome: str, delays_s: Sequence[float], *, digest: bool) -> None:
        """
        A message ended; the first of so many payments, each so long after its decision.
        """
        delivered = outcome == "delivered"
        if not digest and delays_s:
            self._metrics.alerts.notifications_total.labels(channel, outcome).inc(1 if delivered else len(delays_s))
            if delivered:
                self._metrics.alerts.notifications_total.labels(channel, "deduplicated").inc(len(delays_s) - 1)
        for delay_s in delays_s if delivered else ():
            self._metrics.alerts.notification_latency_seconds.labels(channel).observe(delay_s)
        if delivered:
            self._log.info("alert_told", channel=channel, transactions=len(delays_s), digest=digest)
        else:
            self._log.error("alert_undeliverable", channel=channel, outcome=outcome, transactions=len(delays_s))

    def folded(self, channel: str, reason: str, groups: int, transactions: int) -> None:
        """
        Groups were folded into a digest.
        """
        self._metrics.alerts.notifications_total.labels(channel, "digested").inc(transactions)
        self._log.info("alerts_folded", channel=channel, reason=reason, groups=groups, transactions=transactions)

    def weather(self, channel: str, *, storm: bool) -> None:
        """
        A storm has begun on a channel, or is over.
        """
        self._metrics.alerts.alert_storm.labels(channel).set(int(storm))
        self._log.warning("alert_storm_began" if storm else "alert_storm_over", channel=channel)

    def away(self, error: str) -> None:
        """
        A server does not answer.
        """
        self._log.warning("alerting_postponed", error=error)

    def faulty(self, channel: str, error: str) -> None:
        """
        Something of ours failed where nothing should.
        """
        self._metrics.alerts.notification_attempts_total.labels(channel, "failed").inc()
        self._log.error("alert_desk_failed", channel=channel, error=error)
