"""
Both groups in one process: what one has in hand is not fetched again by the other, and nothing rests on that.
"""

import asyncio

import pytest

from fraudstream.domain.decision_codec import VerdictRecord
from fraudstream.domain.evidence import RulesVerdict
from fraudstream.fleet.ports import Delivery
from fraudstream.stages import intake
from fraudstream.stages.following import Following, Patience
from fraudstream.stages.neighbours import Neighbours
from fraudstream.stages.ports import FirstVerdicts, Place
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


async def test_verdicts_are_taken_as_soon_as_the_last_is_noted() -> None:
    neighbours, first, second = Neighbours(), a_record(b"first..."), a_record(b"second..")
    waiting = asyncio.create_task(neighbours.verdicts(["txn_1", "txn_2"], 60.0))
    await asyncio.sleep(0)

    neighbours.noted({"txn_2": second})
    await asyncio.sleep(0)
    early = waiting.done()
    neighbours.noted({"txn_1": first})

    assert not early
    assert await waiting == [first, second]
    assert await neighbours.verdicts(["txn_1"], 0.0) is None


async def test_a_reader_is_told_how_many_are_judged_and_never_waits_for_long() -> None:
    neighbours = Neighbours()
    waiting = asyncio.create_task(neighbours.judged())
    await asyncio.sleep(0)

    neighbours.noted({"txn_1": a_record(), "txn_2": a_record()})
    told = await waiting
    async with asyncio.timeout(15):
        nothing_new = await neighbours.judged()

    assert (told, nothing_new) == (2, 0)


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
