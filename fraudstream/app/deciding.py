"""
How the deciding groups of a process are put together: the judges, the road that both share, and what passes between them.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import cached_property

from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_keys import FOLLOWED, OTHER_GROUP
from fraudstream.adapters.redis_lists import RedisLists
from fraudstream.adapters.redis_models import RedisModels
from fraudstream.adapters.redis_news import RedisNews
from fraudstream.adapters.redis_partitions import Part
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.adapters.redis_scattered import RedisScatteredStore
from fraudstream.adapters.redis_stream import RedisTransactionStream
from fraudstream.adapters.redis_touch import RedisEntityStore
from fraudstream.adapters.redis_verdicts import LedgerOptions, RedisVerdictLedger
from fraudstream.app.fleet_lists import FleetLists
from fraudstream.app.loading import Rulebook, load_rule_set, load_rulebook
from fraudstream.app.model_registry import PushedModels, open_registry
from fraudstream.app.model_watch import DriftWatch, ModelWatch
from fraudstream.app.rule_watch import RuleWatch
from fraudstream.app.seat import Seat
from fraudstream.app.warm import warm_up
from fraudstream.domain.tokens import Tokens
from fraudstream.features.definitions import FeatureSet
from fraudstream.fleet.ports import Stage
from fraudstream.fleet.stalls import Changes
from fraudstream.scoring.load import load_model
from fraudstream.settings import Settings, locate
from fraudstream.stages.abreast import Abreast
from fraudstream.stages.following import Following, Patience
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.stages.ml_scoring import ModelJudge
from fraudstream.stages.neighbours import Follower, Neighbours
from fraudstream.stages.news import News
from fraudstream.stages.ports import EntityStore, Judge
from fraudstream.stages.shadow_scoring import Shadows
from fraudstream.stages.step_in import ABSENT, StepIn
from fraudstream.stages.verdict import VerdictRoad
from fraudstream.telemetry.report import GroupReport


class Deciding:
    """
    What the deciding consumers of one process share, and how the stage of each is made.

    ``rule_watch``, ``model_watch`` and ``drift_watch`` are there once a group that needs them has its judge.

    Args:
        settings: Of the process.
        address: Where Redis is.
        parts: Every partition in order.
        rule_sets: The rules in force.
        lists: The lists in force.
        models: The models in force.
        options: The times of the protocol.
        tokens: Stand-ins for e-mail addresses and phone numbers.
        changes: Told when rules or models are taken over.
        stack: Closes what is opened for the whole process.
    """

    def __init__(
        self,
        settings: Settings,
        address: RedisAddress,
        parts: Sequence[Part],
        *,
        rule_sets: RedisRuleSets,
        lists: RedisLists,
        models: RedisModels,
        options: LedgerOptions,
        tokens: Tokens,
        changes: Changes,
        stack: AsyncExitStack,
    ) -> None:
        self._settings = settings
        self._address = address
        self._parts = parts
        self._rule_sets = rule_sets
        self._lists = lists
        self._models = models
        self._ledger = options
        self._tokens = tokens
        self._changes = changes
        self._stack = stack
        self._executor = stack.enter_context(ThreadPoolExecutor(max_workers=1, thread_name_prefix="model"))
        self._judges: dict[str, Judge] = {}
        self._neighbours: dict[int, Neighbours] = {}
        self.rule_watch: RuleWatch | None = None
        self.model_watch: ModelWatch | None = None
        self.drift_watch: DriftWatch | None = None

    @cached_property
    def _rulebook(self) -> Rulebook:
        return load_rulebook(self._settings)

    async def prepare(self, group: str, report: GroupReport, worker: str) -> None:
        """
        Make the one judge of a group that its consumers on all partitions share.
        """
        self._judges[group] = await self._judge(group, self._rulebook, report, worker)

    async def stage(self, seat: Seat, stream: RedisTransactionStream, report: GroupReport) -> Stage:
        """
        Return the stage of a consumer of a deciding group.
        """
        group, rulebook = stream.group, self._rulebook
        judge = self._judges.get(group) or await self._judge(group, rulebook, report, stream.consumer)
        following, neighbours = self._following(group), self._beside(group, seat)
        news = self._news(seat) if following is not None and neighbours is None else None
        if following is not None and neighbours is not None:
            neighbours.follower = Follower(judge, stream.consumer)
        return self._road(judge, rulebook, seat, stream, report, following=following, neighbours=neighbours, news=news)

    async def absent(self, seat: Seat, stream: RedisTransactionStream, report: GroupReport) -> Stage:
        """
        Return the stage of a consumer that steps in for a group that does not answer.
        """
        return StepIn(self._road(ABSENT[stream.group], self._rulebook, seat, stream, report))

    async def _judge(self, group: str, rulebook: Rulebook, report: GroupReport, worker: str) -> Judge:
        make = self._rules_judge if group == "fraud-check" else self._model_judge
        return await make(rulebook, report, worker)

    async def _rules_judge(self, rulebook: Rulebook, report: GroupReport, worker: str) -> Judge:
        lists = FleetLists(self._settings, self._lists, self._tokens)
        await lists.start()
        from_file = load_rule_set(
            self._settings, rulebook.features, lists=lists.contents, rates=lists.rates, written=lists.written
        )
        warm_up(rulebook.features, from_file.evaluate)
        judge = RulesJudge(from_file, report)
        self.rule_watch = RuleWatch(
            self._rule_sets,
            judge,
            from_file,
            lists,
            report,
            guarded=self._settings.rules_guard,
            worker=worker,
            changes=self._changes,
        )
        return judge

    async def _model_judge(self, rulebook: Rulebook, report: GroupReport, _worker: str) -> Judge:
        features, policy = rulebook.features, rulebook.policy
        model = load_model(locate(self._settings.model_path), features.names, feature_set=features.id)
        warm_up(features, lambda _, matrix: (model.score(matrix), model.reasons(matrix)))
        beside = self._stack.enter_context(ThreadPoolExecutor(max_workers=1, thread_name_prefix="shadows"))
        shadows, self.drift_watch = Shadows(beside, policy, self._models, report), DriftWatch(report)
        self._stack.push_async_callback(shadows.close)
        judge = ModelJudge(
            model,
            self._executor,
            explain_from=policy.challenge_from / 2,
            report=report,
            watches=(self.drift_watch, shadows),
        )
        pushed = PushedModels(open_registry(self._settings), features)
        self.model_watch = ModelWatch(self._models, judge, model, pushed, report, changes=self._changes)
        return judge

    def _following(self, group: str) -> Following | None:
        """
        Let the model wait for the features that the rules were judged on; the rules wait for nobody.
        """
        if group == FOLLOWED or not self._settings.follow_ms:
            return None
        return Following(Patience(longest_s=self._settings.follow_ms / 1000))

    def _news(self, seat: Seat) -> News:
        """
        Let those who follow hear of verdicts that other processes note.
        """
        news = News()
        listener = RedisNews(self._address.commands(1, seat.tag), seat.keys.news(FOLLOWED), news)
        listener.start()
        seat.stack.push_async_callback(listener.stop)
        return news

    def _beside(self, group: str, seat: Seat) -> Neighbours | None:
        """
        Return what the groups of a partition pass on to each other in this process, if it serves both.
        """
        if OTHER_GROUP[group] not in self._settings.groups or not self._settings.follow_ms:
            return None
        return self._neighbours.setdefault(seat.number, Neighbours())

    def _road(
        self,
        judge: Judge,
        rulebook: Rulebook,
        seat: Seat,
        stream: RedisTransactionStream,
        report: GroupReport,
        *,
        following: Following | None = None,
        neighbours: Neighbours | None = None,
        news: News | None = None,
    ) -> VerdictRoad:
        ledger = RedisVerdictLedger(
            seat.commands,
            stream=stream.name,
            group=stream.group,
            consumer=stream.consumer,
            features=rulebook.features,
            keys=seat.keys,
            options=self._ledger,
            clock=seat.clock,
        )
        return VerdictRoad(
            judge,
            self._entities(rulebook.features, seat, stream),
            ledger,
            stream,
            features=rulebook.features,
            policy=rulebook.policy,
            clock=seat.clock,
            default_currency=self._settings.currency,
            report=report,
            following=following,
            tokens=self._tokens,
            neighbours=neighbours,
            news=news,
            abreast=self._abreast(stream.group, ledger),
        )

    def _abreast(self, group: str, ledger: RedisVerdictLedger) -> Abreast | None:
        """
        Let the rules note no more verdicts than the model keeps up with, where the model follows them and has a deadline.
        """
        settings = self._settings
        if group != FOLLOWED or not settings.follow_ms or not settings.decision_deadline_ms:
            return None
        return Abreast(ledger.joined, deadline_s=settings.decision_deadline_ms / 1000)

    def _entities(self, features: FeatureSet, seat: Seat, stream: RedisTransactionStream) -> EntityStore:
        if len(self._parts) > 1:
            return RedisScatteredStore(
                seat.number, self._parts, group=stream.group, features=features, options=self._ledger, clock=seat.clock
            )
        return RedisEntityStore(
            seat.commands, stream=stream.name, group=stream.group, features=features, keys=seat.keys,
            options=self._ledger, clock=seat.clock,
        )  # fmt: skip
