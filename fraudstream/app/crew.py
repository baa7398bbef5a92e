"""
The consumers of one process: which concrete thing each of them gets.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

import msgspec
import structlog

from fraudstream.adapters.measured_store import MeasuredDecisionStore
from fraudstream.adapters.noting_store import OutcomeNotingStore
from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.redis_alerts import RedisAlertFolder, RedisAlerts
from fraudstream.adapters.redis_checks import check_server
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_keys import OTHER_GROUP, STREAM_OF, Partitions
from fraudstream.adapters.redis_leases import RedisLeases, agree_on_count
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_models import RedisModels
from fraudstream.adapters.redis_partitions import open_parts, servers
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.adapters.redis_scattered import RedisScatteredStates
from fraudstream.adapters.redis_states import RedisEntityStates
from fraudstream.adapters.redis_stream import RedisHeart, RedisTransactionStream, StreamOptions, consumer_name
from fraudstream.adapters.redis_token_key import RedisTokenKey
from fraudstream.adapters.redis_troubles import RedisTroubles
from fraudstream.adapters.redis_verdicts import LedgerOptions, RedisOverdue
from fraudstream.app.alerting import Alerting
from fraudstream.app.channels import policies
from fraudstream.app.connections import address
from fraudstream.app.deciding import Deciding
from fraudstream.app.loading import load_rulebook
from fraudstream.app.model_watch import DriftWatch, ModelWatch
from fraudstream.app.people import FleetTokens, tokens_of
from fraudstream.app.rule_watch import RuleWatch
from fraudstream.app.seat import PartitionPost, Seat
from fraudstream.fleet.company import Company
from fraudstream.fleet.hands import Limits
from fraudstream.fleet.ports import DecisionStore, Stage
from fraudstream.fleet.sharing import Post, Sharing
from fraudstream.fleet.stalls import Changes
from fraudstream.fleet.turns import Turns
from fraudstream.fleet.worker import Worker
from fraudstream.settings import Settings
from fraudstream.stages.alerter import Alerter
from fraudstream.stages.labels import Labels
from fraudstream.stages.recorder import Recorder
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.report import AlertReport, GroupReport

#: Shortest time between two reads of the groups whose results no payment waits for, in seconds: a database transaction costs
#: both sides a millisecond before its first row, and at 5,000 payments a second holds a thousand rows then.
_GATHER_S = 0.2
#: How many times within one decision deadline a healthy worker looks for what is overdue in the other group.
_LOOKS_PER_DEADLINE = 4
#: Least life of a lease in seconds, and signs of life within one: a partition whose worker died waits for so long.
_SHORTEST_LEASE_S, _LEASE_TURNS = 1.0, 4


class _Made(msgspec.Struct, frozen=True):
    """
    One consumer to be added: of which group, how its stage is made, and whether it steps in.
    """

    group: str
    make_stage: Callable[[Seat, RedisTransactionStream, GroupReport], Awaitable[Stage]]
    stepping_in: bool = False


class Crew:
    """
    The consumers of one process, and what they share.

    With one partition they are there from the start: ``workers``. With several each group has a ``Sharing`` instead, which
    adds and takes away consumers partition by partition.
    """

    def __init__(self, settings: Settings, metrics: Metrics, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._metrics = metrics
        self._stack = stack
        self._partitions = Partitions(settings.partitions)
        self._address = address(settings)
        self._times = StreamOptions(
            heartbeat_life_s=settings.heartbeat_life_s,
            claim_idle_s=settings.claim_idle_s,
            hard_idle_s=settings.hard_idle_s,
            dead_marker_s=max(3600.0, settings.dedup_horizon_s),
        )
        self._ledger = LedgerOptions(
            horizon_s=settings.dedup_horizon_s,
            any_age_s=settings.dedup_any_age_s,
            deadline_ms=settings.decision_deadline_ms,
            grace_ms=max(250, settings.decision_deadline_ms),
        )
        self._company = Company()
        self.changes = Changes()
        self._turns = Turns()
        self._kept_store: PostgresDecisionStore | None = None
        self.sharings: list[Sharing] = []
        self.reports: list[GroupReport] = []

    async def open(self) -> None:
        """
        Connect, check every server, and make a consumer for each group, or what shares the partitions of each.
        """
        self._commands = await self._stack.enter_async_context(connected(self._address))
        self._parts = await open_parts(self._address, self._partitions, self._commands, self._stack)
        for client in servers(self._parts):
            server = await check_server(
                client, allow_no_persistence=self._settings.allow_no_persistence, clustered=self._address.clustered
            )
            structlog.get_logger().info("server_checked", server=server)
        await agree_on_count(self._commands, self._partitions.count)
        kept = RedisTokenKey(self._commands)
        self._tokens = await tokens_of(self._settings, kept)
        self.people = FleetTokens(self._settings, kept, self._tokens)
        self._deciding = Deciding(
            self._settings,
            self._address,
            self._parts,
            rule_sets=RedisRuleSets(self._commands),
            lists=RedisLists(self._commands, self._address.blocking),
            models=RedisModels(self._commands),
            options=self._ledger,
            tokens=self._tokens,
            changes=self.changes,
            stack=self._stack,
        )
        self.seat = Seat(self._address, self._parts, 0, self._stack)
        await self.seat.clock.set(self.seat.commands)
        for group in self._settings.groups:
            await (self._join(group) if self._partitions.count == 1 else self._share(group))
        if self.rule_watch is not None:
            await self.rule_watch.start()
        if self.model_watch is not None:
            await self.model_watch.start()

    @property
    def rule_watch(self) -> RuleWatch | None:
        """
        What follows the rules in force, where this process judges by them.
        """
        return self._deciding.rule_watch

    @property
    def model_watch(self) -> ModelWatch | None:
        """
        What follows the models in force, where this process scores with them.
        """
        return self._deciding.model_watch

    @property
    def drift_watch(self) -> DriftWatch | None:
        """
        What compares scores with those of the training, where this process scores.
        """
        return self._deciding.drift_watch

    @property
    def workers(self) -> Sequence[Worker]:
        """
        The consumers that are there from the start.
        """
        return self.seat.workers

    async def _share(self, group: str) -> None:
        """
        Let a group's partitions be shared out among the processes that serve it.
        """
        name = consumer_name(self._settings.consumer_id or "")
        report = GroupReport(self._metrics, stream=self._parts[0].keys.stream(STREAM_OF[group]), group=group, worker=name)
        self.reports.append(report)
        if group in OTHER_GROUP:
            await self._deciding.prepare(group, report, name)
        life_s = max(_SHORTEST_LEASE_S, self._settings.heartbeat_life_s / 3)
        leases = RedisLeases(self._commands, group=group, worker=name, partitions=self._partitions.count, life_s=life_s)
        log = structlog.get_logger().bind(worker=name, group=group)
        self.sharings.append(
            Sharing(
                leases,
                partial(self._post, group),
                every_s=life_s / _LEASE_TURNS,
                report=report,
                changed=lambda served: log.info("partitions_served", partitions=list(served)),
            )
        )

    async def _post(self, group: str, partition: int) -> Post:
        """
        Make everything that one group needs on one partition.
        """
        stack = AsyncExitStack()
        seat = Seat(self._address, self._parts, partition, stack)
        try:
            await seat.clock.set(seat.commands)
            for made in self._consumers(group):
                await self._consumer(seat, made)
        except BaseException:
            await stack.aclose()
            raise
        return PartitionPost(seat, janitor_every_s=self._settings.janitor_interval_s)

    async def _join(self, group: str) -> None:
        for made in self._consumers(group):
            await self._consumer(self.seat, made)
        self.reports = self.seat.reports

    def _consumers(self, group: str) -> list[_Made]:
        """
        Return what a process adds that serves a group: a deciding one also steps in for the other.
        """
        if group not in OTHER_GROUP:
            stages = {"alerter": self._alerter, "recorder": self._recorder, "labels": self._labels}
            return [_Made(group, stages[group])]
        own = _Made(group, self._deciding.stage)
        return [own, _Made(OTHER_GROUP[group], self._deciding.absent, True)] if self._settings.decision_deadline_ms else [own]

    async def _consumer(self, seat: Seat, made: _Made) -> None:
        """
        Add one consumer of a group: its connection, its stream, its heartbeat and its stage.
        """
        settings, group, stepping_in = self._settings, made.group, made.stepping_in
        reader = self._address.reader(seat.tag)
        seat.stack.push_async_callback(reader.aclose)
        stream = RedisTransactionStream(
            reader,
            seat.commands,
            stream=seat.keys.stream(settings.stream or STREAM_OF[group]),
            group=group,
            consumer=consumer_name(settings.consumer_id or "", stepping_in=stepping_in),
            keys=seat.keys,
            options=self._times,
        )
        report = GroupReport(self._metrics, stream=stream.name, group=group, worker=stream.consumer, stepping_in=stepping_in)
        seat.reports.append(report)
        seat.complaints.append(
            (report, RedisTroubles(seat.commands, seat.keys, stream=stream.name, group=group, consumer=stream.consumer))
        )
        overdue = RedisOverdue(
            seat.commands,
            stream=stream.name,
            group=group,
            consumer=stream.consumer,
            keys=seat.keys,
            options=self._ledger,
            clock=seat.clock,
        )
        seat.workers.append(
            Worker(
                await made.make_stage(seat, stream, report),
                stream,
                RedisHeart(self._address, stream, seat.keys, self._times),
                limits=self._limits(0.0 if group in OTHER_GROUP else _GATHER_S),
                report=report,
                rng=random.Random(),  # noqa: S311 spreads retries, decides nothing
                overdue=overdue if stepping_in else None,
                overdue_every_s=settings.decision_deadline_ms / 1000 / _LOOKS_PER_DEADLINE,
                turns=self._turns,
                company=self._company,
            )
        )

    def _limits(self, read_every_s: float) -> Limits:
        settings = self._settings
        return Limits(
            batch_entries=settings.batch_entries,
            batches_in_hand=settings.batches_in_hand,
            max_deliveries=settings.max_deliveries,
            block_ms=settings.block_ms,
            read_every_s=read_every_s,
            heartbeat_life_s=settings.heartbeat_life_s,
            drain_timeout_s=settings.drain_timeout_s,
        )

    async def _recorder(self, _seat: Seat, _stream: RedisTransactionStream, report: GroupReport) -> Stage:
        store = await self._store(report)
        if self._partitions.count > 1 and (features := load_rulebook(self._settings).features).reads_outcome:
            # The script that decides reaches its own partition only.
            store = OutcomeNotingStore(store, RedisScatteredStates(self._parts, features=features))
        return Recorder(store)

    async def _labels(self, seat: Seat, _stream: RedisTransactionStream, report: GroupReport) -> Stage:
        features = load_rulebook(self._settings).features
        store = await self._postgres()
        measured = MeasuredDecisionStore(store, self._metrics, troubles=report.troubles)
        if not features.reads_labels:
            return Labels(measured, tokens=self._tokens)
        if self._partitions.count > 1:
            return Labels(measured, store, RedisScatteredStates(self._parts, features=features), tokens=self._tokens)
        states = RedisEntityStates(seat.commands, features=features, keys=seat.keys)
        return Labels(measured, store, states, tokens=self._tokens)

    async def _store(self, report: GroupReport) -> DecisionStore:
        return MeasuredDecisionStore(await self._postgres(), self._metrics, troubles=report.troubles)

    async def _postgres(self) -> PostgresDecisionStore:
        """
        Return a store for a consumer; all partitions of a process share one, and its pool.
        """
        if self._kept_store is not None and self._partitions.count > 1:
            return self._kept_store
        store = PostgresDecisionStore(self._settings.postgres_url or "")
        await store.open()
        self._stack.push_async_callback(store.close)
        self._kept_store = store
        return store

    async def _alerter(self, seat: Seat, stream: RedisTransactionStream, group_report: GroupReport) -> Stage:
        report = AlertReport(self._metrics, group_report.troubles)
        seat.alerting = Alerting(self._settings, RedisAlerts(seat.commands, seat.keys), report, seat.stack)
        chosen = policies(self._settings)
        folder = RedisAlertFolder(
            seat.commands,
            stream=stream.name,
            group=stream.group,
            consumer=stream.consumer,
            keys=seat.keys,
            policies={name: chosen[name] for name in self._settings.alert_channels},
            silence_s=self._settings.alert_silence_s,
            known_s=self._ledger.record_ttl_s,
        )
        return Alerter(folder, report=report)
