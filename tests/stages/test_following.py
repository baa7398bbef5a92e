"""
The model lets the rules go first: one computation of the features, one vector, and no dependence on it.
"""

import asyncio

import pytest

from fraudstream.stages.following import Begun, Following, Look, Patience
from fraudstream.stages.ports import Place
from tests.support.roads import Worker, World, a_payment
from tests.support.verdicts import MODEL, RULES

SHORT = Patience(longest_s=0.05, look_s=0.001, misses=3, rest_s=60.0)
LONG = Patience(longest_s=20.0, look_s=0.001)


def both(world: World, patience: Patience) -> tuple[Worker, Worker]:
    return Worker(world, RULES), Worker(world, MODEL, following=Following(patience))


async def test_what_the_rules_were_judged_on_is_scored_without_reading_a_state(world: World) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_2", amount=3)])
    rules, model = both(world, LONG)

    await rules.work()
    await model.work()

    assert model.report.places == []
    assert model.judge.shown == rules.judge.shown
    assert {one.transaction.transaction_id for one in world.decisions()} == {"txn_1", "txn_2"}
    assert not world.pending(MODEL)


async def test_the_model_waits_for_rules_that_are_on_their_way(world: World) -> None:
    world.add([a_payment("txn_1")])
    rules, model = both(world, LONG)
    ours, theirs = await model.read(), await rules.read()

    waiting = asyncio.create_task(model.road.work(ours))
    await asyncio.sleep(0)
    await rules.road.work(theirs)
    await waiting

    assert model.report.places == []
    assert len(world.decisions()) == 1


async def test_without_the_rules_the_model_computes_for_itself(world: World) -> None:
    world.add([a_payment("txn_1")])
    rules, model = both(world, SHORT)

    await model.work()
    await rules.work()

    assert model.report.places == [Place.FIRST]
    assert rules.judge.shown == model.judge.shown
    assert len(world.decisions()) == 1


async def test_what_is_judged_is_scored_and_the_rest_does_not_hold_it_up(world: World) -> None:
    world.add([a_payment("txn_1")])
    rules, model = both(world, SHORT)
    await rules.work()
    world.add([a_payment("txn_2")])

    await model.work()

    assert model.report.places == [Place.FIRST]
    assert [one.transaction.transaction_id for one in world.decisions()] == ["txn_1"]
    assert [identity for identity, _ in model.judge.shown] == ["txn_1", "txn_2"]


async def test_of_a_large_batch_what_is_judged_is_scored_when_the_patience_is_over(world: World) -> None:
    world.add([a_payment(f"txn_{n}", amount=n) for n in range(1, 41)])
    rules, model = both(world, SHORT)
    await rules.work()
    world.add([a_payment("txn_41")])

    await model.work()

    assert model.report.places == [Place.FIRST]
    assert len(world.decisions()) == 40
    assert model.judge.shown[:40] == rules.judge.shown


async def test_a_second_entry_of_a_decided_transaction_is_not_waited_for(world: World) -> None:
    world.add([a_payment("txn_1")])
    rules, model = both(world, LONG)
    await rules.work()
    await model.work()
    world.add([a_payment("txn_1")])

    async with asyncio.timeout(15):
        await model.work()

    assert model.report.places == [Place.DUPLICATE]
    assert len(world.decisions()) == 1
    assert not world.pending(MODEL)


class Hours:
    """
    A clock that goes only where it is moved.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def looks_until(following: Following, clock: Hours, ready_s: float) -> int:
    """
    Go through the looks of one batch whose verdicts come after so many seconds; return how many it took.
    """
    began, looks = clock.now, 0
    for look in following.looks():
        clock.now += look.pause_s
        looks += 1
        if clock.now - began >= ready_s:
            following.found(1)
            return looks
    following.found(0)
    return looks


def test_how_long_the_others_take_is_learned_in_both_directions() -> None:
    clock = Hours()
    following = Following(Patience(longest_s=0.04, look_s=0.002), clock=clock)

    slow = [looks_until(following, clock, 0.012) for _ in range(60)]
    quick = [looks_until(following, clock, 0.001) for _ in range(200)]

    assert slow[0] == 6
    assert max(slow[-20:]) <= 4
    assert quick[-1] <= 2
    assert next(iter(following.looks())).pause_s < 0.003


def test_nobody_is_waited_for_while_the_others_seem_absent() -> None:
    clock = Hours()
    following = Following(Patience(longest_s=0.04, look_s=0.002, misses=3, rest_s=1.0), clock=clock)

    for _ in range(3):
        looks_until(following, clock, 9.0)
    resting = list(following.looks())
    clock.now += 1.0

    assert resting == [Look(0.0, last=True)]
    assert next(iter(following.looks())).pause_s > 0


def test_the_last_look_is_taken_when_the_patience_is_over_and_not_later() -> None:
    clock = Hours()
    following = Following(Patience(longest_s=0.15, look_s=0.002), clock=clock)
    looks: list[Look] = []

    for look in following.looks():
        clock.now += look.pause_s
        looks.append(look)

    assert [look.last for look in looks] == [False] * (len(looks) - 1) + [True]
    assert clock.now == pytest.approx(0.15)
    assert len(looks) < 25


def test_what_has_been_judged_for_a_while_does_not_wait_for_the_rest() -> None:
    clock, first, second = Hours(), object(), object()
    begun = Begun(clock=clock)

    seen = []
    for judged in (False, True, True):
        seen.append(begun.long_ago(first, judged=judged))
        clock.now += 0.05

    assert seen == [False, False, True]
    assert not begun.long_ago(second, judged=True)
