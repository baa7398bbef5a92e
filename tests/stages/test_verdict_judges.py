"""
The two judges: what the rules say, what the model says, and what is said when they cannot.
"""

from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudstream.domain.evidence import Fallback, ModelVerdict, Reason
from fraudstream.rules.load import load_rules
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.stages.ml_scoring import ModelJudge
from tests.support.builders import a_transaction
from tests.support.fake_verdicts import RememberingVerdictReport

RULES_SOURCE = """
rule big
  review if :amount: > 100
  reason "large amount"
  test hit  { amount: 100.01 }
  test miss { amount: 100.00 }
"""


class TellingModel:
    """
    A model whose score is the first column, and that can be broken.
    """

    id = "sha"
    version = "test"
    feature_names = ("score",)

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.explained: list[int] = []

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.error is not None:
            raise self.error
        return matrix[:, 0]

    def reasons(self, matrix: NDArray[np.float32], top: int = 3) -> list[tuple[Reason, ...]]:
        self.explained.append(len(matrix))
        return [(Reason(code="score", text=f"{row[0]:.2f}"),) for row in matrix]


@pytest.fixture
async def executor() -> AsyncIterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def scores(*values: float) -> NDArray[np.float32]:
    return np.array([[value] for value in values], np.float32)


async def judged(judge: ModelJudge, matrix: NDArray[np.float32]) -> Sequence[ModelVerdict]:
    return await judge.judge([a_transaction() for _ in matrix], matrix)


async def test_the_model_explains_only_what_may_be_flagged(executor: Executor) -> None:
    model = TellingModel()
    judge = ModelJudge(model, executor, explain_from=0.5, report=RememberingVerdictReport())

    verdicts = await judged(judge, scores(0.25, 0.75, 0.5))

    assert [verdict.score for verdict in verdicts] == [0.25, 0.75, 0.5]
    assert [[reason.text for reason in verdict.reasons] for verdict in verdicts] == [[], ["0.75"], ["0.50"]]
    assert model.explained == [2]


async def test_a_batch_without_suspicion_is_not_explained(executor: Executor) -> None:
    model = TellingModel()

    await judged(ModelJudge(model, executor, explain_from=0.5, report=RememberingVerdictReport()), scores(0.1))

    assert model.explained == []


async def test_a_model_that_fails_costs_its_opinion_and_not_the_decisions(executor: Executor) -> None:
    model, report = TellingModel(), RememberingVerdictReport()
    model.error = RuntimeError("the runtime is out of memory")

    verdicts = await judged(ModelJudge(model, executor, explain_from=0.5, report=report), scores(0.1, 0.9))

    assert [(verdict.score, verdict.fallback, verdict.model) for verdict in verdicts] == [
        (None, Fallback.MODEL_ERROR, "sha")
    ] * 2
    assert report.fallbacks == [("model_error", 2)]


async def test_the_rules_verdict_names_its_rule_set_and_every_hit() -> None:
    rule_set = load_rules(RULES_SOURCE, features=("amount_minor",))
    judge = RulesJudge(rule_set, RememberingVerdictReport())

    verdicts = await judge.judge([a_transaction(amount_minor=99_999), a_transaction(amount_minor=1)], scores(1.0, 1.0))

    assert [verdict.rule_set for verdict in verdicts] == [rule_set.id] * 2
    assert [[hit.rule_id for hit in verdict.hits] for verdict in verdicts] == [["big"], []]


def test_no_opinion_names_only_why_there_is_none() -> None:
    rule_set = load_rules(RULES_SOURCE, features=("amount_minor",))

    verdict = RulesJudge(rule_set, RememberingVerdictReport()).no_opinion(Fallback.RULES_DEADLINE)

    assert (verdict.rule_set, verdict.hits, verdict.fallback) == ("", (), Fallback.RULES_DEADLINE)
