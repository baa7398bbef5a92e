from collections.abc import AsyncIterator

import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.domain.decision import Outcome
from fraudstream.fleet.ports import DecisionStore
from tests.support.builders import a_decision, a_label, a_transaction
from tests.support.stores import MemoryDecisionStore


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, database: str) -> AsyncIterator[DecisionStore]:
    if request.param == "memory":
        yield MemoryDecisionStore()
        return
    store = PostgresDecisionStore(database)
    yield store
    await store.close()


async def test_new_decisions_are_stored(store: DecisionStore) -> None:
    decisions = [a_decision(), a_decision(outcome=Outcome.BLOCK)]

    recorded = await store.record(decisions)

    assert set(recorded.stored) == {each.transaction.transaction_id for each in decisions}
    assert not recorded.known
    assert not recorded.refused


async def test_the_second_call_finds_them_known(store: DecisionStore) -> None:
    old, new = a_decision(), a_decision()
    await store.record([old])

    recorded = await store.record([old, new])

    assert list(recorded.known) == [old.transaction.transaction_id]
    assert list(recorded.stored) == [new.transaction.transaction_id]


async def test_an_id_that_repeats_within_the_batch_is_stored_once(store: DecisionStore) -> None:
    decision = a_decision(a_transaction(transaction_id="twice"))
    other = a_decision(a_transaction(transaction_id="twice", amount_minor=1), outcome=Outcome.BLOCK)

    recorded = await store.record([decision, other])

    assert list(recorded.stored) == ["twice"]
    assert not recorded.known


async def test_a_bad_decision_condemns_only_itself(store: DecisionStore) -> None:
    good = [a_decision() for _ in range(5)]
    bad = a_decision(a_transaction(transaction_id="bad\x00"))

    recorded = await store.record([*good[:3], bad, *good[3:]])

    assert set(recorded.stored) == {each.transaction.transaction_id for each in good}
    assert list(recorded.refused) == ["bad\x00"]


async def test_decisions_need_not_be_kept_and_the_flagged_ones_are_counted(store: DecisionStore) -> None:
    known = a_decision(outcome=Outcome.BLOCK)
    await store.record([known])
    outcomes = (Outcome.APPROVE, Outcome.REVIEW, Outcome.BLOCK)

    recorded = await store.record(one for one in (known, *(a_decision(outcome=outcome) for outcome in outcomes)))

    assert (len(recorded.stored), recorded.flagged) == (3, 2)


async def test_nothing_offered_is_nothing_done(store: DecisionStore) -> None:
    recorded = await store.record([])

    assert (list(recorded.stored), list(recorded.known), dict(recorded.refused)) == ([], [], {})


async def test_labels_are_stored_once_by_their_own_id(store: DecisionStore) -> None:
    first, second = a_label(transaction_id="txn_1"), a_label(transaction_id="txn_1")
    await store.record_labels([first])

    recorded = await store.record_labels([first, second, second])

    assert list(recorded.known) == [first.label_id]
    assert list(recorded.stored) == [second.label_id]


async def test_a_bad_label_condemns_only_itself(store: DecisionStore) -> None:
    good, bad = a_label(), a_label(label_id="bad\x00")

    recorded = await store.record_labels([bad, good])

    assert list(recorded.stored) == [good.label_id]
    assert list(recorded.refused) == ["bad\x00"]
