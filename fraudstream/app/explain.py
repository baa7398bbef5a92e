"""
A decision executed again from its record: the same vector through rules, model and policy, compared bit for bit.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.app.shelf import Shelf
from fraudstream.domain.decision import Decision
from fraudstream.domain.decision_codec import decode_decision, encode_decision
from fraudstream.domain.evidence import Fallback, ModelVerdict, RuleHit, RulesVerdict
from fraudstream.domain.moments import moment
from fraudstream.features.definitions import FeatureSet
from fraudstream.rules.rule import PRECEDENCE
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.stages.join import join
from fraudstream.stages.ml_scoring import ModelJudge
from fraudstream.stages.ports import Answer, Place

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Verdict(StrEnum):
    """
    What came of a second execution.
    """

    SAME = "same"
    DIFFERS = "differs"
    NOT_AT_HAND = "not_at_hand"


class Difference(msgspec.Struct, frozen=True):
    """
    One field of the decision that is not what it was; values as JSON.
    """

    field: str
    recorded: Any
    again: Any


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """
    A second execution of one decision.

    ``notes`` say in words what is not what it was, or is no longer at hand. ``features`` are the values behind the decision by
    name, None where they were missing; empty when the definitions are not at hand. ``again`` is the decision as it would be
    made now, None when it could not be made.
    """

    transaction_id: str
    verdict: Verdict
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    features: Mapping[str, float | None] = {}
    again: Decision | None = None


class _Group(msgspec.Struct, frozen=True):
    """
    Decisions that were made with the same things, so that one batch executes them again.
    """

    feature_set: str
    rule_set: str
    lists: tuple[tuple[str, str], ...]
    model: str
    scored: bool


class _Failures:
    """
    A ``VerdictReport`` that keeps what went wrong and nothing else.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    def rules_failed(self, errors: Mapping[str, int]) -> None:
        self.notes += [f"rule {rule_id} failed on {count} transactions" for rule_id, count in errors.items()]

    def fell_back(self, reason: str, error: str, transactions: int) -> None:
        self.notes.append(f"{reason} on {transactions} transactions: {error}")

    def touched(self, places: Sequence[Place]) -> None: ...

    def completed(self, answers: Sequence[Answer]) -> None: ...

    def decided(self, decisions: Sequence[Decision], latencies_s: Sequence[float]) -> None: ...

    def invalid(self, reason: str) -> None: ...

    def timed(self, step: str, seconds: float) -> None: ...


async def explain(decisions: Sequence[Decision], shelf: Shelf) -> list[Explanation]:
    """
    Execute decisions again, in batches of those that were made with the same things; answers in the same order.

    A group that had no opinion is taken as recorded: why it had none cannot be executed. A group whose rules or model are not
    at hand is executed with the current ones, and the notes say so.
    """
    groups: dict[_Group, list[int]] = {}
    for at, decision in enumerate(decisions):
        groups.setdefault(_group_of(decision), []).append(at)
    explained: dict[int, Explanation] = {}
    await shelf.bring((group.rule_set for group in groups), (dict(group.lists) for group in groups))
    with ThreadPoolExecutor(max_workers=1) as executor:
        for group, places in groups.items():
            answers = await _explain_group(group, [decisions[at] for at in places], shelf, executor)
            explained.update(zip(places, answers, strict=True))
    return [explained[at] for at in range(len(decisions))]


async def redecide(decision: Decision, shelf: Shelf, *, now_ms: int) -> tuple[Decision | None, str]:
    """
    Return what the current rules and model make of the kept vector of a decision, both of them asked; or why there is nothing.
    """
    current = shelf.current(decision.feature_set)
    if current is None or not decision.vector:
        why = "no vector was kept" if not decision.vector else f"its feature set {decision.feature_set} is not the current one"
        return None, why
    rules, model = current
    group = _Group(decision.feature_set, rules.id, tuple(sorted(rules.lists.items())), model.id, scored=True)
    with ThreadPoolExecutor(max_workers=1) as executor:
        (explained,) = await _explain_group(group, [decision], shelf, executor)
    if explained.again is None:
        return None, "; ".join(explained.notes)
    return msgspec.structs.replace(explained.again, decided_at=moment(now_ms)), ""


def _group_of(decision: Decision) -> _Group:
    return _Group(
        decision.feature_set,
        decision.rule_set,
        tuple(sorted(decision.lists.items())),
        decision.model,
        decision.probability is not None,
    )


async def _explain_group(
    group: _Group, decisions: Sequence[Decision], shelf: Shelf, executor: ThreadPoolExecutor
) -> list[Explanation]:
    features = shelf.features(group.feature_set)
    executed = bool(group.rule_set) or group.scored
    if executed and features is None:
        return [
            _not_at_hand(one, f"feature set {group.feature_set} is not at hand: its columns are unknown") for one in decisions
        ]
    fit = [not executed or features is None or len(one.vector) == 4 * len(features.names) for one in decisions]
    whole = [one for one, fits in zip(decisions, fit, strict=True) if fits]
    again = _Again(group, features if executed else None, shelf, executor)
    answers = iter(await again.explain(whole))
    return [
        next(answers) if fits else _not_at_hand(one, "the recorded vector does not fit its feature set")
        for one, fits in zip(decisions, fit, strict=True)
    ]


class _Again:
    """
    One batch executed again; ``features`` is None where neither group had an opinion.
    """

    def __init__(self, group: _Group, features: FeatureSet | None, shelf: Shelf, executor: ThreadPoolExecutor) -> None:
        self._group = group
        self._features = features
        self._shelf = shelf
        self._executor = executor
        self._failures = _Failures()
        self._notes: list[str] = []

    async def explain(self, decisions: Sequence[Decision]) -> list[Explanation]:
        matrix = _matrix(decisions, self._features)
        rules, models = await self._rules(decisions, matrix), await self._model(decisions, matrix)
        notes = (*self._notes, *self._failures.notes)
        if rules is None or models is None:
            return [_not_at_hand(one, *notes) for one in decisions]
        return [
            _compared(one, _joined(self._shelf, one, rules[at], models[at]), notes, _named(self._features, matrix, at))
            for at, one in enumerate(decisions)
        ]

    async def _rules(self, decisions: Sequence[Decision], matrix: NDArray[np.float32]) -> Sequence[RulesVerdict] | None:
        wanted = self._group.rule_set
        if not wanted or self._features is None:
            return [RulesVerdict(rule_set="", fallback=one.degraded[0] if one.degraded else None) for one in decisions]
        found = self._shelf.rules(wanted, dict(self._group.lists), self._features)
        if found is None:
            self._notes.append(f"rule set {wanted[:12]} is not at hand, and no other can be used")
            return None
        rule_set, differing = found
        self._notes += differing
        return await RulesJudge(rule_set, self._failures).judge([one.transaction for one in decisions], matrix)

    async def _model(self, decisions: Sequence[Decision], matrix: NDArray[np.float32]) -> Sequence[ModelVerdict] | None:
        wanted = self._group.model
        if not self._group.scored or self._features is None:
            return [ModelVerdict(model=one.model, fallback=_model_fallback(one)) for one in decisions]
        found = self._shelf.model(wanted, self._features)
        if found is None:
            self._notes.append(f"model {wanted[:12]} is not at hand, and no other can be used")
            return None
        model, differing = found
        self._notes += differing
        explain_from = self._shelf.policy.challenge_from / 2
        judge = ModelJudge(model, self._executor, explain_from=explain_from, report=self._failures)
        verdicts: Sequence[ModelVerdict] = await judge.judge([one.transaction for one in decisions], matrix)
        return verdicts


def _matrix(decisions: Sequence[Decision], features: FeatureSet | None) -> NDArray[np.float32]:
    columns = 0 if features is None else len(features.names)
    joined = b"".join(one.vector for one in decisions) if columns else b""
    return np.frombuffer(joined, dtype="<f4").reshape(len(decisions), columns)


def _model_fallback(decision: Decision) -> Fallback | None:
    """
    Return why the model had no opinion: in ``degraded`` the rules' reason, if there is one, stands first.
    """
    own = decision.degraded[0 if decision.rule_set else 1 :]
    return own[0] if own else None


def _joined(shelf: Shelf, decision: Decision, rules: RulesVerdict, model: ModelVerdict) -> Decision:
    return join(
        shelf.policy,
        decision.transaction,
        rules,
        model,
        feature_set=decision.feature_set,
        vector=decision.vector,
        received_at_ms=_ms(decision.received_at),
        now_ms=_ms(decision.decided_at),
    )


def _ms(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _compared(recorded: Decision, again: Decision, notes: tuple[str, ...], features: Mapping[str, float | None]) -> Explanation:
    recorded, again = _canonical(recorded), _canonical(again)
    same = encode_decision(recorded) == encode_decision(again)
    differences = () if same else _differences(recorded, again)
    if differences and not notes:
        notes = ("rules, lists, model and features are those of the decision: the policy or the program has changed since",)
    return Explanation(
        transaction_id=recorded.transaction.transaction_id,
        verdict=Verdict.SAME if same else Verdict.DIFFERS,
        differences=differences,
        notes=notes,
        features=features,
        again=again,
    )


def _canonical(decision: Decision) -> Decision:
    """
    Return a decision with nothing in it but what was decided: an object and the table of shadow hits keep no order.
    """
    return msgspec.structs.replace(
        decode_decision(encode_decision(decision)),
        lists=dict(sorted(decision.lists.items())),
        shadow_hits=tuple(sorted(decision.shadow_hits, key=_order)),
    )


def _order(hit: RuleHit) -> tuple[int, int, str]:
    return PRECEDENCE[hit.action], hit.priority, hit.rule_id


def _differences(recorded: Decision, again: Decision) -> tuple[Difference, ...]:
    before, after = msgspec.to_builtins(recorded), msgspec.to_builtins(again)
    return tuple(
        Difference(name, before[name], after[name])
        for name in Decision.__struct_fields__
        if msgspec.json.encode(before[name]) != msgspec.json.encode(after[name])
    )


def _named(features: FeatureSet | None, matrix: NDArray[np.float32], row: int) -> dict[str, float | None]:
    if features is None:
        return {}
    values = matrix[row].tolist()
    return {name: value if np.isfinite(value) else None for name, value in zip(features.names, values, strict=True)}


def _not_at_hand(decision: Decision, *notes: str) -> Explanation:
    return Explanation(transaction_id=decision.transaction.transaction_id, verdict=Verdict.NOT_AT_HAND, notes=notes)
