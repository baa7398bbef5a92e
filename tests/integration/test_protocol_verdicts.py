"""
Verdicts on a real server: the first is kept, the second emits the decision, once, and nobody else does.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from fraudstream.adapters.redis_keys import DECISIONS
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import StreamUnavailable
from fraudstream.domain.transaction import Transaction
from fraudstream.features.kernel import compute
from fraudstream.features.records import records
from fraudstream.features.states import Standing
from fraudstream.local import LocalValkey
from fraudstream.stages.ports import Answer, Place
from tests.support.builders import a_transaction
from tests.support.verdicts import MODEL, RULES, SMALL, UNBOUNDED, VECTOR, Side, VerdictRig


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url)
    yield rig
    await rig.close()


async def both_sides(rig: VerdictRig, entries: list[bytes], transactions: list[Transaction]) -> tuple[Side, Side]:
    """
    Return one worker of each group, both of which have read and touched everything.
    """
    sides = (rig.side(RULES), rig.side(MODEL))
    for side in sides:
        await side.read()
        await side.touch(entries, transactions)
    return sides


async def test_the_first_verdict_is_kept_and_the_second_emits(rig: VerdictRig) -> None:
    transactions = [a_transaction(), a_transaction()]
    entries = rig.streams.add(2)
    rules, model = await both_sides(rig, entries, transactions)

    first = await rules.complete(entries, transactions)
    second = await model.complete(entries, transactions)
    third = await model.complete(entries, transactions, others=second.others)

    assert (first.answers, second.answers) == ([Answer.STORED] * 2, [Answer.OTHER] * 2)
    assert third.answers == [Answer.EMITTED] * 2
    assert (second.others[0].group, second.others[0].vector) == (b"F", VECTOR)
    assert second.others[0].verdict == rules.verdict()
    assert [one.transaction for one in rig.decisions()] == transactions
    assert rig.streams.client.xlen(rig.streams.keys.stream(DECISIONS)) == 1
    assert rig.frauds() == []
    assert rig.streams.pending(RULES) == rig.streams.pending(MODEL) == {}


async def test_either_group_may_be_first(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, model = await both_sides(rig, entries, [transaction])

    await model.complete(entries, [transaction])

    assert (await rules.complete(entries, [transaction])).others[0].group == b"M"
    assert await rules.decide(entries, [transaction]) == [Answer.EMITTED]


async def test_the_other_group_meets_the_first_verdict_when_it_touches(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, model = await both_sides(rig, entries, [transaction])
    await rules.complete(entries, [transaction])

    touched = await model.touch(entries, [transaction])

    assert touched.places == [Place.OTHER]
    assert touched.others[0].verdict == rules.verdict()
    assert (await model.complete(entries, [transaction], others=touched.others)).answers == [Answer.EMITTED]


@pytest.mark.parametrize("outcome", [Outcome.CHALLENGE, Outcome.REVIEW, Outcome.BLOCK])
async def test_a_flagged_decision_has_one_entry_in_fraud(rig: VerdictRig, outcome: Outcome) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, model = await both_sides(rig, entries, [transaction])
    await rules.complete(entries, [transaction])

    await model.decide(entries, [transaction], outcome=outcome)
    await model.decide(entries, [transaction], outcome=outcome)

    assert rig.frauds() == [transaction.transaction_id]
    assert [one.outcome for one in rig.decisions()] == [outcome]


async def test_a_decision_against_another_write_is_not_emitted(rig: VerdictRig) -> None:
    """
    The decision was computed from a verdict that is no longer the one on record.
    """
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, model = await both_sides(rig, entries, [transaction])
    await rules.complete(entries, [transaction])
    stale = (await model.complete(entries, [transaction])).others
    rig.streams.client.set(rig.txn_key(transaction), "T")
    other_rules = rig.side(RULES)
    again = rig.streams.add(1)
    await other_rules.read()
    await other_rules.complete(again, [transaction])

    completed = await model.complete(entries, [transaction], others=stale)

    assert completed.answers == [Answer.OTHER]
    assert completed.others[0].write_id != stale[0].write_id
    assert rig.decisions() == []


async def test_every_write_has_an_id_of_its_own(rig: VerdictRig) -> None:
    transactions = [a_transaction() for _ in range(50)]
    entries = rig.streams.add(50)
    rules, model = await both_sides(rig, entries, transactions)
    await rules.complete(entries, transactions)

    found = (await model.complete(entries, transactions)).others

    assert len({record.write_id for record in found.values()}) == 50


async def test_a_second_entry_of_one_transaction_ends_as_unneeded(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(3)
    rules, model = await both_sides(rig, entries, [transaction] * 3)

    first = await rules.complete(entries[:2], [transaction] * 2)
    emitted = await model.decide(entries[:2], [transaction] * 2)
    late = await rules.touch(entries[2:], [transaction])
    gone = await rules.touch(entries[2:], [transaction])
    beaten = await model.complete(entries[2:], [transaction])

    assert first.answers == [Answer.STORED, Answer.UNNEEDED]
    assert emitted == [Answer.EMITTED, Answer.UNNEEDED]
    assert (late.places, gone.places) == ([Place.DUPLICATE], [Place.GONE])
    assert beaten.answers == [Answer.UNNEEDED]
    assert len(rig.decisions()) == 1
    assert rig.streams.pending(RULES) == rig.streams.pending(MODEL) == {}


async def test_the_first_verdict_of_a_group_wins(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(2)
    rules, _ = await both_sides(rig, entries, [transaction] * 2)
    await rules.complete(entries[:1], [transaction])
    kept = rig.streams.client.get(rig.txn_key(transaction))

    await rules.complete(entries[1:], [transaction])

    assert rig.streams.client.get(rig.txn_key(transaction)) == kept


async def test_who_lost_an_entry_to_another_completes_nothing(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    zombie, _ = await both_sides(rig, entries, [transaction])
    heir = rig.side(RULES)
    await heir.stream.claim(10)

    fenced = await zombie.complete(entries, [transaction])

    assert fenced.answers == [Answer.GONE]
    assert rig.streams.client.get(rig.txn_key(transaction)) == b"T"
    assert (await heir.complete(entries, [transaction])).answers == [Answer.STORED]


async def test_a_lost_record_is_answered_so_that_it_is_touched_again(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, _ = await both_sides(rig, entries, [transaction])
    rig.streams.client.delete(rig.txn_key(transaction))

    lost = await rules.complete(entries, [transaction])

    assert lost.answers == [Answer.ABSENT]
    assert rig.streams.pending(RULES) != {}
    await rules.touch(entries, [transaction])
    assert (await rules.complete(entries, [transaction])).answers == [Answer.STORED]


async def test_after_a_flush_the_ledger_is_unavailable_until_the_group_is_there_again(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, _ = await both_sides(rig, entries, [transaction])
    rig.streams.flush()

    with pytest.raises(StreamUnavailable, match="NOGROUP"):
        await rules.complete(entries, [transaction])

    await rules.stream.open()
    assert (await rules.complete(entries, [transaction])).answers == [Answer.GONE]


async def test_scripts_that_the_server_forgot_are_loaded_again(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, model = await both_sides(rig, entries, [transaction])

    for side, answer in ((rules, Answer.STORED), (model, Answer.EMITTED)):
        rig.streams.client.script_flush()
        await side.touch(entries, [transaction])
        rig.streams.client.script_flush()
        assert await side.decide(entries, [transaction]) == [answer]


async def test_a_batch_of_more_than_one_script_call_is_decided_whole_sixteen_decisions_to_an_entry(rig: VerdictRig) -> None:
    transactions = [a_transaction() for _ in range(300)]
    entries = rig.streams.add(300)
    rules, model = await both_sides(rig, entries, transactions)

    await rules.complete(entries, transactions)
    answers = await model.decide(entries, transactions)

    assert answers == [Answer.EMITTED] * 300
    assert [one.transaction for one in rig.decisions()] == transactions
    held = [len(fields) for _, fields in rig.streams.client.xrange(rig.streams.keys.stream(DECISIONS))]
    assert held == [16] * 8 + [16] * 8 + [16, 16, 12]


async def test_a_record_expires_only_after_its_decision(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    options = LedgerOptions(horizon_s=1000, deadline_ms=250)
    rules, model = rig.side(RULES, options=options), rig.side(MODEL, options=options)
    for side in (rules, model):
        await side.read()
        await side.touch(entries, [transaction])
    client, key = rig.streams.client, rig.txn_key(transaction)
    client.set(key, "T")

    await rules.complete(entries, [transaction])
    assert client.ttl(key) == -1

    await model.decide(entries, [transaction])
    assert client.get(key) == b"D"
    assert 1290 <= client.ttl(key) <= 1300


async def test_both_groups_at_once_emit_each_decision_once(rig: VerdictRig) -> None:
    transactions = [a_transaction() for _ in range(100)]
    entries = rig.streams.add(100)
    sides = await both_sides(rig, entries, transactions)
    rng = random.Random(3)

    async def decide_all(side: Side) -> Counter[Answer]:
        answers: Counter[Answer] = Counter()
        rows = list(range(100))
        while rows:
            size = rng.randint(1, 7)
            batch, rows = rows[:size], rows[size:]
            answers.update(await side.decide([entries[row] for row in batch], [transactions[row] for row in batch]))
            await asyncio.sleep(0)
        return answers

    one, two = await asyncio.gather(*map(decide_all, sides))

    assert one + two == Counter({Answer.STORED: 100, Answer.EMITTED: 100})
    assert sorted(decision.transaction.transaction_id for decision in rig.decisions()) == sorted(
        transaction.transaction_id for transaction in transactions
    )


@pytest.mark.parametrize(
    ("outcome", "flag"), [(Outcome.APPROVE, 0), (Outcome.CHALLENGE, 1), (Outcome.REVIEW, 2), (Outcome.BLOCK, 3)]
)
async def test_the_outcome_is_set_in_every_log_of_the_transaction_and_nowhere_else(
    rig: VerdictRig, outcome: Outcome, flag: int
) -> None:
    transactions = [a_transaction() for _ in range(3)]
    entries = rig.streams.add(3)
    rules, model = await both_sides(rig, entries, transactions)
    await rules.complete(entries, transactions)

    await model.decide(entries[1:2], transactions[1:2], outcome=outcome)

    assert rig.flags("card", "card_1") == [0, flag, 0]
    assert rig.flags("user", "user_1") == [0, flag, 0]
    assert len(rig.log("card", "card_1")) == 3 * SMALL.layouts["card"].size


async def test_marks_of_a_mixed_batch_find_their_own_logs(rig: VerdictRig) -> None:
    transactions = [
        a_transaction(card_id="card_a", user_id=None),
        a_transaction(card_id=None, user_id="user_b"),
        a_transaction(card_id="card_c", user_id="user_c"),
    ]
    entries = rig.streams.add(3)
    rules, model = await both_sides(rig, entries, transactions)
    await rules.complete(entries, transactions)

    await model.decide(entries, transactions, outcome=Outcome.BLOCK)

    assert [rig.flags("card", card) for card in ("card_a", "card_c")] == [[3], [3]]
    assert [rig.flags("user", user) for user in ("user_b", "user_c")] == [[3], [3]]
    assert not any(rig.streams.client.get(rig.txn_key(one)) != b"D" for one in transactions)


async def test_a_feature_sees_the_outcome_of_the_past(rig: VerdictRig) -> None:
    past, present = a_transaction(), a_transaction()
    entries = rig.streams.add(2)
    rules, model = await both_sides(rig, entries[:1], [past])
    await rules.complete(entries[:1], [past])
    await model.decide(entries[:1], [past], outcome=Outcome.BLOCK)

    touched = await rules.touch(entries[1:], [present])

    matrix = compute(SMALL, [present], records(SMALL, [present]), [Standing.TOUCHED], touched.states)
    assert matrix[0, SMALL.names.index("card_count_1h")] == 1
    assert matrix[0, SMALL.names.index("card_not_blocked_1h")] == 0


async def test_with_the_deadline_off_nothing_waits(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, _ = await both_sides(rig, entries, [transaction])

    await rules.complete(entries, [transaction])

    assert UNBOUNDED.deadline_ms == 0
    assert rig.streams.client.keys("waiting:*") == []


async def test_a_decision_whose_basis_is_lost_is_no_first_verdict_and_is_touched_again(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    rules, model = await both_sides(rig, entries, [transaction])
    await rules.complete(entries, [transaction])
    basis = (await model.complete(entries, [transaction])).others
    rig.streams.client.set(rig.txn_key(transaction), b"T")

    lost = await model.complete(entries, [transaction], others=basis)

    assert lost.answers == [Answer.ABSENT]
    assert rig.streams.client.get(rig.txn_key(transaction)) == b"T"
    assert rig.streams.pending(MODEL) != {}


async def test_a_broken_history_takes_no_decision_of_others_away(rig: VerdictRig) -> None:
    """
    A decision was marked as made before any was emitted: one key of another type, and those before it were lost.
    """
    good, bad = a_transaction(card_id="good"), a_transaction(card_id="bad")
    entries = rig.streams.add(2)
    rules, model = await both_sides(rig, entries, [good, bad])
    await rules.complete(entries, [good, bad])
    others = (await model.complete(entries, [good, bad])).others
    broken = f"log:{SMALL.layouts['card'].id}:card:bad"
    rig.streams.client.delete(broken)
    rig.streams.client.hset(broken, "not", "a log")

    with pytest.raises(Exception, match="complete item 2: WRONGTYPE"):
        await model.complete(entries, [good, bad], others=others, outcome=Outcome.REVIEW)

    assert [one.transaction for one in rig.decisions()] == [good]
    assert rig.frauds() == [good.transaction_id]
    assert list(rig.streams.pending(MODEL)) == entries[1:]
    rig.streams.client.delete(broken)
    assert (await model.complete(entries[1:], [bad], others={0: others[1]})).answers == [Answer.EMITTED]


async def test_a_span_is_joined_when_the_other_group_has_read_it_and_holds_none_of_it(rig: VerdictRig) -> None:
    transactions = [a_transaction() for _ in range(4)]
    entries = rig.streams.add(4)
    rules, model = rig.side(RULES), rig.side(MODEL)
    await rules.read()
    spans = [(entries[0], entries[1]), (entries[2], entries[3])]
    without_a_group = await rules.ledger.joined(spans)

    await model.read(2)
    for side in (rules, model):
        await side.touch(entries[:2], transactions[:2])
    await rules.complete(entries[:2], transactions[:2])
    read = await rules.ledger.joined(spans)
    await model.decide(entries[:1], transactions[:1])
    half = await rules.ledger.joined(spans)
    await model.decide(entries[1:2], transactions[1:2])
    whole = await rules.ledger.joined(spans)
    rig.streams.client.flushall()

    assert (without_a_group, read, half, whole) == ([False, False], [False, False], [False, False], [True, False])
    assert await rules.ledger.joined(spans) == [False, False]
