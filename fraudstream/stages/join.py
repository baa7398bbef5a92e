"""
Two verdicts and a transaction become a decision.
"""

from fraudstream.decision.policy import DecisionPolicy, decide
from fraudstream.domain.decision import DECISION_SCHEMA, Decision
from fraudstream.domain.evidence import ModelVerdict, RulesVerdict, Verdict
from fraudstream.domain.moments import moment, shared_moment
from fraudstream.domain.transaction import Transaction


def join(
    policy: DecisionPolicy,
    transaction: Transaction,
    one: Verdict,
    two: Verdict,
    *,
    feature_set: str,
    vector: bytes,
    received_at_ms: int,
    now_ms: int,
) -> Decision:
    """
    Decide a transaction from the verdicts of both groups, given in either order.

    Args:
        policy: Bands and the meaning of missing opinions.
        transaction: As decoded.
        one: The verdict of either group.
        two: The verdict of the other.
        feature_set: Id of the definitions behind ``vector``.
        vector: What both verdicts were computed from; empty when it could not be.
        received_at_ms: When the entry was added to the stream.
        now_ms: The clock of Redis.
    """
    rules, model = (one, two) if isinstance(one, RulesVerdict) else (two, one)
    assert isinstance(rules, RulesVerdict), "the two groups' verdicts differ in kind"
    assert isinstance(model, ModelVerdict), "the two groups' verdicts differ in kind"
    judgement = decide(policy, rules, model)
    return Decision(
        schema=DECISION_SCHEMA,
        transaction=transaction,
        outcome=judgement.outcome,
        score=judgement.score,
        probability=judgement.probability,
        points=judgement.points,
        reasons=judgement.reasons,
        rule_hits=rules.hits,
        shadow_hits=rules.shadow_hits,
        degraded=judgement.degraded,
        feature_set=feature_set,
        vector=vector,
        rule_set=rules.rule_set,
        lists=rules.lists,
        model=model.model,
        occurred_at=moment(transaction.occurred_at_ms),
        received_at=shared_moment(received_at_ms),
        decided_at=shared_moment(now_ms),
    )
