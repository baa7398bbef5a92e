"""
A shadow beside the champion, over batches as Redis keeps them.
"""

import numpy as np
import pytest

from fraudstream.app.shadow_report import reported
from fraudstream.decision.policy import DecisionPolicy
from fraudstream.stages.shadow_scoring import ShadowBatch


def a_batch(names: list[str], decided: list[float], shadow: list[float]) -> ShadowBatch:
    return ShadowBatch(
        shadow="s",
        transaction_ids=names,
        scores=np.array(decided, "<f4").tobytes(),
        shadow_scores=np.array(shadow, "<f4").tobytes(),
    )


def test_outcomes_are_counted_by_both_and_a_second_scoring_stands_for_the_first() -> None:
    batches = [a_batch(["a", "b"], [0.1, 0.6], [0.8, 0.6]), a_batch(["a", "c"], [0.1, 0.95], [0.2, 0.1])]

    found = reported("s", batches, DecisionPolicy(), {})

    assert found.rows == 3
    assert found.outcomes == {"approve -> approve": 1, "block -> approve": 1, "challenge -> challenge": 1}
    assert found.truth is None


def test_the_better_shadow_is_the_one_that_ranks_frauds_first() -> None:
    names = [f"t{at}" for at in range(10)]
    decided = [at / 10 for at in range(10)]
    batch = a_batch(names, decided, decided[::-1])

    found = reported("s", [batch], DecisionPolicy(), {"t0": True, "t1": True, "t5": False, "t9": False})

    assert found.truth is not None
    assert (found.truth.rows, found.truth.frauds) == (4, 2)
    assert (found.truth.shadow_ap, found.truth.shadow_auc, found.truth.decided_auc) == (1.0, 1.0, 0.0)
    assert found.correlation == pytest.approx(-1)


def test_scores_that_are_all_the_same_have_no_order_to_differ_in() -> None:
    found = reported("s", [a_batch(["a", "b"], [0.1, 0.1], [0.2, 0.3])], DecisionPolicy(), {})

    assert found.correlation == 1
