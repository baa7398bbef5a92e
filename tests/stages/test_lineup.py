"""
Champion, canary and shadows on one batch: who decides which row, and what the others cost.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.errors import StreamUnavailable
from fraudstream.domain.evidence import Reason
from fraudstream.domain.transaction import Transaction
from fraudstream.stages.lineup import Lineup
from fraudstream.stages.ml_scoring import ModelJudge
from fraudstream.stages.shadow_scoring import ShadowBatch, Shadows
from tests.support.builders import a_transaction
from tests.support.fake_verdicts import RememberingVerdictReport
from tests.support.wait import wait_until


class ConstantModel:
    """
    A model that says one thing, after a look at whether it may.
    """

    version = "test"
    feature_names = ("score",)

    def __init__(self, name: str, says: float, *, broken: bool = False) -> None:
        self.id = name * 64
        self.says = says
        self.broken = broken
        self.may = Event()
        self.may.set()

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        self.may.wait(10)
        if self.broken:
            raise RuntimeError("no")
        return np.full(len(matrix), self.says, np.float32)

    def reasons(self, matrix: NDArray[np.float32], top: int = 3) -> list[tuple[Reason, ...]]:
        return [(Reason(code=self.id[:1], text="because"),) for _ in matrix]


class Remembering:
    """
    ``ShadowLog`` and ``ShadowReport`` that keep what they were told.
    """

    def __init__(self) -> None:
        self.batches: list[ShadowBatch] = []
        self.counts: Counter[str] = Counter()
        self.missed: list[tuple[int, str]] = []
        self.away = False

    async def record_shadow(self, batch: ShadowBatch) -> None:
        if self.away:
            raise StreamUnavailable("models")
        self.batches.append(batch)

    def shadow_scored(self, model: str, scores: Sequence[float], *, same: int, milder: int, harsher: int) -> None:
        self.counts.update(same=same, milder=milder, harsher=harsher)

    def shadow_missed(self, model: str, rows: int, error: str) -> None:
        self.missed.append((rows, error))


def payments(count: int) -> list[Transaction]:
    return [a_transaction(transaction_id=f"txn_{at}", card_id=f"card_{at}") for at in range(count)]


def rows(count: int) -> NDArray[np.float32]:
    return np.zeros((count, 1), np.float32)


CHAMPION, CANARY = ConstantModel("a", 0.1), ConstantModel("b", 0.9)


@pytest.fixture
async def executor() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as found:
        yield found


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_card_that_met_the_canary_meets_it_while_the_share_grows(one: float, other: float) -> None:
    small, large = sorted((one, other))
    few, many = [Lineup(champion=CHAMPION, canary=CANARY, share=share).of_canary(payments(50)) for share in (small, large)]

    assert not (few & ~many).any()


def test_the_share_of_cards_is_the_share_asked_for() -> None:
    of_canary = Lineup(champion=CHAMPION, canary=CANARY, share=0.05).of_canary(payments(20_000))

    assert of_canary.mean() == pytest.approx(0.05, abs=0.006)


def test_a_card_stays_with_its_model_whatever_it_pays_and_a_customer_without_card_too() -> None:
    lineup = Lineup(champion=CHAMPION, canary=CANARY, share=0.5)
    cards = [a_transaction(transaction_id=f"t{at}", card_id="card_7", user_id=f"u{at}") for at in range(20)]
    customers = [a_transaction(transaction_id=f"t{at}", card_id=None, user_id="user_7") for at in range(20)]

    assert len(set(lineup.of_canary(cards).tolist())) == 1
    assert len(set(lineup.of_canary(customers).tolist())) == 1


def test_another_canary_meets_other_cards() -> None:
    batch = payments(400)
    one, other = [Lineup(champion=CHAMPION, canary=ConstantModel(name, 0.9), share=0.5).of_canary(batch) for name in ("b", "c")]

    assert 100 < (one != other).sum() < 300


async def test_each_row_is_scored_and_explained_by_the_model_that_it_names(executor: ThreadPoolExecutor) -> None:
    judge = ModelJudge(CHAMPION, executor, explain_from=0.05, report=RememberingVerdictReport())
    lineup = Lineup(champion=CHAMPION, canary=CANARY, share=0.3)
    judge.use(lineup)
    batch = payments(200)

    verdicts = await judge.judge(batch, rows(200))

    expected = [CANARY if one else CHAMPION for one in lineup.of_canary(batch).tolist()]
    assert 20 < lineup.of_canary(batch).sum() < 100
    assert [one.model for one in verdicts] == [model.id for model in expected]
    assert [one.score for one in verdicts] == [pytest.approx(model.says) for model in expected]
    assert [one.reasons[0].code for one in verdicts] == [model.id[0] for model in expected]


async def test_a_canary_that_fails_leaves_its_rows_to_the_champion(executor: ThreadPoolExecutor) -> None:
    report = RememberingVerdictReport()
    judge = ModelJudge(CHAMPION, executor, explain_from=0.5, report=report)
    judge.use(Lineup(champion=CHAMPION, canary=ConstantModel("b", 0.9, broken=True), share=1.0))

    verdicts = await judge.judge(payments(3), rows(3))

    assert [(one.model, one.fallback) for one in verdicts] == [(CHAMPION.id, None)] * 3
    assert report.fallbacks == [("canary_error", 3)]


async def test_a_batch_ends_with_the_models_that_it_began_with(executor: ThreadPoolExecutor) -> None:
    slow, new = ConstantModel("a", 0.1), ConstantModel("c", 0.3)
    slow.may.clear()
    judge = ModelJudge(slow, executor, explain_from=0.5, report=RememberingVerdictReport())

    first = asyncio.create_task(judge.judge(payments(2), rows(2)))
    await asyncio.sleep(0)
    judge.use(Lineup(champion=new))
    second = asyncio.create_task(judge.judge(payments(2), rows(2)))
    await asyncio.sleep(0)
    slow.may.set()

    assert [one.model for one in [*await first, *await second]] == [slow.id] * 2 + [new.id] * 2


async def test_shadows_are_held_against_what_was_decided(executor: ThreadPoolExecutor) -> None:
    told = Remembering()
    shadows = Shadows(executor, DecisionPolicy(), told, told)
    scores = np.array([0.1, 0.6, 0.8, 0.99], np.float32)

    shadows.scored(
        Lineup(champion=CHAMPION, shadows=(ConstantModel("s", 0.75),)), payments(4), rows(4), scores, np.zeros(4, np.bool_)
    )
    await shadows.close()

    (batch,) = told.batches
    assert told.counts == {"same": 1, "harsher": 2, "milder": 1}
    assert list(batch.transaction_ids) == ["txn_0", "txn_1", "txn_2", "txn_3"]
    assert np.frombuffer(batch.shadow_scores, "<f4").tolist() == [0.75] * 4


async def test_a_shadow_that_is_too_slow_loses_rows_and_never_memory(executor: ThreadPoolExecutor) -> None:
    told, slow = Remembering(), ConstantModel("s", 0.5)
    slow.may.clear()
    shadows = Shadows(executor, DecisionPolicy(), told, told)

    for _ in range(20):
        shadows.scored(
            Lineup(champion=CHAMPION, shadows=(slow,)), payments(5), rows(5), np.zeros(5, np.float32), np.zeros(5, np.bool_)
        )
    slow.may.set()
    await shadows.close()

    assert told.missed == [(5, "")] * 12
    assert len(told.batches) == 8


@pytest.mark.parametrize("trouble", ["model", "log"])
async def test_trouble_with_a_shadow_is_told_and_touches_nobody(executor: ThreadPoolExecutor, trouble: str) -> None:
    told = Remembering()
    told.away = trouble == "log"
    judge = ModelJudge(
        CHAMPION,
        executor,
        explain_from=0.5,
        report=RememberingVerdictReport(),
        watches=(Shadows(executor, DecisionPolicy(), told, told),),
    )
    judge.use(Lineup(champion=CHAMPION, shadows=(ConstantModel("s", 0.5, broken=trouble == "model"),)))

    verdicts = await judge.judge(payments(2), rows(2))
    await wait_until(lambda: bool(told.missed), "the trouble to be told")

    assert [one.score for one in verdicts] == [pytest.approx(0.1)] * 2
    assert told.missed[0][0] == 2
