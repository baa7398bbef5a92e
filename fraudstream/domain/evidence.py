"""
What the two groups say of a transaction: the verdict of the rules and the verdict of the model.
"""

from enum import StrEnum

import msgspec


class Action(StrEnum):
    """
    What a rule asks for. ``hard_block`` cannot be overridden; ``score`` only adds points.
    """

    HARD_BLOCK = "hard_block"
    ALLOW = "allow"
    BLOCK = "block"
    CHALLENGE = "challenge"
    REVIEW = "review"
    SCORE = "score"


class Fallback(StrEnum):
    """
    Why a group has no opinion: the reason code that marks a decision as degraded.
    """

    MODEL_DEADLINE = "model_deadline"
    RULES_DEADLINE = "rules_deadline"
    MODEL_ERROR = "model_error"
    RULES_ERROR = "rules_error"
    DEAD_LETTER = "dead_letter"
    FEATURE_SET = "feature_set"


class RuleHit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    One rule that fired.

    ``points`` are added to the score (action ``score`` only, hundredths of the score range). ``explanation`` is the
    expression with the values that made it true, personal ones masked. ``priority`` orders hits of one action, lowest first.
    """

    rule_id: str
    action: Action
    reason: str = ""
    points: float = 0.0
    priority: int = 100
    explanation: str = ""
    tags: tuple[str, ...] = ()


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """
    One plain reason for a decision.

    ``code`` is a stable machine word (a rule id, or the name of a feature); ``text`` is for people; ``contribution`` is how
    far it moved the score in log-odds (model reasons only).
    """

    code: str
    text: str
    value: float | None = None
    contribution: float | None = None


class RulesVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="rules", gc=False):
    """
    What group ``fraud-check`` found. With ``fallback`` set it found nothing because it could not look.
    """

    rule_set: str
    lists: dict[str, str] = {}
    hits: tuple[RuleHit, ...] = ()
    shadow_hits: tuple[RuleHit, ...] = ()
    fallback: Fallback | None = None


class ModelVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="model", gc=False):
    """
    What group ``ml-scoring`` found: ``score`` is the fraud probability in [0, 1], None when there is no opinion.
    """

    model: str
    score: float | None = None
    reasons: tuple[Reason, ...] = ()
    fallback: Fallback | None = None


Verdict = RulesVerdict | ModelVerdict
