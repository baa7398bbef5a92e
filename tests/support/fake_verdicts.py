"""
The ledger of verdicts and the entity states in memory, with the answers of the scripts; and obedient judges.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.redis_keys import OTHER_GROUP
from fraudstream.domain.decision import Decision
from fraudstream.domain.decision_codec import VerdictRecord
from fraudstream.domain.evidence import Fallback, ModelVerdict, RulesVerdict, Verdict
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.records import Records
from fraudstream.stages.ports import Answer, Completed, Completion, FirstVerdicts, Place, Touched
from tests.support.builders import NOW_MS
from tests.support.fake_stream import MemoryStreams


class MemoryTransactions:
    """
    Where each transaction stands, and what was emitted; shared by the workers of both groups.
    """

    def __init__(self, features: FeatureSet) -> None:
        self.states = MemoryEntityStore(features)
        self.standing: dict[str, str | VerdictRecord] = {}
        self.decisions: list[Decision] = []
        self.write_ids = itertools.count(1)


class FakeEntityStore:
    """
    ``EntityStore`` of one group.
    """

    def __init__(self, shared: MemoryTransactions, streams: MemoryStreams, group: str) -> None:
        self._shared = shared
        self._streams = streams
        self._group = group

    async def touch(self, entry_ids: Sequence[bytes], transactions: Sequence[Transaction], records: Records) -> Touched:
        self._shared.states.touch(records)
        places: list[Place] = []
        others: dict[int, VerdictRecord] = {}
        for row, (entry_id, transaction) in enumerate(zip(entry_ids, transactions, strict=True)):
            standing = self._shared.standing.setdefault(transaction.transaction_id, "new")
            if standing == "new":
                self._shared.standing[transaction.transaction_id] = "touched"
                places.append(Place.FIRST)
            elif standing == "touched":
                places.append(Place.AGAIN)
            elif isinstance(standing, VerdictRecord) and standing.group != _byte(self._group):
                others[row] = standing
                places.append(Place.OTHER)
            else:
                pending = self._streams.groups[self._group].pending.pop(int(entry_id.partition(b"-")[0]), None)
                places.append(Place.GONE if pending is None else Place.DUPLICATE)
        return Touched(places=places, others=others, states=self._shared.states.states(records))


class FakeLedger:
    """
    ``VerdictLedger`` of one consumer of one group.
    """

    def __init__(self, shared: MemoryTransactions, streams: MemoryStreams, group: str, consumer: str) -> None:
        self._shared = shared
        self._streams = streams
        self._group = group
        self._consumer = consumer

    async def verdicts(self, transaction_ids: Sequence[str]) -> FirstVerdicts:
        standings = [self._shared.standing.get(identity) for identity in transaction_ids]
        return FirstVerdicts(
            others={
                row: standing
                for row, standing in enumerate(standings)
                if isinstance(standing, VerdictRecord) and standing.group != _byte(self._group)
            },
            coming=[row for row, standing in enumerate(standings) if standing is None or standing in ("new", "touched")],
        )

    async def joined(self, spans: Sequence[tuple[bytes, bytes]]) -> list[bool]:
        return [True] * len(spans)

    async def complete(self, completions: Sequence[Completion]) -> Completed:
        answers: list[Answer] = []
        others: dict[int, VerdictRecord] = {}
        for row, completion in enumerate(completions):
            answer = self._answer(completion)
            if isinstance(answer, VerdictRecord):
                others[row], answer = answer, Answer.OTHER
            elif answer in {Answer.STORED, Answer.EMITTED, Answer.UNNEEDED}:
                del self._streams.groups[self._group].pending[_number(completion)]
            answers.append(answer)
        noted = {
            row: record
            for row, (completion, answer) in enumerate(zip(completions, answers, strict=True))
            if answer is Answer.STORED and isinstance(record := self._shared.standing[completion.transaction_id], VerdictRecord)
        }
        return Completed(now_ms=NOW_MS, answers=answers, others=others, noted=noted)

    async def decide(self, completions: Sequence[Completion], beside: str) -> Completed:
        answers = [self._decided(completion, beside) for completion in completions]
        return Completed(now_ms=NOW_MS, answers=answers, others={}, noted={})

    def _decided(self, completion: Completion, beside: str) -> Answer:
        number = _number(completion)
        both = [
            (self._streams.groups[group].pending, consumer)
            for group, consumer in ((self._group, self._consumer), (OTHER_GROUP[self._group], beside))
        ]
        ours = all(number in pending and pending[number].owner == consumer for pending, consumer in both)
        if not ours or self._shared.standing.get(completion.transaction_id) != "touched" or completion.decision is None:
            return Answer.APART
        for pending, _ in both:
            del pending[number]
        self._shared.decisions.append(completion.decision)
        self._shared.standing[completion.transaction_id] = "decided"
        return Answer.TOGETHER

    def _answer(self, completion: Completion) -> Answer | VerdictRecord:
        pending = self._streams.groups[self._group].pending.get(_number(completion))
        if pending is None or pending.owner != self._consumer:
            return Answer.GONE
        standing = self._shared.standing.get(completion.transaction_id)
        if standing is None or (standing == "touched" and completion.decision is not None):
            return Answer.ABSENT
        if standing == "touched":
            self._shared.standing[completion.transaction_id] = VerdictRecord(
                group=_byte(self._group),
                write_id=b"%08d" % next(self._shared.write_ids),
                feature_set=completion.feature_set,
                vector=completion.vector,
                verdict=completion.verdict,
            )
            return Answer.STORED
        if not isinstance(standing, VerdictRecord) or standing.group == _byte(self._group):
            return Answer.UNNEEDED
        if completion.basis != standing.write_id or completion.decision is None:
            return standing
        self._shared.decisions.append(completion.decision)
        self._shared.standing[completion.transaction_id] = "decided"
        return Answer.EMITTED


class ScriptedJudge:
    """
    ``Judge`` of either group: says what it is told to, and remembers what it was shown.
    """

    def __init__(self, step: str, say: Callable[[Transaction], Verdict] | None = None) -> None:
        self.step = step
        self.say = say or (lambda _: self.opinion())
        self.shown: list[tuple[str, bytes]] = []

    @property
    def deadline_fallback(self) -> Fallback:
        return Fallback.RULES_DEADLINE if self.step == "rules" else Fallback.MODEL_DEADLINE

    async def judge(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[Verdict]:
        self.shown += [(one.transaction_id, row.tobytes()) for one, row in zip(transactions, matrix, strict=True)]
        return [self.say(one) for one in transactions]

    def opinion(self) -> Verdict:
        return RulesVerdict(rule_set="r") if self.step == "rules" else ModelVerdict(model="m", score=0.25)

    def no_opinion(self, reason: Fallback) -> Verdict:
        if self.step == "rules":
            return RulesVerdict(rule_set="", fallback=reason)
        return ModelVerdict(model="", fallback=reason)


class FixedClock:
    """
    ``Clock`` that always says the present of tests.
    """

    def now_ms(self) -> int:
        return NOW_MS


class RememberingVerdictReport:
    """
    ``VerdictReport`` that keeps what it was told.
    """

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.answers: list[Answer] = []
        self.decisions: list[Decision] = []
        self.reasons: list[str] = []
        self.fallbacks: list[tuple[str, int]] = []
        self.rule_errors: dict[str, int] = {}

    def touched(self, places: Sequence[Place]) -> None:
        self.places += places

    def completed(self, answers: Sequence[Answer]) -> None:
        self.answers += answers

    def decided(self, decisions: Sequence[Decision], latencies_s: Sequence[float]) -> None:
        assert len(decisions) == len(latencies_s)
        self.decisions += decisions

    def invalid(self, reason: str) -> None:
        self.reasons.append(reason)

    def timed(self, step: str, seconds: float) -> None: ...

    def rules_failed(self, errors: Mapping[str, int]) -> None:
        self.rule_errors.update(errors)

    def fell_back(self, reason: str, error: str, transactions: int) -> None:
        self.fallbacks.append((reason, transactions))


def _byte(group: str) -> bytes:
    return b"F" if group == "fraud-check" else b"M"


def _number(completion: Completion) -> int:
    return int(completion.entry_id.partition(b"-")[0])
