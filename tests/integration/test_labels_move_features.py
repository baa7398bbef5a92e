"""
Labels on a real server: flags in the logs, frauds in the buckets, once per label, the youngest word counting.
"""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.redis_keys import LABELS
from fraudstream.adapters.redis_states import RedisEntityStates
from fraudstream.domain.decision import Decision, Label, LabelValue, Outcome
from fraudstream.domain.transaction import Transaction
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.records import records
from fraudstream.fleet.ports import Delivery
from fraudstream.local import LocalValkey
from fraudstream.stages.labels import Labels
from tests.support.builders import a_decision, a_delivery, a_label, a_transaction
from tests.support.stores import MemoryDecisionStore
from tests.support.system import ForkedWorker
from tests.support.verdicts import VerdictRig
from tests.support.wait import wait_until

SOURCE = """
version 1
keep 8 records
entity card log
entity user log
entity merchant buckets 1m x 4, 1h x 3
feature card_fraud_count = fraud_count() by card_id
feature user_last_label = last_label() by user_id
feature merchant_fraud_rate_2h = fraud_rate() by merchant over 2h
"""
FEATURES = load_features(SOURCE, name="labels.features")
FRAUD, LEGITIMATE, UNSURE = LabelValue.FRAUD, LabelValue.LEGITIMATE, LabelValue.UNSURE


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url, features=FEATURES)
    yield rig
    await rig.close()


@pytest.fixture
async def states(valkey: LocalValkey) -> AsyncIterator[RedisEntityStates]:
    client = Redis.from_url(valkey.url, protocol=2)
    yield RedisEntityStates(client, features=FEATURES, keys=VerdictRig(valkey.url).streams.keys)
    await client.aclose()


async def _touched(rig: VerdictRig, *transactions: Transaction) -> None:
    entries = rig.streams.add(len(transactions))
    side = rig.side()
    await side.read()
    await side.touch(entries, transactions)


def _frauds(rig: VerdictRig) -> list[int]:
    """Frauds of each slot that holds any event, both resolutions."""
    raw = rig.ring("merchant", "Example Shop")
    return [
        int.from_bytes(raw[at + 8 : at + 12], "little") for at in range(0, len(raw) // 20 * 20, 20) if any(raw[at : at + 20])
    ]


def _label(transaction: Transaction, value: LabelValue, second: int = 0, **more: object) -> Label:
    at = datetime(2026, 1, 16, 0, 0, second, tzinfo=UTC)
    return a_label(transaction_id=transaction.transaction_id, label=value, labelled_at=at, **more)


async def test_a_label_sets_the_flag_in_every_log_and_counts_in_every_bucket(
    rig: VerdictRig, states: RedisEntityStates
) -> None:
    first, second = a_transaction(), a_transaction()
    await _touched(rig, first, second)

    moved = await states.tell([(_label(first, FRAUD), first), (_label(second, LEGITIMATE), second)])

    assert moved == 2
    assert rig.flags("card", "card_1") == rig.flags("user", "user_1") == [0b0100, 0b1000]
    assert _frauds(rig) == [1, 1]


async def test_the_same_label_again_and_a_second_one_that_agrees_count_no_second_fraud(
    rig: VerdictRig, states: RedisEntityStates
) -> None:
    transaction = a_transaction()
    await _touched(rig, transaction)
    label = _label(transaction, FRAUD)
    await states.tell([(label, transaction)])

    again = await states.tell([(label, transaction), (label, transaction)])
    agreeing = await states.tell([(_label(transaction, FRAUD, 1), transaction)])

    assert (again, agreeing) == (0, 1)
    assert _frauds(rig) == [1, 1]


async def test_the_youngest_label_stands_in_whatever_order_they_come(rig: VerdictRig, states: RedisEntityStates) -> None:
    transaction = a_transaction()
    await _touched(rig, transaction)
    old, young = _label(transaction, FRAUD, 1), _label(transaction, LEGITIMATE, 2)

    moved = [await states.tell([(label, transaction)]) for label in (old, young, old)]

    assert moved == [1, 1, 0]
    assert rig.flags("card", "card_1") == [0b1000]
    assert _frauds(rig) == [0, 0]


async def test_a_label_keeps_the_outcome_and_unsure_says_nothing(rig: VerdictRig, states: RedisEntityStates) -> None:
    transaction = a_transaction()
    await _touched(rig, transaction)
    prefix = f"{rig.streams.keys.prefix('log')}{FEATURES.layouts['card'].id}:card:card_1"
    rig.streams.client.setrange(prefix, FEATURES.layouts["card"].flag_offset, b"\x03")

    unsure = await states.tell([(_label(transaction, UNSURE), transaction)])
    fraud = await states.tell([(_label(transaction, FRAUD), transaction)])

    assert (unsure, fraud) == (0, 1)
    assert rig.flags("card", "card_1") == [0b0111]


async def test_a_label_of_a_transaction_that_moved_nothing_makes_no_state(rig: VerdictRig, states: RedisEntityStates) -> None:
    transaction = a_transaction(card_id=None)

    await states.tell([(_label(transaction, FRAUD), transaction)])

    (only,) = rig.streams.client.keys("*")
    assert only.startswith(b"label:")
    assert 0 < rig.streams.client.ttl(only) <= FEATURES.state_ttl_s


@given(said=st.lists(st.tuples(st.integers(0, 11), st.booleans()), max_size=30))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_script_moves_states_as_the_store_in_memory_does(valkey: LocalValkey, said: list[tuple[int, bool]]) -> None:
    rig = VerdictRig(valkey.url, features=FEATURES)
    rig.streams.flush()
    client = Redis.from_url(valkey.url, protocol=2)
    states, memory = RedisEntityStates(client, features=FEATURES, keys=rig.streams.keys), MemoryEntityStore(FEATURES)
    start_ms = a_transaction().occurred_at_ms
    history = [a_transaction(occurred_at_ms=start_ms + 45_000 * at, card_id=(None, "a", "b")[at % 3]) for at in range(12)]
    await _touched(rig, *history)
    memory.touch(records(FEATURES, history))

    for second, (row, fraud) in enumerate(said):
        label = _label(history[row], FRAUD if fraud else LEGITIMATE, second)
        await states.tell([(label, history[row])])
        memory.set_labels(records(FEATURES, [history[row]]), [fraud])

    rows = records(FEATURES, history)
    found = await states.read(rows)
    assert (found.logs, found.rings) == (memory.states(rows).logs, memory.states(rows).rings)
    await client.aclose()
    await rig.close()


def _delivery(label: Label, deliveries: int = 1) -> Delivery:
    return a_delivery({b"data": msgspec.json.encode(label)}, deliveries=deliveries)


class _Decisions:
    def __init__(self, *decisions: Decision) -> None:
        self._kept = {one.transaction.transaction_id: one for one in decisions}

    async def find(self, transaction_id: str) -> Decision | None:
        return self._kept.get(transaction_id)


async def test_the_stage_stores_a_label_and_moves_the_states_also_when_it_was_stored_before(
    rig: VerdictRig, states: RedisEntityStates
) -> None:
    transaction, store = a_transaction(), MemoryDecisionStore()
    await _touched(rig, transaction)
    label = _label(transaction, FRAUD)
    await store.record_labels([label])
    delivery = _delivery(label)

    handled = await Labels(store, _Decisions(a_decision(transaction, outcome=Outcome.APPROVE)), states).work([delivery])

    assert (list(handled.done), dict(handled.retry)) == ([delivery.entry_id], {})
    assert rig.flags("card", "card_1") == [0b0100]


async def test_a_label_without_a_decision_is_looked_for_again_and_then_only_stored(states: RedisEntityStates) -> None:
    store = MemoryDecisionStore()
    stage = Labels(store, _Decisions(), states)
    label = _label(a_transaction(), FRAUD)
    early, last = _delivery(label), _delivery(label, deliveries=3)

    first, third = await stage.work([early]), await stage.work([last])

    assert (list(first.done), list(first.retry)) == ([], [early.entry_id])
    assert (list(third.done), dict(third.retry)) == ([last.entry_id], {})
    assert list(store.labels) == [label.label_id]


async def test_a_worker_of_the_group_moves_the_states_of_a_label_on_the_stream(
    rig: VerdictRig, valkey: LocalValkey, database: str, tmp_path: Path
) -> None:
    transaction, file = a_transaction(), tmp_path / "labels.features"
    file.write_text(SOURCE)
    await _touched(rig, transaction)
    store = PostgresDecisionStore(database)
    await store.record([a_decision(transaction)])
    await store.close()
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "REDIS_URL": valkey.url,
        "POSTGRES_URL": database,
        "FRAUDSTREAM_FEATURES": str(file),
    }

    with ForkedWorker("labels", environment=environment, folder=tmp_path / "worker"):
        rig.streams.client.xadd(LABELS, {"data": msgspec.json.encode(_label(transaction, FRAUD))})
        await wait_until(lambda: rig.flags("card", "card_1") == [0b0100], "the label has reached the log")
        await wait_until(lambda: _frauds(rig) == [1, 1], "and the buckets")
