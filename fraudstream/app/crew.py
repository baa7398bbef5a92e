"""
The consumers of one process: which concrete thing each of them gets.
"""

import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

import structlog

from fraudstream.adapters.measured_store import MeasuredDecisionStore
from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.redis_alerts import RedisAlertFolder, RedisAlerts
from fraudstream.adapters.redis_checks import check_server
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_janitor import RedisJanitor
from fraudstream.adapters.redis_keys import OTHER_GROUP, STREAM_OF, Keys
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_models import RedisModels
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.adapters.redis_states import RedisEntityStates
from fraudstream.adapters.redis_stream import RedisHeart, RedisTransactionStream, StreamOptions, consumer_name
from fraudstream.adapters.redis_token_key import RedisTokenKey
from fraudstream.adapters.redis_troubles import RedisTroubles
from fraudstream.adapters.redis_verdicts import LedgerOptions, RedisEntityStore, RedisOverdue, RedisVerdictLedger
from fraudstream.app.alerting import Alerting
from fraudstream.app.channels import policies
from fraudstream.app.connections import address
from fraudstream.app.fleet_lists import FleetLists
from fraudstream.app.loading import Rulebook, load_rule_set, load_rulebook
from fraudstream.app.model_registry import load_pushed, open_registry
from fraudstream.app.model_watch import DriftWatch, ModelWatch
from fraudstream.app.people import FleetTokens, tokens_of
from fraudstream.app.rule_watch import RuleWatch
from fraudstream.app.warm import warm_up
from fraudstream.fleet.hands import Limits
from fraudstream.fleet.ports import DecisionStore, Stage
from fraudstream.fleet.stalls import Changes
from fraudstream.fleet.worker import Worker
from fraudstream.scoring.load import load_model
from fraudstream.settings import Settings, locate
from fraudstream.stages.alerter import Alerter
from fraudstream.stages.following import Following, Patience
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.stages.labels import Labels
from fraudstream.stages.ml_scoring import ModelJudge
from fraudstream.stages.recorder import Recorder
from fraudstream.stages.shadow_scoring import Shadows
from fraudstream.stages.step_in import ABSENT, StepIn
from fraudstream.stages.verdict import Judge, VerdictRoad
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.report import AlertMetrics, GroupReport

#: How many times within one decision deadline a healthy worker looks for what is overdue in the other group.
_LOOKS_PER_DEADLINE = 4


class Crew:
    """
    The consumers of one process, and what they share.
    """

    def __init__(self, settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._metrics = metrics
        self._stack = stack
        self._keys = Keys()
        self._address = address(settings)
        self._clock = RedisClock()
        self._executor = stack.enter_context(ThreadPoolExecutor(max_workers=1, thread_name_prefix="model"))
        self._times = StreamOptions(
            heartbeat_life_s=settings.heartbeat_life_s,
            claim_idle_s=settings.claim_idle_s,
            hard_idle_s=settings.hard_idle_s,
            dead_marker_s=max(3600.0, settings.dedup_horizon_s),
        )
        self._ledger = LedgerOptions(
            horizon_s=settings.dedup_horizon_s,
            deadline_ms=settings.decision_deadline_ms,
            grace_ms=max(250, settings.decision_deadline_ms),
        )
        self.workers: list[Worker] = []
        self.changes = Changes()
        self.reports: list[GroupReport] = []
        self.complaints: list[tuple[GroupReport, RedisTroubles]] = []
        self.rule_watch: RuleWatch | None = None
        self.model_watch: ModelWatch | None = None
        self.drift_watch: DriftWatch | None = None
        self.alerting: Alerting | None = None

    async def open(self) -> None:
        """
        Connect, check the server, and make a consumer for each group.
        """
        self._commands = await self._stack.enter_async_context(connected(self._address))
        server = await check_server(
            self._commands, allow_no_persistence=self._settings.allow_no_persistence, partitioned=bool(self._keys.tag)
        )
        await self._clock.set(self._commands)
        structlog.get_logger().info("server_checked", server=server)
        kept = RedisTokenKey(self._commands)
        self._tokens = await tokens_of(self._settings, kept)
        self.people = FleetTokens(self._settings, kept, self._tokens)
        self.janitor = RedisJanitor(self._commands, self._keys)
        for group in self._settings.groups:
            await self._join(group)
        if self.rule_watch is not None:
            await self.rule_watch.start()
        if self.model_watch is not None:
            await self.model_watch.start()

    async def complain(self) -> int:
        """
        Leave in Redis what each consumer complains of lately; return how many kinds.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        return sum([await told.tell(report.troubles.lately()) for report, told in self.complaints])

    async def _join(self, group: str) -> None:
        if group in OTHER_GROUP:
            await self._deciding(group)
        elif group == "alerter":
            await self._consumer(group, self._alerter)
        else:
            await self._consumer(group, self._recorder if group == "recorder" else self._labels)

    async def _consumer(
        self,
        group: str,
        make_stage: Callable[[RedisTransactionStream, GroupReport], Awaitable[Stage]],
        *,
        stepping_in: bool = False,
    ) -> None:
        """
        Add one consumer of a group: its connection, its stream, its heartbeat and its stage.
        """
        settings = self._settings
        reader = self._address.reader()
        self._stack.push_async_callback(reader.aclose)
        stream = RedisTransactionStream(
            reader,
            self._commands,
            stream=settings.stream or self._keys.stream(STREAM_OF[group]),
            group=group,
            consumer=consumer_name(settings.consumer_id or "", stepping_in=stepping_in),
            keys=self._keys,
            options=self._times,
        )
        report = GroupReport(self._metrics, stream=stream.name, group=group, worker=stream.consumer, stepping_in=stepping_in)
        self.reports.append(report)
        self.complaints.append(
            (report, RedisTroubles(self._commands, self._keys, stream=stream.name, group=group, consumer=stream.consumer))
        )
        overdue = RedisOverdue(
            self._commands, stream=stream.name, group=group, consumer=stream.consumer, keys=self._keys, options=self._ledger
        )
        self.workers.append(
            Worker(
                await make_stage(stream, report),
                stream,
                RedisHeart(self._address, stream, self._keys, self._times),
                limits=self._limits(),
                report=report,
                rng=random.Random(),  # noqa: S311 spreads retries, decides nothing
                overdue=overdue if stepping_in else None,
                overdue_every_s=settings.decision_deadline_ms / 1000 / _LOOKS_PER_DEADLINE,
            )
        )

    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            batch_entries=settings.batch_entries,
            batches_in_hand=settings.batches_in_hand,
            max_deliveries=settings.max_deliveries,
            block_ms=settings.block_ms,
            heartbeat_life_s=settings.heartbeat_life_s,
            drain_timeout_s=settings.drain_timeout_s,
        )

    async def _deciding(self, group: str) -> None:
        """
        Add a consumer of a deciding group, and one that steps in for the other.
        """
        rulebook = load_rulebook(self._settings)
        make_judge = self._rules_judge if group == "fraud-check" else self._model_judge

        async def stage(stream: RedisTransactionStream, report: GroupReport) -> Stage:
            judge = await make_judge(rulebook, report, stream.consumer)
            return self._road(judge, rulebook, stream, report, self._following(group))

        async def absent(stream: RedisTransactionStream, report: GroupReport) -> Stage:
            return StepIn(self._road(ABSENT[stream.group], rulebook, stream, report))

        await self._consumer(group, stage)
        if self._settings.decision_deadline_ms:
            await self._consumer(OTHER_GROUP[group], absent, stepping_in=True)

    async def _rules_judge(self, rulebook: Rulebook, report: GroupReport, worker: str) -> Judge:
        lists = FleetLists(self._settings, RedisLists(self._commands, self._address.blocking), self._tokens)
        await lists.start()
        from_file = load_rule_set(
            self._settings, rulebook.features, lists=lists.contents, rates=lists.rates, written=lists.written
        )
        warm_up(rulebook.features, from_file.evaluate)
        judge = RulesJudge(from_file, report)
        self.rule_watch = RuleWatch(
            RedisRuleSets(self._commands),
            judge,
            from_file,
            lists,
            report,
            guarded=self._settings.rules_guard,
            worker=worker,
            changes=self.changes,
        )
        return judge

    async def _model_judge(self, rulebook: Rulebook, report: GroupReport, _worker: str) -> Judge:
        features, policy = rulebook.features, rulebook.policy
        model = load_model(locate(self._settings.model_path), features.names, feature_set=features.id)
        warm_up(features, lambda _, matrix: (model.score(matrix), model.reasons(matrix)))
        models = RedisModels(self._commands)
        beside = self._stack.enter_context(ThreadPoolExecutor(max_workers=1, thread_name_prefix="shadows"))
        shadows, self.drift_watch = Shadows(beside, policy, models, report), DriftWatch(report)
        self._stack.push_async_callback(shadows.close)
        judge = ModelJudge(
            model,
            self._executor,
            explain_from=policy.challenge_from / 2,
            report=report,
            watches=(self.drift_watch, shadows),
        )
        load = partial(load_pushed, open_registry(self._settings), features=features)
        self.model_watch = ModelWatch(models, judge, model, load, report)
        return judge

    def _following(self, group: str) -> Following | None:
        """
        Let the model wait for the features that the rules were judged on; the rules wait for nobody.
        """
        if group != "ml-scoring" or not self._settings.follow_ms:
            return None
        return Following(Patience(longest_s=self._settings.follow_ms / 1000))

    def _road(
        self,
        judge: Judge,
        rulebook: Rulebook,
        stream: RedisTransactionStream,
        report: GroupReport,
        following: Following | None = None,
    ) -> VerdictRoad:
        return VerdictRoad(
            judge,
            RedisEntityStore(
                self._commands,
                stream=stream.name,
                group=stream.group,
                features=rulebook.features,
                keys=self._keys,
                options=self._ledger,
                clock=self._clock,
            ),
            RedisVerdictLedger(
                self._commands,
                stream=stream.name,
                group=stream.group,
                consumer=stream.consumer,
                features=rulebook.features,
                keys=self._keys,
                options=self._ledger,
                clock=self._clock,
            ),
            stream,
            features=rulebook.features,
            policy=rulebook.policy,
            clock=self._clock,
            default_currency=self._settings.currency,
            report=report,
            following=following,
            tokens=self._tokens,
        )

    async def _recorder(self, _stream: RedisTransactionStream, report: GroupReport) -> Stage:
        return Recorder(await self._store(report))

    async def _labels(self, _stream: RedisTransactionStream, report: GroupReport) -> Stage:
        features = load_rulebook(self._settings).features
        store = await self._postgres()
        measured = MeasuredDecisionStore(store, self._metrics, troubles=report.troubles)
        if not features.reads_labels:
            return Labels(measured, tokens=self._tokens)
        states = RedisEntityStates(self._commands, features=features, keys=self._keys)
        return Labels(measured, store, states, tokens=self._tokens)

    async def _store(self, report: GroupReport) -> DecisionStore:
        return MeasuredDecisionStore(await self._postgres(), self._metrics, troubles=report.troubles)

    async def _postgres(self) -> PostgresDecisionStore:
        store = PostgresDecisionStore(self._settings.postgres_url or "")
        await store.open()
        self._stack.push_async_callback(store.close)
        return store

    async def _alerter(self, stream: RedisTransactionStream, group_report: GroupReport) -> Stage:
        report = AlertMetrics(self._metrics, group_report.troubles)
        self.alerting = Alerting(self._settings, RedisAlerts(self._commands, self._keys), report, self._stack)
        chosen = policies(self._settings)
        folder = RedisAlertFolder(
            self._commands,
            stream=stream.name,
            group=stream.group,
            consumer=stream.consumer,
            keys=self._keys,
            policies={name: chosen[name] for name in self._settings.alert_channels},
            silence_s=self._settings.alert_silence_s,
            known_s=self._ledger.record_ttl_s,
        )
        return Alerter(folder, report=report)
