"""
Verdicts are told and not looked for again and again; who is told nothing looks as before.
"""

import asyncio
from collections.abc import Sequence

import pytest

from fraudstream.stages import verdict
from fraudstream.stages.following import Following, Patience
from fraudstream.stages.intake import entry_order
from fraudstream.stages.news import News
from fraudstream.stages.ports import FirstVerdicts
from tests.support.roads import Worker, World, a_payment
from tests.support.verdicts import MODEL, RULES
from tests.support.wait import wait_until

#: So many that a batch of them is not looked for before the first and the last of it are.
MANY = 40


class Counted:
    """
    A ledger that counts who looks into it.
    """

    def __init__(self, worker: Worker) -> None:
        self._verdicts = worker.ledger.verdicts
        self.looks: list[int] = []
        worker.ledger.verdicts = self  # type: ignore[method-assign, assignment]

    async def __call__(self, transaction_ids: Sequence[str]) -> FirstVerdicts:
        self.looks.append(len(transaction_ids))
        return await self._verdicts(transaction_ids)


def both(world: World, news: News, patience: Patience) -> tuple[Worker, Worker, Counted]:
    model = Worker(world, MODEL, following=Following(patience), news=news)
    return Worker(world, RULES), model, Counted(model)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Let nobody lose patience with who tells, however slow the machine is.
    """
    monkeypatch.setattr(verdict, "_UNTOLD_S", 60.0)


def listening() -> News:
    news = News()
    news.listening = True
    return news


@pytest.mark.usefixtures("patient")
async def test_a_batch_that_is_told_of_is_looked_for_once(world: World) -> None:
    entries = world.add([a_payment(f"txn_{number}") for number in range(MANY)])
    news = listening()
    rules, model, ledger = both(world, news, Patience(longest_s=20.0, look_s=0.0001))
    ours, theirs = await model.read(), await rules.read()

    waiting = asyncio.create_task(model.road.work(ours))
    await asyncio.sleep(0.01)
    assert ledger.looks == []
    await rules.road.work(theirs)
    news.heard(entry_order(entries[-1]))
    await waiting

    assert ledger.looks == [MANY]
    assert len(world.decisions()) == MANY
    assert model.report.places == []


@pytest.mark.usefixtures("patient")
async def test_of_a_batch_that_is_told_of_in_parts_nothing_is_looked_for_before_the_last(world: World) -> None:
    entries = world.add([a_payment(f"txn_{number}") for number in range(MANY)])
    news = listening()
    rules, model, ledger = both(world, news, Patience(longest_s=20.0, look_s=0.0001))
    ours, theirs = await model.read(), await rules.read()

    waiting = asyncio.create_task(model.road.work(ours))
    await rules.road.work(theirs[: MANY // 2])
    news.heard(entry_order(entries[MANY // 2 - 1]))
    await asyncio.sleep(0.01)
    assert ledger.looks == []
    await rules.road.work(theirs[MANY // 2 :])
    news.heard(entry_order(entries[-1]))
    await waiting

    assert ledger.looks == [MANY]
    assert len(world.decisions()) == MANY


@pytest.mark.usefixtures("patient")
async def test_what_another_worker_still_has_in_hand_is_waited_for_when_later_ones_are_told_of(world: World) -> None:
    entries = world.add([a_payment(f"txn_{number}") for number in range(MANY)])
    news = listening()
    rules, model, ledger = both(world, news, Patience(longest_s=20.0, look_s=0.0001))
    ours, theirs = await model.read(), await rules.read()

    waiting = asyncio.create_task(model.road.work(ours))
    await rules.road.work(theirs[5:])
    news.heard(entry_order(entries[-1]))
    await wait_until(lambda: len(world.decisions()) == MANY - 5, "decisions on what was judged")
    await rules.road.work(theirs[:5])
    news.heard(entry_order(entries[4]))
    await waiting

    assert ledger.looks == [MANY, 5]
    assert len(world.decisions()) == MANY


async def test_without_anybody_who_tells_verdicts_are_found_all_the_same_and_nobody_is_waited_for_to_tell(world: World) -> None:
    news = listening()
    rules, model, _ = both(world, news, Patience(longest_s=20.0, look_s=0.0001))
    for number in range(3):
        assert news.listening
        world.add([a_payment(f"txn_{number}")])
        await rules.work()
        await model.work()

    assert len(world.decisions()) == 3
    assert not news.listening


async def test_one_that_was_late_to_tell_is_still_listened_to(world: World) -> None:
    news = listening()
    rules, model, _ = both(world, news, Patience(longest_s=20.0, look_s=0.0001))
    for number in range(6):
        (entry,) = world.add([a_payment(f"txn_{number}")])
        await rules.work()
        await model.work()
        news.heard(entry_order(entry))

    assert news.listening


async def test_news_of_earlier_entries_wakes_nobody_and_time_ends_the_wait() -> None:
    news = listening()
    news.heard((5, 0))

    assert not await news.beyond((6, 0), -1, 0.01)
    assert await news.beyond((5, 0), -1, 0.01)
    assert not await news.beyond((5, 0), news.told, 0.01)

    async def later() -> None:
        await asyncio.sleep(0.01)
        news.heard((4, 0))

    telling = asyncio.create_task(later())
    assert await news.beyond((5, 0), news.told, 10.0), "something new is known, and the entry was told of before"
    await telling


@pytest.mark.parametrize("order", [(1, 0), (7, 3)])
def test_what_was_told_of_is_no_find(order: tuple[int, int]) -> None:
    news = listening()
    news.heard((7, 3))
    for _ in range(10):
        news.untold(order)
    assert news.listening
