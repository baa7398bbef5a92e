"""
What evidence leads to which outcome.
"""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.decision.policy import SEVERITY, DecisionPolicy, decide, parse_policy
from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import InvalidSettings
from fraudstream.domain.evidence import Action, Fallback, ModelVerdict, Reason, RuleHit, RulesVerdict

POLICY = DecisionPolicy(challenge_from=0.5, review_from=0.75, block_from=0.9)


def rules(*actions: Action, points: float = 0.0, fallback: Fallback | None = None) -> RulesVerdict:
    hits = [RuleHit(rule_id=f"{action}_{i}", action=action) for i, action in enumerate(actions)]
    if points:
        hits.append(RuleHit(rule_id="points", action=Action.SCORE, points=points))
    return RulesVerdict(rule_set="r", hits=tuple(hits), fallback=fallback)


def model(score: float | None = 0.1, fallback: Fallback | None = None) -> ModelVerdict:
    return ModelVerdict(model="m", score=score, fallback=fallback)


@pytest.mark.parametrize(
    ("actions", "outcome"),
    [
        ((Action.HARD_BLOCK, Action.ALLOW, Action.BLOCK, Action.CHALLENGE, Action.REVIEW), Outcome.BLOCK),
        ((Action.ALLOW, Action.BLOCK, Action.CHALLENGE, Action.REVIEW), Outcome.APPROVE),
        ((Action.BLOCK, Action.CHALLENGE, Action.REVIEW), Outcome.BLOCK),
        ((Action.REVIEW, Action.CHALLENGE), Outcome.CHALLENGE),
        ((Action.REVIEW,), Outcome.REVIEW),
        ((Action.SCORE,), Outcome.APPROVE),
        ((), Outcome.APPROVE),
    ],
)
def test_the_classes_decide_in_their_order(actions: tuple[Action, ...], outcome: Outcome) -> None:
    assert decide(POLICY, rules(*actions), model()).outcome is outcome
    assert decide(POLICY, rules(*reversed(actions)), model()).outcome is outcome


@pytest.mark.parametrize("score", [0.0, 0.6, 1.0])
def test_a_class_outranks_the_score(score: float) -> None:
    assert decide(POLICY, rules(Action.ALLOW), model(score)).outcome is Outcome.APPROVE
    assert decide(POLICY, rules(Action.CHALLENGE), model(score)).outcome is Outcome.CHALLENGE


@pytest.mark.parametrize(
    ("score", "outcome"),
    [
        (0.0, Outcome.APPROVE),
        (math.nextafter(0.5, 0), Outcome.APPROVE),
        (0.5, Outcome.CHALLENGE),
        (math.nextafter(0.75, 0), Outcome.CHALLENGE),
        (0.75, Outcome.REVIEW),
        (math.nextafter(0.9, 0), Outcome.REVIEW),
        (0.9, Outcome.BLOCK),
        (1.0, Outcome.BLOCK),
    ],
)
def test_a_band_begins_at_its_cut_off(score: float, outcome: Outcome) -> None:
    assert decide(POLICY, rules(), model(score)).outcome is outcome


@pytest.mark.parametrize(
    ("score", "points", "sum_"),
    [(0.4, 10, 0.5), (0.9, 50, 1.0), (0.1, -50, 0.0), (None, 75, 0.75), (None, -1, 0.0), (0.2, 0, 0.2)],
)
def test_the_score_is_probability_plus_points_within_0_and_1(score: float | None, points: float, sum_: float) -> None:
    judgement = decide(POLICY, rules(points=points), model(score))

    assert judgement.score == pytest.approx(sum_)
    assert (judgement.probability, judgement.points) == (score, points)
    assert judgement.outcome is POLICY.band(judgement.score)


def test_points_count_only_for_rules_that_score() -> None:
    hits = (RuleHit(rule_id="a", action=Action.CHALLENGE, points=90), RuleHit(rule_id="b", action=Action.SCORE, points=5))

    judgement = decide(POLICY, RulesVerdict(rule_set="r", hits=hits), model(0.0))

    assert (judgement.points, judgement.outcome) == (5, Outcome.CHALLENGE)


def test_without_the_model_the_rules_decide_alone() -> None:
    judgement = decide(POLICY, rules(), model(None, Fallback.MODEL_DEADLINE))

    assert (judgement.outcome, judgement.score, judgement.probability) == (Outcome.APPROVE, 0.0, None)
    assert judgement.degraded == (Fallback.MODEL_DEADLINE,)


@pytest.mark.parametrize("fallback", [Fallback.RULES_DEADLINE, Fallback.RULES_ERROR, Fallback.FEATURE_SET])
def test_without_the_rules_hard_blocks_were_not_checked_so_nothing_is_milder_than_the_policy_says(fallback: Fallback) -> None:
    assert decide(POLICY, rules(fallback=fallback), model(0.1)).outcome is Outcome.REVIEW
    assert decide(POLICY, rules(fallback=fallback), model(0.95)).outcome is Outcome.BLOCK
    lenient = DecisionPolicy(without_rules=Outcome.APPROVE)
    assert decide(lenient, rules(fallback=fallback), model(0.1)).outcome is Outcome.APPROVE


def test_a_group_that_gave_up_lifts_the_outcome_to_what_the_policy_says() -> None:
    strict = DecisionPolicy(dead_letter=Outcome.BLOCK, without_rules=Outcome.CHALLENGE)
    lenient = DecisionPolicy(dead_letter=Outcome.APPROVE, without_rules=Outcome.CHALLENGE)

    assert decide(strict, rules(), model(None, Fallback.DEAD_LETTER)).outcome is Outcome.BLOCK
    assert decide(lenient, rules(), model(None, Fallback.DEAD_LETTER)).outcome is Outcome.APPROVE
    assert decide(lenient, rules(fallback=Fallback.DEAD_LETTER), model(0.0)).outcome is Outcome.CHALLENGE


def test_a_decision_without_either_group_names_both_reasons() -> None:
    judgement = decide(POLICY, rules(fallback=Fallback.DEAD_LETTER), model(None, Fallback.MODEL_ERROR))

    assert judgement.degraded == (Fallback.DEAD_LETTER, Fallback.MODEL_ERROR)
    assert judgement.outcome is Outcome.REVIEW


def test_the_decisive_rule_comes_first_and_the_reasons_are_bounded() -> None:
    hits = (
        RuleHit(rule_id="z", action=Action.SCORE, points=1),
        RuleHit(rule_id="late", action=Action.BLOCK, priority=7),
        RuleHit(rule_id="first", action=Action.BLOCK, priority=3, reason="stolen card"),
    )
    verdict = ModelVerdict(model="m", score=0.2, reasons=tuple(Reason(code=f"f{i}", text="t") for i in range(9)))

    reasons = decide(POLICY, RulesVerdict(rule_set="r", hits=hits), verdict).reasons

    assert reasons[0] == Reason(code="first", text="stolen card")
    assert [reason.code for reason in reasons] == ["first", "z", "late", "f0", "f1"]


def test_shadow_hits_decide_nothing() -> None:
    shadow = RulesVerdict(rule_set="r", shadow_hits=(RuleHit(rule_id="s", action=Action.HARD_BLOCK),))

    judgement = decide(POLICY, shadow, model(0.0))

    assert (judgement.outcome, judgement.reasons) == (Outcome.APPROVE, ())


@given(
    st.none() | st.floats(allow_nan=True, allow_infinity=True),
    st.lists(st.tuples(st.sampled_from(Action), st.floats(-1e6, 1e6)), max_size=5),
)
def test_whatever_goes_in_the_score_is_a_number_between_0_and_1(score: float | None, hits: list[tuple[Action, float]]) -> None:
    verdict = RulesVerdict(
        rule_set="r",
        hits=tuple(RuleHit(rule_id=str(i), action=action, points=points) for i, (action, points) in enumerate(hits)),
    )

    judgement = decide(POLICY, verdict, model(score))

    assert 0.0 <= judgement.score <= 1.0
    assert judgement.outcome in SEVERITY
    assert judgement.probability is None or 0.0 <= judgement.probability <= 1.0


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_probability_that_is_no_number_is_no_opinion_and_the_decision_says_so(score: float) -> None:
    judgement = decide(POLICY, rules(), model(score))

    assert (judgement.probability, judgement.score, judgement.outcome) == (None, 0.0, Outcome.APPROVE)
    assert judgement.degraded == (Fallback.MODEL_ERROR,)


@pytest.mark.parametrize(
    "bands",
    [{"challenge_from": 0.8}, {"block_from": 0.6}, {"block_from": 1.01}, {"challenge_from": -0.1}, {"review_from": math.nan}],
)
def test_bands_that_cross_are_refused(bands: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match="bands"):
        DecisionPolicy(**bands)


def test_a_policy_file_is_read_and_its_mistakes_are_named() -> None:
    assert parse_policy(b'{"block_from": 0.99, "dead_letter": "block"}') == DecisionPolicy(
        block_from=0.99, dead_letter=Outcome.BLOCK
    )
    for body in (
        b'{"blok_from": 0.9}',
        b"{",
        b"\xff",
        b'{"dead_letter": "maybe"}',
        b'{"challenge_from": 0.9, "review_from": 0.1}',
    ):
        with pytest.raises(InvalidSettings):
            parse_policy(body)
