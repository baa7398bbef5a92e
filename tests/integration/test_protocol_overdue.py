"""
Stepping in on a real server: exactly what waits past its deadline, without counting a delivery.
"""

from collections.abc import AsyncIterator

import pytest

from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.ports import Delivery
from fraudstream.local import LocalValkey
from tests.support.builders import a_transaction
from tests.support.verdicts import MODEL, RULES, Side, VerdictRig
from tests.support.wait import wait_until

#: Short, so that a test need not wait long; the grace time is over at once.
SOON = LedgerOptions(horizon_s=0, deadline_ms=30, grace_ms=0)
NEVER = LedgerOptions(horizon_s=0, deadline_ms=600_000, grace_ms=0)


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url)
    yield rig
    await rig.close()


async def judged_by_rules(
    rig: VerdictRig, entries: list[bytes], transactions: list[Transaction], *, options: LedgerOptions = SOON
) -> Side:
    """
    Let the rules group finish these entries, so that the model group is waited for.
    """
    rules = rig.side(RULES, options=options)
    await rules.read()
    await rules.touch(entries, transactions)
    await rules.complete(entries, transactions)
    return rules


async def all_overdue(stepper: Side, count: int) -> list[Delivery]:
    found: list[Delivery] = []

    async def enough() -> bool:
        found.extend((await stepper.overdue.overdue(128))[0])
        return len(found) >= count

    await wait_until(enough, f"{count} entries are overdue")
    return found


async def test_before_the_deadline_nothing_is_overdue(rig: VerdictRig) -> None:
    entries = rig.streams.add(2)
    stepper = rig.side(MODEL, options=NEVER)
    await stepper.stream.open()

    await judged_by_rules(rig, entries, [a_transaction(), a_transaction()], options=NEVER)

    assert await stepper.overdue.overdue(128) == ([], False)


async def test_entries_that_the_lagging_group_has_not_read_are_read_for_it(rig: VerdictRig) -> None:
    entries = rig.streams.add(5)
    stepper = rig.side(MODEL, "stepper", options=SOON)
    await stepper.stream.open()
    await judged_by_rules(rig, entries[:3], [a_transaction() for _ in range(3)])

    found = await all_overdue(stepper, 3)

    assert [delivery.entry_id for delivery in found] == entries[:3]
    assert found[0].fields == {b"data": b"0"}
    assert rig.streams.pending(MODEL) == dict.fromkeys(entries[:3], ("stepper", 1))
    assert await rig.side(MODEL).read() == entries[3:]


async def test_entries_that_somebody_holds_are_taken_over_without_counting_a_delivery(rig: VerdictRig) -> None:
    entries = rig.streams.add(3)
    hung, stepper = rig.side(MODEL, "hung"), rig.side(MODEL, "stepper", options=SOON)
    await hung.read()
    await judged_by_rules(rig, entries, [a_transaction() for _ in range(3)])

    found = await all_overdue(stepper, 3)

    assert [delivery.entry_id for delivery in found] == entries
    assert rig.streams.pending(MODEL) == dict.fromkeys(entries, ("stepper", 1))


async def test_what_was_handed_out_within_the_grace_time_is_left_to_its_owner(rig: VerdictRig) -> None:
    entries = rig.streams.add(1)
    busy = rig.side(MODEL, "busy")
    await busy.read()
    await judged_by_rules(rig, entries, [a_transaction()])
    patient = rig.side(MODEL, "patient", options=LedgerOptions(horizon_s=0, deadline_ms=30, grace_ms=600_000))
    impatient = rig.side(MODEL, "impatient", options=SOON)
    seen = rig.streams.client.zrange("waiting:ml-scoring", 0, -1, withscores=True)

    async def looked() -> object:
        assert (await patient.overdue.overdue(128))[0] == []
        return rig.streams.client.zrange("waiting:ml-scoring", 0, -1, withscores=True) != seen

    await wait_until(looked, "the range was looked at")

    assert rig.streams.pending(MODEL) == {entries[0]: ("busy", 1)}
    assert (await impatient.overdue.overdue(128))[0] == []


async def test_a_range_in_which_nothing_is_open_is_forgotten(rig: VerdictRig) -> None:
    transactions = [a_transaction() for _ in range(3)]
    entries = rig.streams.add(3)
    await judged_by_rules(rig, entries, transactions)
    model = rig.side(MODEL)
    await model.read()
    await model.touch(entries, transactions)
    await model.decide(entries, transactions)
    stepper = rig.side(MODEL, options=SOON)

    async def forgotten() -> object:
        assert (await stepper.overdue.overdue(128))[0] == []
        return rig.streams.client.zcard("waiting:ml-scoring") == 0

    await wait_until(forgotten, "the range is dropped")


async def test_a_step_in_takes_no_more_than_asked_and_the_rest_next_time(rig: VerdictRig) -> None:
    entries = rig.streams.add(30)
    hung, stepper = rig.side(MODEL, "hung"), rig.side(MODEL, options=SOON)
    await hung.read()
    rules = rig.side(RULES, options=SOON)
    await rules.read()
    for entry in entries:
        transaction = a_transaction()
        await rules.touch([entry], [transaction])
        await rules.complete([entry], [transaction])
    batches: list[list[Delivery]] = []

    async def all_taken() -> bool:
        batches.append((await stepper.overdue.overdue(5))[0])
        return sum(map(len, batches)) >= 30

    await wait_until(all_taken, "everything was taken over")

    assert max(map(len, batches)) == 5
    assert sorted(delivery.entry_id for batch in batches for delivery in batch) == sorted(entries)


async def test_a_trimmed_entry_is_handed_over_without_a_body(rig: VerdictRig) -> None:
    entries = rig.streams.add(1)
    hung, stepper = rig.side(MODEL, "hung"), rig.side(MODEL, options=SOON)
    await hung.read()
    await judged_by_rules(rig, entries, [a_transaction()])
    rig.streams.trim(entries[0])

    (delivery,) = await all_overdue(stepper, 1)

    assert (delivery.entry_id, delivery.fields) == (entries[0], None)
    assert rig.streams.pending(MODEL) == {}


class Standstill:
    """
    A clock that stands still with whoever it belongs to, until it is moved.
    """

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_deadlines_that_ran_out_while_we_stood_still_are_held_against_the_others_only_from_the_second_look_on(
    rig: VerdictRig,
) -> None:
    entries = rig.streams.add(2)
    stepper = rig.side(MODEL, options=SOON)
    await stepper.stream.open()
    clock = stepper.overdue._monotonic = Standstill()
    assert await stepper.overdue.overdue(128) == ([], False)
    await judged_by_rules(rig, entries, [a_transaction(), a_transaction()])
    await wait_until(lambda: rig.streams.client.zcount(rig.streams.keys.waiting(MODEL), 0, rig.now_ms()), "a deadline is over")

    clock.now_s = 0.5
    first = await stepper.overdue.overdue(128)
    second, _ = await stepper.overdue.overdue(128)

    assert first == ([], False)
    assert [delivery.entry_id for delivery in second] == entries


async def test_a_look_that_reached_redis_late_takes_nothing_and_the_next_one_does_however_late(rig: VerdictRig) -> None:
    entries = rig.streams.add(2)
    stepper = rig.side(MODEL, options=SOON)
    await stepper.stream.open()
    await judged_by_rules(rig, entries, [a_transaction(), a_transaction()])
    await wait_until(lambda: rig.streams.client.zcount(rig.streams.keys.waiting(MODEL), 0, rig.now_ms()), "a deadline is over")
    stepper.overdue._clock.observe(rig.now_ms() - 400)

    first = await stepper.overdue.overdue(128)
    second, _ = await stepper.overdue.overdue(128)

    assert first == ([], False)
    assert [delivery.entry_id for delivery in second] == entries


async def test_who_was_busy_stepping_in_did_not_stand_still(rig: VerdictRig) -> None:
    entries = rig.streams.add(300)
    stepper = rig.side(MODEL, options=SOON)
    await stepper.stream.open()
    clock = stepper.overdue._monotonic = Standstill()
    await judged_by_rules(rig, entries, [a_transaction() for _ in range(300)])
    await wait_until(lambda: rig.streams.client.zcount(rig.streams.keys.waiting(MODEL), 0, rig.now_ms()) == 3, "all are over")

    found = []
    for _ in range(3):
        clock.now_s += 5.0
        found += (await stepper.overdue.overdue(128))[0]

    assert len(found) == 300
