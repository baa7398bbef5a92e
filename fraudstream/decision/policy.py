"""
What evidence leads to which outcome: bands on the score, classes of rules, and what a missing opinion means.
"""

import math

import msgspec

from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import InvalidSettings
from fraudstream.domain.evidence import Action, Fallback, ModelVerdict, Reason, RuleHit, RulesVerdict

#: From mild to severe, to take the more severe of two outcomes.
SEVERITY = (Outcome.APPROVE, Outcome.CHALLENGE, Outcome.REVIEW, Outcome.BLOCK)
#: The classes in the order in which they decide; the score bands come after the last of them.
_PRECEDENCE = (
    (Action.HARD_BLOCK, Outcome.BLOCK),
    (Action.ALLOW, Outcome.APPROVE),
    (Action.BLOCK, Outcome.BLOCK),
    (Action.CHALLENGE, Outcome.CHALLENGE),
    (Action.REVIEW, Outcome.REVIEW),
)


class DecisionPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The cut-offs on the score and the meaning of a fallback verdict.

    ``challenge_from``, ``review_from`` and ``block_from`` are scores in [0, 1] from which the outcome applies, not falling.
    ``without_rules`` and ``dead_letter`` are the mildest outcomes of a decision made without the rules, or after one group gave
    up. Without the model the rules decide alone: there is no probability, only points.
    """

    challenge_from: float = 0.5
    review_from: float = 0.75
    block_from: float = 0.93
    without_rules: Outcome = Outcome.REVIEW
    dead_letter: Outcome = Outcome.REVIEW
    most_reasons: int = 5

    def __post_init__(self) -> None:
        """
        Refuse bands that cross.
        """
        if not 0 <= self.challenge_from <= self.review_from <= self.block_from <= 1:
            raise InvalidSettings(
                "the policy's bands must satisfy 0 <= challenge_from <= review_from <= block_from <= 1, but are "
                f"{self.challenge_from}, {self.review_from}, {self.block_from}"
            )

    def band(self, score: float) -> Outcome:
        """
        Return the outcome of a score by the bands alone.
        """
        if score >= self.block_from:
            return Outcome.BLOCK
        if score >= self.review_from:
            return Outcome.REVIEW
        return Outcome.CHALLENGE if score >= self.challenge_from else Outcome.APPROVE


class Judgement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    The outcome with the numbers and reasons that led to it.
    """

    outcome: Outcome
    score: float
    probability: float | None
    points: float
    reasons: tuple[Reason, ...]
    degraded: tuple[Fallback, ...]


def parse_policy(body: bytes) -> DecisionPolicy:
    """
    Read a policy file (JSON).

    Raises:
        InvalidSettings: It is not JSON, names something unknown, or its bands cross.
    """
    try:
        return msgspec.json.decode(body, type=DecisionPolicy)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise InvalidSettings(f"the policy file cannot be used: {exc}") from None


def decide(policy: DecisionPolicy, rules: RulesVerdict, model: ModelVerdict) -> Judgement:
    """
    Resolve the evidence of one transaction: hard block, allow, block, challenge, review, then the bands.

    The score is clamp(probability + points / 100, 0, 1). NaN never comes out: a probability that is no number is no opinion,
    and the decision is marked as one made without the model.
    """
    points = sum((hit.points for hit in rules.hits if hit.action is Action.SCORE), 0.0) if rules.hits else 0.0
    probability = min(1.0, max(0.0, model.score)) if model.score is not None and math.isfinite(model.score) else None
    score = min(1.0, max(0.0, (probability or 0.0) + points / 100))
    outcome, decisive = _resolve(policy, rules.hits, score) if rules.hits else (policy.band(score), None)
    model_fallback = model.fallback or (Fallback.MODEL_ERROR if probability is None else None)
    degraded: tuple[Fallback, ...] = ()
    if rules.fallback is not None or model_fallback is not None:
        degraded = tuple(fallback for fallback in (rules.fallback, model_fallback) if fallback is not None)
        outcome = max(outcome, _floor(policy, rules, degraded), key=SEVERITY.index)
    return Judgement(
        outcome=outcome,
        score=score,
        probability=probability,
        points=points,
        reasons=_reasons(policy, decisive, rules.hits, model.reasons),
        degraded=degraded,
    )


def _resolve(policy: DecisionPolicy, hits: tuple[RuleHit, ...], score: float) -> tuple[Outcome, RuleHit | None]:
    for action, outcome in _PRECEDENCE:
        winners = [hit for hit in hits if hit.action is action]
        if winners:
            return outcome, min(winners, key=lambda hit: (hit.priority, hit.rule_id))
    return policy.band(score), None


def _floor(policy: DecisionPolicy, rules: RulesVerdict, degraded: tuple[Fallback, ...]) -> Outcome:
    """
    Return the mildest outcome that the missing opinions allow.
    """
    if Fallback.DEAD_LETTER in degraded:
        return max(policy.dead_letter, policy.without_rules if rules.fallback else Outcome.APPROVE, key=SEVERITY.index)
    return policy.without_rules if rules.fallback is not None else Outcome.APPROVE


def _reasons(
    policy: DecisionPolicy, decisive: RuleHit | None, hits: tuple[RuleHit, ...], model: tuple[Reason, ...]
) -> tuple[Reason, ...]:
    """
    Put the decisive rule first, then the other hits, then what moved the model's score.
    """
    if not hits:
        return model[: policy.most_reasons]
    ordered = sorted(hits, key=lambda hit: hit is not decisive)
    rules = tuple(Reason(code=hit.rule_id, text=hit.reason or hit.rule_id) for hit in ordered)
    return (rules + model)[: policy.most_reasons]
