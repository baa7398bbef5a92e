"""
Decisions from both groups' verdicts at once, on a real server: only of what one process holds in both, and nobody has judged.
"""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import StreamUnavailable
from fraudstream.domain.transaction import Transaction
from fraudstream.local import LocalValkey
from fraudstream.stages.ports import Answer
from tests.support.builders import a_transaction
from tests.support.verdicts import MODEL, RULES, Side, VerdictRig


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url)
    yield rig
    await rig.close()


async def one_process(rig: VerdictRig, transactions: list[Transaction]) -> tuple[list[bytes], Side, Side]:
    """
    Return entries that one process has read in both groups, and touched; and its consumers.
    """
    entries = rig.streams.add(len(transactions))
    rules, model = rig.side(RULES), rig.side(MODEL)
    await rules.read()
    await model.read()
    await rules.touch(entries, transactions)
    return entries, rules, model


async def test_both_are_acknowledged_and_the_decision_is_emitted_once(rig: VerdictRig) -> None:
    transactions = [a_transaction() for _ in range(300)]
    entries, rules, model = await one_process(rig, transactions)

    answers = await rules.decide_for_both(entries, transactions, model.stream.consumer)
    again = await rules.decide_for_both(entries, transactions, model.stream.consumer)

    assert answers == [Answer.TOGETHER] * 300
    assert again == [Answer.APART] * 300
    assert [one.transaction for one in rig.decisions()] == transactions
    assert rig.streams.pending(RULES) == rig.streams.pending(MODEL) == {}
    assert rig.streams.client.get(rig.txn_key(transactions[0])) == b"D"
    assert rig.streams.client.ttl(rig.txn_key(transactions[0])) > 0


async def test_either_group_may_ask(rig: VerdictRig) -> None:
    entries, rules, model = await one_process(rig, [one := a_transaction()])

    assert await model.decide_for_both(entries, [one], rules.stream.consumer) == [Answer.TOGETHER]
    assert rig.streams.pending(RULES) == rig.streams.pending(MODEL) == {}


@pytest.mark.parametrize("lost", [RULES, MODEL])
async def test_who_lost_an_entry_in_either_group_decides_nothing(rig: VerdictRig, lost: str) -> None:
    entries, rules, model = await one_process(rig, [one := a_transaction()])
    await rig.side(lost).stream.claim(10)

    answers = await rules.decide_for_both(entries, [one], model.stream.consumer)

    assert answers == [Answer.APART]
    assert rig.decisions() == []
    assert rig.streams.client.get(rig.txn_key(one)) == b"T"
    assert {*rig.streams.pending(RULES)} == {*rig.streams.pending(MODEL)} == {*entries}


@pytest.mark.parametrize("noted", [RULES, MODEL])
async def test_a_verdict_on_record_is_never_passed_over(rig: VerdictRig, noted: str) -> None:
    """
    Two entries of one payment: another process has noted a verdict under the second, the first is in hand in both groups here.
    """
    entries, rules, model = await one_process(rig, [one := a_transaction()])
    (second,) = rig.streams.add(1)
    elsewhere = rig.side(noted)
    await elsewhere.read()
    await elsewhere.complete([second], [one])
    record = rig.streams.client.get(rig.txn_key(one))

    answers = await rules.decide_for_both(entries, [one], model.stream.consumer)

    assert answers == [Answer.APART]
    assert rig.decisions() == []
    assert rig.streams.client.get(rig.txn_key(one)) == record
    assert entries[0] in rig.streams.pending(RULES)
    assert entries[0] in rig.streams.pending(MODEL)


async def test_two_entries_of_one_payment_in_one_call_make_one_decision(rig: VerdictRig) -> None:
    one = a_transaction()
    entries, rules, model = await one_process(rig, [one, one])

    answers = await rules.decide_for_both(entries, [one, one], model.stream.consumer)

    assert answers == [Answer.TOGETHER, Answer.APART]
    assert len(rig.decisions()) == 1
    assert await rules.decide(entries[1:], [one]) == await model.decide(entries[1:], [one]) == [Answer.UNNEEDED]
    assert rig.streams.pending(RULES) == rig.streams.pending(MODEL) == {}


async def test_what_was_touched_late_is_decided_too_and_what_is_lost_is_touched_again(rig: VerdictRig) -> None:
    late, lost = a_transaction(), a_transaction()
    entries, rules, model = await one_process(rig, [late, lost])
    rig.streams.client.set(rig.txn_key(late), "L")
    rig.streams.client.delete(rig.txn_key(lost))

    assert await rules.decide_for_both(entries, [late, lost], model.stream.consumer) == [Answer.TOGETHER, Answer.APART]
    assert (await rules.complete(entries[1:], [lost])).answers == [Answer.ABSENT]


async def test_after_a_flush_nothing_is_decided(rig: VerdictRig) -> None:
    entries, rules, model = await one_process(rig, [one := a_transaction()])
    rig.streams.client.flushall()

    with pytest.raises(StreamUnavailable):
        await rules.decide_for_both(entries, [one], model.stream.consumer)


@pytest.mark.parametrize("outcome", [Outcome.APPROVE, Outcome.REVIEW, Outcome.BLOCK])
async def test_a_flagged_one_is_told_and_marked_as_by_one_group(rig: VerdictRig, outcome: Outcome) -> None:
    transactions = [a_transaction(card_id=f"card_{number}", user_id="user") for number in range(3)]
    entries, rules, model = await one_process(rig, transactions)

    await rules.decide_for_both(entries[1:2], transactions[1:2], model.stream.consumer, outcome=outcome)

    flag = {Outcome.APPROVE: 0, Outcome.REVIEW: 2, Outcome.BLOCK: 3}[outcome]
    assert rig.frauds() == ([transactions[1].transaction_id] if flag else [])
    assert rig.flags("user", "user") == [0, flag, 0]
    assert [rig.flags("card", f"card_{number}") for number in range(3)] == [[0], [flag], [0]]


async def test_processes_of_both_kinds_at_once_emit_each_decision_once(rig: VerdictRig) -> None:
    """
    One process holds everything in both groups, and two others go for the same payments under second entries of theirs.
    """
    transactions = [a_transaction() for _ in range(200)]
    entries, rules, model = await one_process(rig, transactions)
    seconds = rig.streams.add(200)
    other_rules, other_model = rig.side(RULES), rig.side(MODEL)
    await other_rules.read()
    await other_model.read()
    rng, answers = random.Random(7), []

    async def here() -> None:
        for at in range(0, 200, 5):
            rows = slice(at, at + 5)
            answers.extend(await rules.decide_for_both(entries[rows], transactions[rows], model.stream.consumer))
            await asyncio.sleep(rng.random() / 500)

    async def there(side: Side) -> None:
        for at in range(0, 200, 7):
            await side.decide(seconds[at : at + 7], transactions[at : at + 7])
            await asyncio.sleep(rng.random() / 500)

    await asyncio.gather(here(), there(other_rules), there(other_model))
    for side, own in ((rules, entries), (model, entries), (other_rules, seconds), (other_model, seconds)):
        await side.decide(own, transactions)

    decided = [one.transaction.transaction_id for one in rig.decisions()]
    assert sorted(decided) == sorted(one.transaction_id for one in transactions)
    assert {Answer.TOGETHER, Answer.APART} == {*answers}, "or there was no race"
    assert rig.streams.pending(RULES) == rig.streams.pending(MODEL) == {}
