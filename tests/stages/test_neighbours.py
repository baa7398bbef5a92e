"""
Both groups in one process: what one has in hand is not fetched again by the other, and nothing rests on that.
"""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudstream.domain.decision_codec import VerdictRecord
from fraudstream.domain.errors import StreamUnavailable
from fraudstream.domain.evidence import ModelVerdict, RulesVerdict, Verdict
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.ports import Delivery
from fraudstream.stages import intake
from fraudstream.stages.case import Case
from fraudstream.stages.following import Following, Patience
from fraudstream.stages.neighbours import Neighbours
from fraudstream.stages.ports import Answer, Completed, Completion, FirstVerdicts, Place
from tests.support.roads import Worker, World, a_payment
from tests.support.verdicts import MODEL, RULES

LONG = Patience(longest_s=20.0, look_s=0.001)
SHORT = Patience(longest_s=0.02, look_s=0.001)


def both(world: World, patience: Patience) -> tuple[Worker, Worker]:
    neighbours = Neighbours()
    return (
        Worker(world, RULES, neighbours=neighbours),
        Worker(world, MODEL, following=Following(patience), neighbours=neighbours),
    )


def a_record(write_id: bytes = b"12345678") -> VerdictRecord:
    return VerdictRecord(b"f", write_id, "0" * 16, b"", RulesVerdict(rule_set="r"))


def some_cases(count: int) -> list[Case]:
    deliveries = [Delivery(entry_id=b"1-%d" % number, fields={b"data": a_payment(f"txn_{number}")}) for number in range(count)]
    cases, _ = intake.decode_batch(deliveries, now_ms=2**50, default_currency="USD")
    return cases


async def test_the_model_joins_what_the_rules_have_just_noted_without_looking(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_2", amount=3)])
    rules, model = both(world, LONG)
    ours, theirs = await model.read(), await rules.read()
    looked: list[int] = []

    async def verdicts(identities: list[str]) -> FirstVerdicts:
        looked.append(len(identities))
        raise AssertionError("Redis was asked for what is here")

    monkeypatch.setattr(rules.ledger, "verdicts", verdicts)
    await rules.road.work(theirs)
    monkeypatch.setattr(model.ledger, "verdicts", verdicts)
    await model.road.work(ours)

    assert looked == []
    assert model.report.places == []
    assert model.judge.shown == rules.judge.shown
    assert {one.transaction.transaction_id for one in world.decisions()} == {"txn_1", "txn_2"}
    assert not world.pending(MODEL)


async def test_a_body_is_decoded_once_for_both_groups(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_2")])
    rules, model = both(world, LONG)
    decoded: list[bytes] = []
    really = intake.decode_transaction
    monkeypatch.setattr(
        intake, "decode_transaction", lambda fields, **options: (decoded.append(fields[b"data"]), really(fields, **options))[1]
    )

    await rules.work()
    await model.work()

    assert len(decoded) == 2
    assert len(world.decisions()) == 2


async def test_a_verdict_that_is_lost_in_redis_is_not_joined_from_memory(world: World) -> None:
    world.add([a_payment("txn_1")])
    rules, model = both(world, SHORT)
    await rules.work()
    world.forget("txn_1")

    await model.work()

    assert world.decisions() == []
    assert model.report.places == [Place.FIRST]


async def test_a_payment_that_came_twice_is_decided_once_and_holds_nobody_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_2"), a_payment("txn_1")])
    rules, model = both(world, LONG)
    await rules.work()

    async with asyncio.timeout(15):
        await model.work()
        world.add([a_payment("txn_2")])
        await rules.work()
        await model.work()

    assert sorted(one.transaction.transaction_id for one in world.decisions()) == ["txn_1", "txn_2"]
    assert not world.pending(MODEL)
    assert not world.pending(RULES)


async def test_what_another_process_has_judged_is_found_in_redis(world: World) -> None:
    world.add([a_payment("txn_1")])
    _, model = both(world, LONG)
    elsewhere = Worker(world, RULES)
    await elsewhere.work()

    await model.work()

    assert model.report.places == []
    assert len(world.decisions()) == 1


async def at_once(rules: Worker, model: Worker) -> None:
    """
    Let both groups read everything new, and work it side by side.
    """
    ours, theirs = await rules.read(), await model.read()
    async with asyncio.timeout(30):
        await asyncio.gather(model.road.work(theirs), rules.road.work(ours))


def never_looks(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def verdicts(identities: list[str]) -> FirstVerdicts:
        raise AssertionError(f"Redis was asked for what is here: {identities}")

    monkeypatch.setattr(worker.ledger, "verdicts", verdicts)


async def test_what_both_have_in_hand_is_decided_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_2", amount=3)])
    rules, model = both(world, LONG)
    never_looks(model, monkeypatch)

    await at_once(rules, model)

    assert rules.report.answers == model.report.answers == [Answer.TOGETHER] * 2
    assert [one.transaction.transaction_id for one in world.decisions()] == ["txn_1", "txn_2"]
    assert [(one.probability, one.degraded) for one in world.decisions()] == [(0.25, ())] * 2
    assert [one.transaction.transaction_id for one in rules.report.decisions] == ["txn_1", "txn_2"]
    assert model.report.decisions == [], "or each would be counted twice"
    assert model.judge.shown == rules.judge.shown
    assert world.pending(RULES) == world.pending(MODEL) == set()


async def test_what_the_model_has_lost_to_somebody_else_is_left_to_them(world: World) -> None:
    entries = world.add([a_payment("txn_1"), a_payment("txn_2")])
    rules, model = both(world, SHORT)
    ours, theirs = await rules.read(), await model.read()
    elsewhere = Worker(world, MODEL, consumer="elsewhere")
    world.hand_over(MODEL, entries[0], "elsewhere")

    await asyncio.gather(model.road.work(theirs), rules.road.work(ours))
    between = [one.transaction.transaction_id for one in world.decisions()]
    await elsewhere.road.work(theirs[:1])

    assert between == ["txn_2"]
    assert Answer.APART in rules.report.answers
    assert sorted(one.transaction.transaction_id for one in world.decisions()) == ["txn_1", "txn_2"]
    assert world.pending(RULES) == world.pending(MODEL) == set()


async def test_what_the_rules_have_lost_to_somebody_else_is_left_to_them(world: World) -> None:
    entries = world.add([a_payment("txn_1")])
    rules, model = both(world, SHORT)
    ours, theirs = await rules.read(), await model.read()
    world.hand_over(RULES, entries[0], "elsewhere")

    await asyncio.gather(model.road.work(theirs), rules.road.work(ours))
    between = [*world.decisions()]
    await Worker(world, RULES, consumer="elsewhere").road.work(ours)

    assert between == []
    assert len(world.decisions()) == 1
    assert world.pending(RULES) == world.pending(MODEL) == set()


async def test_a_verdict_that_somebody_has_noted_is_joined_and_not_passed_over(world: World) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_1"), a_payment("txn_2")])
    elsewhere = Worker(world, MODEL, consumer="elsewhere")
    elsewhere.judge.say = lambda _: ModelVerdict(model="elsewhere", score=0.75)
    rules, model = both(world, SHORT)
    await elsewhere.stream.open()
    await elsewhere.road.work(await elsewhere.stream.read(1, 1))  # the first of the two entries of txn_1

    await at_once(rules, model)

    assert sorted((one.transaction.transaction_id, one.model) for one in world.decisions()) == [
        ("txn_1", "elsewhere"),
        ("txn_2", "m"),
    ]
    assert world.pending(RULES) == world.pending(MODEL) == set()


@pytest.mark.parametrize("harm", ["fails", "hangs"])
async def test_a_model_that_cannot_say_anything_does_not_keep_the_rules_verdict_from_being_noted(
    world: World, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    world.add([a_payment("txn_1")])
    rules, model = both(world, LONG)

    async def judge(transactions: Sequence[Transaction], matrix: NDArray[np.float32]) -> Sequence[Verdict]:
        if harm == "hangs":
            await asyncio.sleep(3600)
        raise ValueError("the model cannot judge this")

    monkeypatch.setattr(model.judge, "judge", judge)
    ours, theirs = await rules.read(), await model.read()
    following = asyncio.create_task(model.road.work(theirs))
    await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        await rules.road.work(ours)

    assert rules.report.answers == [Answer.STORED]
    following.cancel()
    with pytest.raises((asyncio.CancelledError, ValueError)):
        await following


async def test_a_reply_that_was_lost_after_both_were_decided_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_2")])
    rules, model = both(world, SHORT)
    really = rules.ledger.decide

    async def lossy(completions: Sequence[Completion], beside: str) -> Completed:
        await really(completions, beside)
        raise StreamUnavailable("the reply was lost")

    monkeypatch.setattr(rules.ledger, "decide", lossy)
    ours, theirs = await rules.read(), await model.read()
    second = asyncio.create_task(model.road.work(theirs))
    with pytest.raises(StreamUnavailable):
        await rules.road.work(ours)

    await rules.road.work(ours)
    async with asyncio.timeout(30):
        await second

    assert sorted(one.transaction.transaction_id for one in world.decisions()) == ["txn_1", "txn_2"]
    assert world.pending(RULES) == world.pending(MODEL) == set()


async def test_verdicts_are_taken_as_soon_as_the_last_is_known() -> None:
    neighbours, record, (one, two) = Neighbours(), a_record(), some_cases(2)
    waiting = asyncio.create_task(neighbours.verdicts([one, two], 60.0))
    await asyncio.sleep(0)

    neighbours.noted({"txn_1": record})
    await asyncio.sleep(0)
    early, awaited = waiting.done(), neighbours.awaited(one.delivery.entry_id)
    neighbours.decided([one.delivery.entry_id])

    assert (early, awaited) == (False, True)
    assert await waiting == FirstVerdicts(others={1: record}, coming=[], decided=[0])
    assert not neighbours.awaited(one.delivery.entry_id)
    assert await neighbours.verdicts([one], 0.0) is None


async def test_what_is_decided_while_nobody_waits_for_it_is_known_to_who_asks_again() -> None:
    neighbours, (one, two) = Neighbours(), some_cases(2)
    entry_ids = [case.delivery.entry_id for case in (one, two)]
    assert await neighbours.verdicts([one, two], 0.0) is None
    neighbours.decided(entry_ids[:1])

    again = asyncio.create_task(neighbours.verdicts([one, two], 0.01))
    await asyncio.sleep(0.05)
    given_up = await again
    third = asyncio.create_task(neighbours.verdicts([one, two], 60.0))
    await asyncio.sleep(0)
    neighbours.decided(entry_ids[1:])

    assert given_up is None
    assert await third == FirstVerdicts(others={}, coming=[], decided=[0, 1])


async def test_what_is_in_hand_is_waited_for_and_what_is_over_is_not() -> None:
    neighbours, (one,) = Neighbours(), some_cases(1)
    neighbours.began([one.delivery.entry_id])
    waiting = asyncio.create_task(neighbours.verdicts([one], 0.0))
    await asyncio.sleep(0.05)
    early = waiting.done()

    neighbours.over([one.delivery.entry_id], [one])

    assert not early
    assert await waiting == FirstVerdicts(others={}, coming=[], decided=[])
    assert await neighbours.verdicts([one], 0.0) is None, "nobody has it in hand"


async def test_what_is_to_be_joined_does_not_wait_for_what_is_in_hand() -> None:
    neighbours, (one, two) = Neighbours(), some_cases(2)
    neighbours.began([two.delivery.entry_id])
    neighbours.noted({"txn_0": a_record()})

    async with asyncio.timeout(15):
        assert await neighbours.verdicts([one, two], 0.01) is None


async def test_who_goes_first_waits_for_who_is_behind_and_not_for_who_is_idle() -> None:
    neighbours, (earlier, later) = Neighbours(), some_cases(2)
    with neighbours.follows([earlier]):
        closing = asyncio.create_task(neighbours.come_close(later))
        await asyncio.sleep(0.05)
        behind = closing.done()
        with neighbours.follows([later]):
            async with asyncio.timeout(15):
                await closing

    assert not behind
    began_s = asyncio.get_running_loop().time()
    for _ in range(100):
        await neighbours.come_close(some_cases(3)[2])
        neighbours.met(0)
    assert asyncio.get_running_loop().time() - began_s < 0.5, "nobody comes: after some times in vain nobody is waited for"


async def test_who_meets_the_other_now_and_then_goes_on_waiting_for_it() -> None:
    neighbours, (earlier, later) = Neighbours(), some_cases(2)
    for shared in (0, 0, 5, 0, 0, 5):
        neighbours.met(shared)

    with neighbours.follows([earlier]):
        closing = asyncio.create_task(neighbours.come_close(later))
        await asyncio.sleep(0.05)
        waits = not closing.done()
        closing.cancel()

    assert waits


def test_another_body_under_the_same_entry_id_is_not_taken_for_it() -> None:
    neighbours = Neighbours()
    before, after = (Delivery(entry_id=b"1-1", fields={b"data": a_payment(name)}) for name in ("txn_1", "txn_2"))
    cases, _ = intake.decode_batch([before], now_ms=2**50, default_currency="USD", neighbours=neighbours)

    again, _ = intake.decode_batch([after], now_ms=2**50, default_currency="USD", neighbours=neighbours)

    assert [case.transaction.transaction_id for case in (*cases, *again)] == ["txn_1", "txn_2"]


def test_what_is_decoded_is_bounded_also_while_the_rules_judge_nothing() -> None:
    neighbours = Neighbours(kept=8)
    deliveries = [Delivery(entry_id=b"1-%d" % number, fields={b"data": a_payment(f"txn_{number}")}) for number in range(100)]

    intake.decode_batch(deliveries, now_ms=2**50, default_currency="USD", neighbours=neighbours)

    assert sum(neighbours.case(delivery) is not None for delivery in deliveries) <= 8


def test_what_nobody_takes_is_forgotten() -> None:
    neighbours = Neighbours(kept=8)
    for number in range(100):
        delivery = Delivery(entry_id=b"1-%d" % number, fields={b"data": a_payment(f"txn_{number}")})
        intake.decode_batch([delivery], now_ms=2**50, default_currency="USD", neighbours=neighbours)
        neighbours.noted({f"txn_{number}": a_record()})

    kept = [
        neighbours.case(Delivery(entry_id=b"1-%d" % number, fields={b"data": a_payment(f"txn_{number}")}))
        for number in range(100)
    ]

    assert sum(one is not None for one in kept) <= 8
    assert kept[99] is not None
