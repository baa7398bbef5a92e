"""
Entity states on a real server: moved once per transaction, whoever touches, however often, at whatever moment.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudstream.adapters import redis_touch
from fraudstream.adapters.redis_scripts import run
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import compute
from fraudstream.features.load import load_features
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.records import records
from fraudstream.features.states import Standing, States
from fraudstream.local import LocalValkey
from fraudstream.stages.ports import Place
from tests.support.builders import a_transaction
from tests.support.verdicts import MODEL, RULES, SMALL, VerdictRig, record_identities

HOUR_MS = 3_600_000
#: What every installation starts with.
SHIPPED = load_features((Path(__file__).parents[2] / "models/default.features").read_text(encoding="utf-8"))


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url)
    yield rig
    await rig.close()


@pytest.fixture
async def partitioned(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url, tag="{p07}")
    yield rig
    await rig.close()


async def test_a_second_touch_moves_nothing(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    side = rig.side()
    await side.read()

    first = await side.touch(entries, [transaction])
    second = await side.touch(entries, [transaction])

    assert (first.places, second.places) == ([Place.FIRST], [Place.AGAIN])
    assert first.states == second.states
    assert len(rig.log_ids("card", "card_1")) == 1
    assert rig.ring_counts("Example Shop") == (1, 1250.0)


async def test_the_other_group_moves_nothing_again_and_sees_the_same_past(rig: VerdictRig) -> None:
    transactions = [a_transaction() for _ in range(3)]
    entries = rig.streams.add(3)
    rules, model = rig.side(RULES), rig.side(MODEL)
    await rules.read()
    await model.read()

    first = await rules.touch(entries, transactions)
    second = await model.touch(entries, transactions)

    assert first.places == [Place.FIRST] * 3
    assert second.places == [Place.AGAIN] * 3
    prepared = records(SMALL, transactions)
    matrices = [
        compute(SMALL, transactions, prepared, [standing] * 3, touched.states)
        for standing, touched in ((Standing.TOUCHED, first), (Standing.SEEN, second))
    ]
    past = [SMALL.names.index(name) for name in ("card_count_1h", "card_not_blocked_1h", "user_sum_1h")]
    assert np.array_equal(matrices[0][:, past], matrices[1][:, past])
    assert matrices[0][:, SMALL.names.index("card_count_1h")].tolist() == [0.0, 1.0, 2.0]


async def test_a_group_that_came_second_reads_its_states_after_what_it_moves_itself(rig: VerdictRig) -> None:
    """
    It looks at the records before it touches: what it read beside that look would lack the payments that were new to it.
    """
    seen, last, new = (a_transaction() for _ in range(3))
    entries = rig.streams.add(3)
    rules, model = rig.side(RULES), rig.side(MODEL)
    await rules.read()
    await model.read()
    for entry, transaction in zip(entries, (seen, last), strict=False):
        await rules.touch([entry], [transaction])
    await model.touch(entries[:1], [seen])

    touched = await model.touch(entries[1:], [last, new])

    assert touched.places == [Place.AGAIN, Place.FIRST]
    assert rig.log_ids("card", "card_1") == record_identities(SMALL, [seen, last, new])
    assert touched.states.logs["card"] == [rig.streams.client.get(rig.streams.client.keys("log:*:card:*")[0])] * 2
    assert touched.states.rings["merchant"] == [rig.streams.client.get(rig.streams.client.keys("ring:*")[0])] * 2


async def test_a_group_that_came_second_reads_its_states_after_what_the_other_moved_since_its_look(
    rig: VerdictRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A vector from states that were read before would lack the payment itself and its nearest past.
    """
    seen, last, new = (a_transaction() for _ in range(3))
    entries = rig.streams.add(3)
    rules, model = rig.side(RULES), rig.side(MODEL)
    await rules.read()
    await model.read()
    await rules.touch(entries[:1], [seen])
    await model.touch(entries[:1], [seen])
    looked = 0

    async def interrupted(client: Any, words: Any) -> Any:
        nonlocal looked
        answers = await run(client, words)
        looked += 1
        if looked == 1:
            await rules.touch(entries[1:], [last, new])
        return answers

    monkeypatch.setattr(redis_touch, "run", interrupted)
    touched = await model.touch(entries[1:], [last, new])

    assert touched.places == [Place.AGAIN, Place.AGAIN]
    assert touched.states.logs["card"] == [rig.streams.client.get(rig.streams.client.keys("log:*:card:*")[0])] * 2
    assert len(touched.states.logs["card"][0]) == 3 * SMALL.layouts["card"].size


@pytest.mark.parametrize("looking", [True, False])
async def test_a_batch_that_ends_while_another_waits_takes_no_states_away_from_it(
    looking: bool, rig: VerdictRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A group that runs behind reads its states later: what it was when a batch began counts for that batch, or it finds no past.
    """
    judged, seen, new = (a_transaction() for _ in range(3))
    entries = rig.streams.add(3)
    rules, model = rig.side(RULES), rig.side(MODEL)
    await rules.read()
    await model.read()
    await rules.touch(entries[:2], [judged, seen])
    await rules.complete(entries[:1], [judged])
    monkeypatch.setattr(redis_touch.RedisEntityStore, "looks_first", looking)
    await model.touch(entries[:1], [judged])
    waited = 0

    async def interrupted(client: Any, words: Any) -> Any:
        nonlocal waited
        answers = await run(client, words)
        waited += 1
        if waited == 1:
            await model.touch(entries[2:], [new])
        return answers

    monkeypatch.setattr(redis_touch, "run", interrupted)
    touched = await model.touch(entries[1:2], [seen])

    assert touched.places == [Place.AGAIN]
    assert len(touched.states.logs["card"][0]) >= 2 * SMALL.layouts["card"].size


async def test_a_group_that_came_second_still_acknowledges_what_it_is_done_with(rig: VerdictRig) -> None:
    transaction, other = a_transaction(), a_transaction()
    entries = rig.streams.add(4)
    rules, model = rig.side(RULES), rig.side(MODEL)
    await rules.read()
    await model.read()
    await rules.touch(entries[:2], [transaction, other])
    await model.touch(entries[:1], [transaction])
    await model.complete(entries[:1], [transaction])

    touched = await model.touch([entries[1], entries[2], entries[0]], [other, transaction, transaction])

    assert touched.places == [Place.AGAIN, Place.DUPLICATE, Place.GONE]
    assert len(touched.states.logs["card"][0]) == 2 * SMALL.layouts["card"].size


async def test_workers_that_touch_at_the_same_moment_move_each_transaction_once(rig: VerdictRig) -> None:
    rng = random.Random(7)
    transactions = [
        a_transaction(card_id=f"card_{number}", user_id=f"user_{number % 40}", merchant="Hot Shop", amount_minor=100)
        for number in range(200)
    ]
    entries = rig.streams.add(200)
    sides = [rig.side(group) for group in (RULES, MODEL) for _ in range(3)]
    for side in sides:
        await side.read()

    async def touch_all(number: int) -> list[Place]:
        order = rng.sample(range(200), 200)
        places: list[Place] = []
        for at in range(0, 200, 25):
            rows = sorted(order[at : at + 25])
            touched = await sides[number].touch([entries[row] for row in rows], [transactions[row] for row in rows])
            places += touched.places
        return places

    found = await asyncio.gather(*map(touch_all, range(len(sides))))

    assert sum(place is Place.FIRST for places in found for place in places) == 200
    assert rig.ring_counts("Hot Shop") == (200, 20_000.0)
    assert all(len(rig.log_ids("card", f"card_{number}")) == 1 for number in range(200))
    assert all(len(set(rig.log_ids("user", f"user_{number}"))) == 5 for number in range(40))


async def test_a_batch_of_more_than_one_script_call_is_one_batch(rig: VerdictRig) -> None:
    transactions = [a_transaction(card_id=f"card_{number}") for number in range(300)]
    entries = rig.streams.add(300)
    side = rig.side()
    await side.read()

    touched = await side.touch(entries, transactions)

    assert touched.places == [Place.FIRST] * 300
    assert [len(log) for log in touched.states.logs["card"]] == [SMALL.layouts["card"].size] * 300
    assert rig.ring_counts("Example Shop") == (300, 300 * 1250.0)


async def test_an_entity_that_a_transaction_lacks_has_no_state(rig: VerdictRig) -> None:
    bare = a_transaction(card_id=None, user_id=None, merchant=None)
    entries = rig.streams.add(2)
    side = rig.side()
    await side.read()

    touched = await side.touch(entries, [bare, a_transaction(user_id=None)])

    assert touched.states.logs["card"][0] == b""
    assert touched.states.rings["merchant"][0] == b""
    assert set(rig.streams.client.keys("log:*")) == {f"log:{SMALL.layouts['card'].id}:card:card_1".encode()}
    assert rig.streams.client.get(rig.txn_key(bare)) == b"T"


async def test_a_transaction_older_than_the_horizon_moves_nothing(rig: VerdictRig) -> None:
    now_ms = int(rig.streams.client.time()[0]) * 1000
    old, young = a_transaction(occurred_at_ms=now_ms - 2 * HOUR_MS), a_transaction(occurred_at_ms=now_ms - HOUR_MS // 2)
    entries = rig.streams.add(2)
    side = rig.side(options=LedgerOptions(horizon_s=3600, deadline_ms=0))
    await side.read()

    first = await side.touch(entries, [old, young])
    second = await side.touch(entries, [old, young])

    assert first.places == [Place.LATE, Place.FIRST]
    assert second.places == [Place.LATE, Place.AGAIN]
    assert rig.ring_counts("Example Shop")[0] == 1
    assert len(rig.log_ids("card", "card_1")) == 1


async def test_no_record_of_an_undecided_transaction_expires_and_every_state_does(rig: VerdictRig) -> None:
    transaction = a_transaction()
    entries = rig.streams.add(1)
    side = rig.side()
    await side.read()

    await side.touch(entries, [transaction])

    client = rig.streams.client
    assert client.ttl(rig.txn_key(transaction)) == -1
    states = [*client.keys("log:*"), *client.keys("ring:*")]
    assert len(states) == 3
    assert all(SMALL.state_ttl_s - 5 <= client.ttl(key) <= SMALL.state_ttl_s for key in states)


async def test_the_life_of_a_log_is_extended_by_the_first_event_that_a_process_sees(rig: VerdictRig) -> None:
    entries = rig.streams.add(3)
    await (one := rig.side()).read()
    await one.touch(entries[:1], [a_transaction()])
    key = rig.streams.client.keys("log:*:card:*")[0]

    rig.streams.client.expire(key, 100)
    await one.touch(entries[1:2], [a_transaction()])
    assert rig.streams.client.ttl(key) <= 100

    await rig.side().touch(entries[2:], [a_transaction()])
    assert rig.streams.client.ttl(key) > 100


async def test_a_touch_that_moves_nothing_does_not_use_up_the_extension_of_the_day(rig: VerdictRig) -> None:
    """
    The process remembered a log as extended although its transaction was a second one, or late: the log could expire inside
    its window, and counts began at nought.
    """
    transaction = a_transaction()
    entries = rig.streams.add(3)
    one, two = rig.side(), rig.side()
    await one.read()
    await one.touch(entries[:1], [transaction])
    key = rig.streams.client.keys("log:*:card:*")[0]
    rig.streams.client.expire(key, 100)

    await two.touch(entries[1:2], [transaction])
    await two.touch(entries[2:], [a_transaction()])

    assert rig.streams.client.ttl(key) > 100


async def test_a_full_log_loses_its_oldest_quarter(rig: VerdictRig) -> None:
    transactions = [a_transaction() for _ in range(9)]
    entries = rig.streams.add(9)
    side = rig.side()
    await side.read()

    await side.touch(entries, transactions)

    assert rig.log_ids("card", "card_1") == record_identities(SMALL, transactions)[2:]


async def test_a_broken_state_stops_its_own_transaction_and_none_before_it(rig: VerdictRig) -> None:
    good, bad = a_transaction(card_id="good", merchant="Shop"), a_transaction(card_id="bad", merchant="Shop")
    rig.streams.client.hset(f"log:{SMALL.layouts['card'].id}:card:bad", "not", "a log")
    entries = rig.streams.add(2)
    side = rig.side()
    await side.read()

    with pytest.raises(Exception, match="touch item 2: WRONGTYPE"):
        await side.touch(entries, [good, bad])

    assert rig.streams.client.get(rig.txn_key(good)) == b"T"
    assert rig.ring_counts("Shop")[0] == 1
    assert len(rig.log_ids("card", "good")) == 1


async def test_keys_of_a_partition_carry_its_tag(partitioned: VerdictRig) -> None:
    entries = partitioned.streams.add(1)
    side = partitioned.side()
    await side.read()

    await side.touch(entries, [a_transaction()])
    await side.complete(entries, [a_transaction()])

    assert all(b"{p07}" in key for key in partitioned.streams.client.keys("*"))


_STANDINGS = {Place.FIRST: Standing.TOUCHED, Place.AGAIN: Standing.SEEN, Place.LATE: Standing.LATE}
_ids = st.sampled_from([None, "a", "b", "c"])
#: The second is the age in seconds, none of them close to the horizon.
_aged = st.tuples(
    st.fixed_dictionaries(
        {
            "transaction_id": st.sampled_from([f"txn_{number}" for number in range(60)]),
            "card_id": _ids,
            "user_id": _ids,
            "merchant": _ids,
            "amount_minor": st.integers(0, 10**12),
        }
    ),
    st.sampled_from([0, 1, 30, 59, 60, 61, 119, 120, 240, 300, 3500, 3700, 7200, 10_800, 14_400, 10**9]),
)


def _plain(states: States) -> tuple[dict[str, list[bytes]], dict[str, list[bytes]]]:
    return ({kind: list(rows) for kind, rows in states.logs.items()}, {kind: list(rows) for kind, rows in states.rings.items()})


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(_aged, min_size=1, max_size=30), min_size=1, max_size=4),
    st.sampled_from([0, 3600]),
    st.sampled_from([SMALL, SHIPPED]),
)
async def test_memory_and_redis_keep_the_same_states(
    valkey: LocalValkey, batches: list[list[tuple[dict[str, Any], int]]], horizon_s: int, features: FeatureSet
) -> None:
    """
    Training replays history over the store in memory: a difference would teach the model another past than it will see.
    """
    rig = VerdictRig(valkey.url, features=features)
    rig.streams.flush()
    now_s = int(rig.streams.client.time()[0])
    memory = MemoryEntityStore(features, horizon_ms=horizon_s * 1000)
    side = rig.side(options=LedgerOptions(horizon_s=horizon_s, deadline_ms=0))

    for batch in batches:
        transactions = [a_transaction(**fields, occurred_at_ms=(now_s - age_s) * 1000) for fields, age_s in batch]
        prepared = records(features, transactions)
        touched = await side.touch([b"1-1"] * len(batch), transactions)
        standings = memory.touch(prepared, now_ms=now_s * 1000)

        assert [_STANDINGS[place] for place in touched.places] == standings
        assert _plain(touched.states) == _plain(memory.states(prepared))
    await rig.close()
