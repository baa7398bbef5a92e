"""
States over several partitions: exact whatever is interrupted, sent again or touched by both groups.
"""

import random
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from fraudstream.adapters import redis_scattered
from fraudstream.adapters.noting_store import OutcomeNotingStore
from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import Keys, Partitions
from fraudstream.adapters.redis_partitions import Part
from fraudstream.adapters.redis_routing import partition_of
from fraudstream.adapters.redis_scattered import RedisScatteredStates, RedisScatteredStore
from fraudstream.adapters.redis_states import StateKeys
from fraudstream.adapters.redis_touch import RedisEntityStore
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.domain.decision import Decision, Label, LabelValue, Outcome
from fraudstream.domain.errors import DecisionStoreUnavailable, StreamUnavailable
from fraudstream.domain.moments import moment
from fraudstream.domain.transaction import Transaction
from fraudstream.features.kernel import compute
from fraudstream.features.layout import place_in
from fraudstream.features.load import load_features
from fraudstream.features.records import records
from fraudstream.features.states import Standing
from fraudstream.fleet.ports import Recorded
from fraudstream.local import LocalValkey
from fraudstream.stages.ports import Place
from tests.support.builders import NOW_MS, a_decision, a_transaction
from tests.support.verdicts import MODEL, RULES

FEATURES = load_features(
    """
version 1
keep 200 records
entity card log
entity user log
entity device log
entity merchant buckets 1m x 8, 1h x 3
feature card_count_1h = count() by card_id over 1h
feature user_sum_1h = sum(amount) by user_id over 1h
feature device_count_1h = count() by device_id over 1h
feature merchant_count_3m = count() by merchant over 3m
feature merchant_frauds_1h = fraud_rate() by merchant over 1h delayed 0m
""",
    name="crossing.features",
)
OPTIONS = LedgerOptions(horizon_s=0, deadline_ms=0)


class Rig:
    """
    The stores of both groups in every partition of one server, and one store without partitions beside them.
    """

    def __init__(self, url: str, count: int) -> None:
        self.client = RedisAddress(url=url).commands(4)
        self.partitions = Partitions(count)
        self.parts = [Part(keys, self.client) for keys in self.partitions.all()]

    def store(self, group: str, home: int) -> RedisScatteredStore:
        return RedisScatteredStore(home, self.parts, group=group, features=FEATURES, options=OPTIONS, clock=RedisClock())

    def plain(self) -> RedisEntityStore:
        return RedisEntityStore(
            self.client,
            stream="transactions:raw",
            group=RULES,
            features=FEATURES,
            keys=Keys(),
            options=OPTIONS,
            clock=RedisClock(),
        )

    async def close(self) -> None:
        await self.client.aclose()
        await self.client.connection_pool.disconnect()


def payments(rng: random.Random, count: int) -> list[Transaction]:
    """
    Few entities of each kind, so that cards and devices are shared by users of other partitions.
    """
    return [
        a_transaction(
            user_id=f"user_{rng.randrange(6)}",
            card_id=rng.choice([None, *(f"card_{number}" for number in range(8))]),
            device_id=f"device_{rng.randrange(3)}",
            merchant=f"shop_{rng.randrange(4)}",
            amount_minor=rng.randrange(1, 900),
            occurred_at_ms=NOW_MS - 1_000 * rng.randrange(100),
        )
        for _ in range(count)
    ]


def by_home(transactions: Sequence[Transaction], partitions: Partitions) -> dict[int, list[Transaction]]:
    found: dict[int, list[Transaction]] = {}
    for one in transactions:
        found.setdefault(partitions.of(one.user_id or ""), []).append(one)
    return found


def identities(kind: str, raw: bytes | None) -> Counter[bytes]:
    """
    Return the records of a log as whole bytes: nobody has set a flag in them.
    """
    size, log = FEATURES.layouts[kind].size, raw or b""
    return Counter(log[at : at + size] for at in range(0, len(log), size))


def flaky(monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> Counter[str]:
    """
    Let every third round trip of the stores fail, before it is sent or after it was answered.
    """
    plain, seen = redis_scattered.run, Counter[str]()

    async def run(client: Any, commands: Any) -> Any:
        fate = rng.choice(["before", "after", "fine", "fine", "fine", "fine"])
        seen[fate] += 1
        if fate == "before":
            raise RedisConnectionError("cut before it was sent")
        reply = await plain(client, commands)
        if fate == "after":
            raise RedisConnectionError("cut before the reply came")
        return reply

    monkeypatch.setattr(redis_scattered, "run", run)
    return seen


@pytest.mark.parametrize("count", [2, 7])
async def test_interrupted_touches_of_both_groups_move_every_state_once(
    valkey: LocalValkey, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    rng = random.Random(count)
    rig, sent = Rig(valkey.url, count), payments(rng, 150)
    await rig.plain().touch([b"1-0"] * len(sent), sent, records(FEATURES, sent))
    seen = flaky(monkeypatch, rng)

    for home, batch in by_home(sent, rig.partitions).items():
        for group in (RULES, MODEL, RULES):
            for start in range(0, len(batch), 20):
                await touch_until_done(partial(rig.store, group, home), batch[start : start + 20], rng)
    await rig.close()

    assert min(seen.values()) >= 10
    with Redis.from_url(valkey.url) as client:
        assert differences(client, rig.partitions) == []
        assert len(list(client.scan_iter("log:{*"))) == len(list(client.scan_iter("log:[!{]*")))
        assert all(client.ttl(key) > 0 for key in client.scan_iter("moved:*"))


async def touch_until_done(worker: Callable[[], RedisScatteredStore], some: Sequence[Transaction], rng: random.Random) -> None:
    """
    Touch in another order and as another worker each time.
    """
    while True:
        batch = rng.sample(some, len(some))
        try:
            await worker().touch([b"1-0"] * len(batch), batch, records(FEATURES, batch))
        except StreamUnavailable:
            continue
        return


def differences(client: "Redis[bytes]", partitions: Partitions) -> list[str]:
    """
    Compare every state without partitions to the one of the same entity in its partition.
    """
    one, many = StateKeys(FEATURES, Keys()), [StateKeys(FEATURES, keys) for keys in partitions.all()]
    found = []
    for kind, prefix in one.log_prefixes.items():
        for entity in entities(client, prefix):
            placed = many[partitions.of(entity)].log_prefixes[kind] + entity
            if identities(kind, client.get(placed)) != identities(kind, client.get(prefix + entity)):
                found.append(placed)
    for kind, prefix in one.ring_prefixes.items():
        for entity in entities(client, prefix):
            placed = many[partitions.of(entity)].ring_prefixes[kind] + entity
            if client.get(placed) != client.get(prefix + entity):
                found.append(placed)
    return found


def entities(client: "Redis[bytes]", prefix: str) -> list[str]:
    found = [key.decode().removeprefix(prefix) for key in client.scan_iter(f"{prefix}*")]
    assert found, f"nothing begins with {prefix}"
    return found


async def test_values_are_those_of_one_partition(valkey: LocalValkey) -> None:
    rng = random.Random(5)
    rig, sent = Rig(valkey.url, 5), payments(rng, 60)
    plain, scattered = rig.plain(), [rig.store(RULES, home) for home in range(5)]

    for one in sent:
        rows, standing = records(FEATURES, [one]), [Standing.TOUCHED]
        alone = await plain.touch([b"1-0"], [one], rows)
        over = await scattered[rig.partitions.of(one.user_id or "")].touch([b"1-0"], [one], rows)

        assert over.places == alone.places == [Place.FIRST]
        expected = compute(FEATURES, [one], rows, standing, alone.states)
        assert compute(FEATURES, [one], rows, standing, over.states).tobytes() == expected.tobytes()
    await rig.close()


async def test_what_is_known_at_home_moves_nothing_even_where_its_marks_have_gone(valkey: LocalValkey) -> None:
    rig, (one,) = Rig(valkey.url, 4), payments(random.Random(1), 1)
    home = rig.partitions.of(one.user_id or "")
    await rig.store(RULES, home).touch([b"1-0"], [one], records(FEATURES, [one]))

    with Redis.from_url(valkey.url) as client:
        client.delete(*client.scan_iter("moved:*"))
        before = {key: client.get(key) for key in client.scan_iter("log:*")}
        touched = await rig.store(MODEL, home).touch([b"1-0"], [one], records(FEATURES, [one]))
        after = {key: client.get(key) for key in client.scan_iter("log:*")}
    await rig.close()

    assert touched.places == [Place.AGAIN]
    assert after == before


async def test_a_label_reaches_every_partition_and_moves_each_once(valkey: LocalValkey) -> None:
    rig, (one,) = Rig(valkey.url, 6), payments(random.Random(2), 1)
    await rig.store(RULES, rig.partitions.of(one.user_id or "")).touch([b"1-0"], [one], records(FEATURES, [one]))
    label = Label(
        label_id="l1", transaction_id=one.transaction_id, label=LabelValue.FRAUD, source="bank",
        labelled_at=moment(NOW_MS + 60_000),
    )  # fmt: skip
    states = RedisScatteredStates(rig.parts, features=FEATURES)

    told = [await states.tell([(label, one)]), await states.tell([(label, one)])]
    found = await states.read(records(FEATURES, [one]))
    await rig.close()

    assert told == [1, 0]
    for kind in ("card", "user", "device"):
        (log,) = found.logs[kind]
        assert not log or log[FEATURES.layouts[kind].flag_offset] == 4
    (ring,) = found.rings["merchant"]
    assert sum(frauds for _, _, frauds, _ in struct.iter_unpack("<IIId", ring[: len(ring) // 20 * 20])) == 2


class ForgetfulStore:
    """
    A decision store that is away the first time.
    """

    def __init__(self) -> None:
        self.offered: list[int] = []

    async def record(self, decisions: Sequence[Decision]) -> Recorded:
        self.offered.append(len(decisions))
        if len(self.offered) == 1:
            raise DecisionStoreUnavailable("away")
        return Recorded(stored=[one.transaction.transaction_id for one in decisions])

    async def record_labels(self, labels: Sequence[Label]) -> Recorded:
        raise AssertionError(labels)


async def test_what_was_decided_is_noted_in_every_partition_before_it_is_on_record(valkey: LocalValkey) -> None:
    rig, (blocked, fine) = Rig(valkey.url, 5), payments(random.Random(4), 2)
    states = RedisScatteredStates(rig.parts, features=FEATURES)
    for one in (fine, blocked):
        await rig.store(RULES, rig.partitions.of(one.user_id or "")).touch([b"1-0"], [one], records(FEATURES, [one]))
    label = Label(
        label_id="l1", transaction_id=blocked.transaction_id, label=LabelValue.FRAUD, source="bank",
        labelled_at=moment(NOW_MS + 60_000),
    )  # fmt: skip
    await states.tell([(label, blocked)])
    store = OutcomeNotingStore(ForgetfulStore(), states)
    decisions = [a_decision(fine), a_decision(blocked, outcome=Outcome.BLOCK)]

    with pytest.raises(DecisionStoreUnavailable):
        await store.record(decisions)
    recorded = await store.record(decisions)

    flags = {one.transaction_id: await flags_of(states, one) for one in (fine, blocked)}
    await rig.close()
    assert set(recorded.stored) == {fine.transaction_id, blocked.transaction_id}
    assert flags == {fine.transaction_id: {0}, blocked.transaction_id: {4 + 3}}, "fraud, and blocked"


async def flags_of(states: RedisScatteredStates, one: Transaction) -> set[int]:
    """
    Return the flag bytes of a transaction's own records.
    """
    rows = records(FEATURES, [one])
    found = await states.read(rows)
    flags = set()
    for kind, layout in FEATURES.layouts.items():
        (log,) = found.logs[kind]
        if log:
            flags.add(log[place_in(log, rows.identity(0), layout.size) + layout.flag_offset])
    return flags


def test_a_producer_in_any_language_can_tell_where_a_user_is() -> None:
    body = b'{"transaction_id":"txn_1","user_id":"user_9","amount":99.5}'

    assert partition_of(body, Partitions(16)) == 0x6DF4D552 % 16, "the CRC-32 of zip, gzip and Ethernet"
