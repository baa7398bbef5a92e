"""
A decision made again from what was kept: the same with every kind of missing opinion, and named where something differs.
"""

import functools

import msgspec
import numpy as np
import pytest

from fraudstream.app.explain import Verdict, explain, redecide
from fraudstream.app.shelf import Shelf
from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.decision_codec import decode_decision, encode_decision
from fraudstream.domain.evidence import Fallback, ModelVerdict, RuleHit, RulesVerdict
from fraudstream.domain.transaction import Transaction
from fraudstream.settings import Settings
from fraudstream.stages.join import join
from tests.support.builders import NOW_MS, a_decision, a_transaction

SETTINGS = Settings()


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf(SETTINGS)


def made(
    shelf: Shelf, *, rules: Fallback | None = None, model: Fallback | None = None, seed: int = 1, vector: bool = True
) -> Decision:
    """
    Return a decision as the workers make it, on a vector by chance, with or without the opinion of a group.
    """
    paid, said, scored, raw = opinions(shelf, seed)
    return join(
        shelf.policy,
        paid,
        said if rules is None else RulesVerdict(rule_set="", fallback=rules),
        scored if model is None else ModelVerdict(model="", fallback=model),
        feature_set=next(iter(shelf._features)),
        vector=raw if vector else b"",
        received_at_ms=NOW_MS,
        now_ms=NOW_MS + 7,
    )


@functools.cache
def opinions(shelf: Shelf, seed: int) -> tuple[Transaction, RulesVerdict, ModelVerdict, bytes]:
    """
    Return a payment, what both groups say of it, and the vector that they say it of.
    """
    feature_set = next(iter(shelf._features))
    features = shelf.features(feature_set)
    found = shelf.current(feature_set)
    assert found is not None
    assert features is not None
    rule_set, scorer = found
    matrix = np.random.default_rng(seed).exponential(20, (1, len(features.names))).astype(np.float32)
    matrix[0, ::7] = np.nan
    paid = a_transaction(transaction_id=f"made_{seed}", amount_minor=seed * 99_999, country="KP")
    (hits,) = rule_set.evaluate([paid], matrix)
    score = float(scorer.score(matrix)[0])
    reasons = scorer.reasons(matrix)[0] if score >= shelf.policy.challenge_from / 2 else ()
    said = RulesVerdict(rule_set=rule_set.id, lists=dict(rule_set.lists), hits=hits.hits, shadow_hits=hits.shadow_hits)
    return paid, said, ModelVerdict(model=scorer.id, score=score, reasons=reasons), matrix.tobytes()


@pytest.mark.parametrize("rules", [None, Fallback.RULES_DEADLINE, Fallback.DEAD_LETTER, Fallback.FEATURE_SET])
@pytest.mark.parametrize("model", [None, Fallback.MODEL_DEADLINE, Fallback.DEAD_LETTER, Fallback.MODEL_ERROR])
async def test_a_decision_without_an_opinion_is_the_same_again(
    shelf: Shelf, rules: Fallback | None, model: Fallback | None
) -> None:
    decisions = [made(shelf, rules=rules, model=model, seed=seed) for seed in range(1, 6)]

    explained = await explain([decode_decision(encode_decision(one)) for one in decisions], shelf)

    assert [(one.verdict, one.differences, one.notes) for one in explained] == [(Verdict.SAME, (), ())] * 5
    assert [one.transaction_id for one in explained] == [one.transaction.transaction_id for one in decisions]


async def test_a_decision_whose_features_failed_needs_no_vector(shelf: Shelf) -> None:
    lost = made(shelf, rules=Fallback.DEAD_LETTER, model=Fallback.DEAD_LETTER, vector=False)

    (explained,) = await explain([lost], shelf)

    assert explained.verdict is Verdict.SAME
    assert lost.outcome is Outcome.REVIEW


async def test_many_kinds_of_decisions_are_answered_in_the_order_asked(shelf: Shelf) -> None:
    mixed = [made(shelf, seed=1), a_decision(), made(shelf, model=Fallback.MODEL_DEADLINE, seed=2), made(shelf, seed=3)]

    explained = await explain(mixed, shelf)

    assert [one.transaction_id for one in explained] == [one.transaction.transaction_id for one in mixed]
    assert [one.verdict for one in explained] == [Verdict.SAME, Verdict.NOT_AT_HAND, Verdict.SAME, Verdict.SAME]


async def test_a_change_of_one_bit_is_found(shelf: Shelf) -> None:
    whole = made(shelf)
    nudged = msgspec.structs.replace(whole, probability=float(np.nextafter(whole.probability or 0.0, 1.0)))

    (explained,) = await explain([nudged], shelf)

    assert explained.verdict is Verdict.DIFFERS
    assert [one.field for one in explained.differences] == ["probability"]


async def test_another_policy_is_suspected_where_nothing_else_differs(shelf: Shelf) -> None:
    recorded = made(shelf)
    other = Shelf(SETTINGS)
    other.policy = DecisionPolicy(challenge_from=0.0, review_from=0.0, block_from=0.0, most_reasons=1)

    (explained,) = await explain([recorded], other)

    assert explained.verdict is Verdict.DIFFERS
    assert "policy" in explained.notes[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rule_set": "f" * 64}, "the rule set differs: the decision was made with ffffffffffff"),
        ({"model": "f" * 64}, "the model differs: the decision was made with ffffffffffff"),
        ({"lists": {"trusted_cards": "0" * 16}}, "list @trusted_cards differs"),
    ],
)
async def test_what_is_not_at_hand_is_named(shelf: Shelf, change: dict[str, object], says: str) -> None:
    (explained,) = await explain([msgspec.structs.replace(made(shelf), **change)], shelf)

    assert explained.verdict is Verdict.DIFFERS
    assert any(note.startswith(says) for note in explained.notes)


async def test_a_vector_of_another_length_is_not_executed(shelf: Shelf) -> None:
    (explained,) = await explain([msgspec.structs.replace(made(shelf), vector=b"\x00" * 8)], shelf)

    assert explained.verdict is Verdict.NOT_AT_HAND
    assert "does not fit" in explained.notes[0]


async def test_shadow_hits_are_compared_whatever_order_they_come_in(shelf: Shelf) -> None:
    recorded = made(shelf)
    extra = RuleHit(rule_id="none_such", action="review")

    reordered, added = await explain(
        [
            msgspec.structs.replace(recorded, shadow_hits=tuple(reversed(recorded.shadow_hits))),
            msgspec.structs.replace(recorded, shadow_hits=(*recorded.shadow_hits, extra)),
        ],
        shelf,
    )

    assert reordered.verdict is Verdict.SAME
    assert [one.field for one in added.differences] == ["shadow_hits"]


async def test_a_fallback_decision_is_made_again_with_both_opinions(shelf: Shelf) -> None:
    whole = made(shelf, seed=4)

    second, problem = await redecide(made(shelf, model=Fallback.MODEL_DEADLINE, seed=4), shelf, now_ms=NOW_MS + 7)
    nothing, why = await redecide(msgspec.structs.replace(whole, vector=b""), shelf, now_ms=NOW_MS)

    assert second == whole
    assert problem == ""
    assert nothing is None
    assert why == "no vector was kept"
