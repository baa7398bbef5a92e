"""
Whole workers of both groups on a real server, with duplicates, poison and cut connections: exact sets at the end.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from redis.asyncio import Redis

from fraudstream.adapters.redis_stream import RedisHeart, RedisTransactionStream, StreamOptions
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.evidence import Fallback, Verdict
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.fleet.hands import Limits
from fraudstream.fleet.ports import TRIED_ALONE
from fraudstream.fleet.worker import Worker
from fraudstream.local import LocalValkey
from fraudstream.stages.step_in import StepIn
from fraudstream.stages.verdict import VerdictRoad
from tests.support.fake_verdicts import FixedClock, RememberingVerdictReport, ScriptedJudge
from tests.support.fleet import RememberingReport
from tests.support.roads import a_payment
from tests.support.verdicts import MODEL, RULES, SMALL, Side, VerdictRig, record_identities
from tests.support.wait import wait_until

#: Short lives and pauses, so that what is left behind is taken over within a test; no busy machine may look dead.
TIMES = StreamOptions(heartbeat_life_s=2.0, claim_idle_s=2.0)
LIMITS = Limits(
    batch_entries=64,
    batches_in_hand=2,
    max_deliveries=3,
    block_ms=20,
    heartbeat_life_s=2.0,
    drain_timeout_s=5.0,
    due_every_s=0.02,
    claim_every_s=0.05,
    stranded_every_s=0.3,
    retry_first_s=0.005,
    retry_longest_s=0.05,
    pause_first_s=0.005,
    pause_longest_s=0.05,
)
NO_DEADLINE = LedgerOptions(horizon_s=0, deadline_ms=0)
DEADLINE = LedgerOptions(horizon_s=0, deadline_ms=50, grace_ms=50)


class Fleet:
    """
    Workers that run for the length of a test.
    """

    def __init__(self, rig: VerdictRig, options: LedgerOptions) -> None:
        self._rig = rig
        self._options = options
        self._running: list[tuple[Worker, asyncio.Task[None]]] = []
        self._readers: list[Redis] = []
        self.judges: list[ScriptedJudge] = []
        self.reports: list[RememberingReport] = []

    def start(self, group: str, *, poison: frozenset[str] = frozenset(), stepping_in: bool = False) -> None:
        judge = ScriptedJudge("rules" if group == RULES else "model")

        def say(transaction: Transaction) -> Verdict:
            if transaction.transaction_id in poison:
                raise ValueError(f"cannot judge {transaction.transaction_id}")
            return judge.opinion()

        judge.say = say
        side = self._rig.side(group, options=self._options)
        stream = self._stream(side)
        road = VerdictRoad(
            judge,
            side.entities,
            side.ledger,
            stream,
            features=SMALL,
            policy=DecisionPolicy(),
            clock=FixedClock(),
            default_currency="USD",
            report=RememberingVerdictReport(),
        )
        report = RememberingReport()
        worker = Worker(
            StepIn(road) if stepping_in else road,
            stream,
            RedisHeart(self._rig.streams.address, stream, self._rig.streams.keys, TIMES),
            limits=LIMITS,
            report=report,
            rng=random.Random(len(self._running)),
            overdue=side.overdue if stepping_in else None,
            overdue_every_s=0.01,
        )
        self.judges.append(judge)
        self.reports.append(report)
        self._running.append((worker, asyncio.create_task(worker.run())))

    def _stream(self, side: Side) -> RedisTransactionStream:
        reader = self._rig.streams.address.reader()
        self._readers.append(reader)
        return RedisTransactionStream(
            reader,
            side._client,
            stream=side.stream.name,
            group=side.group,
            consumer=side.stream.consumer,
            keys=self._rig.streams.keys,
            options=TIMES,
        )

    async def stop(self) -> None:
        for worker, _ in self._running:
            worker.stop()
        await asyncio.gather(*(task for _, task in self._running))
        self._running.clear()
        for reader in self._readers:
            await reader.aclose()


@pytest.fixture
async def rig(valkey: LocalValkey) -> AsyncIterator[VerdictRig]:
    rig = VerdictRig(valkey.url)
    yield rig
    await rig.close()


def publish(rig: VerdictRig, bodies: Sequence[bytes]) -> None:
    pipeline = rig.streams.client.pipeline(transaction=False)
    for body in bodies:
        pipeline.xadd(rig.streams.stream, {"data": body})
    pipeline.execute()


async def all_over(rig: VerdictRig, groups: Sequence[str] = (RULES, MODEL)) -> bool:
    about = rig.streams.client.xinfo_stream(rig.streams.stream)
    states = {one["name"].decode(): one for one in rig.streams.client.xinfo_groups(rig.streams.stream)}
    await asyncio.sleep(0.02)
    return all(
        group in states and states[group]["pending"] == 0 and states[group]["last-delivered-id"] == about["last-generated-id"]
        for group in groups
    )


def payments(count: int) -> tuple[list[str], list[bytes]]:
    """
    Return ids, and bodies in which three of a hundred come a second time.
    """
    rng = random.Random(11)
    identities = [f"txn_{number}" for number in range(count)]
    bodies = [
        a_payment(identity, card_id=f"card_{rng.randrange(50)}", user_id=f"user_{rng.randrange(50)}") for identity in identities
    ]
    again = [(min(count, place + rng.randrange(1, 200)), bodies[place]) for place in rng.sample(range(count), count * 3 // 100)]
    for place, body in sorted(again, reverse=True):
        bodies.insert(place, body)
    return identities, bodies


def decided(rig: VerdictRig) -> Counter[str]:
    return Counter(one.transaction.transaction_id for one in rig.decisions())


async def test_every_payment_is_decided_once_through_cut_connections_duplicates_and_poison(rig: VerdictRig) -> None:
    identities, bodies = payments(1500)
    poison = frozenset(identities[100:1500:300])
    broken = [b"{broken %d" % number for number in range(5)]
    fleet = Fleet(rig, NO_DEADLINE)
    for group in (RULES, RULES, MODEL, MODEL):
        fleet.start(group, poison=poison if group == MODEL else frozenset())
    await wait_until(lambda: all("running" in report.states for report in fleet.reports), "all workers run")

    rng = random.Random(5)
    for at in range(0, len(bodies), 150):
        publish(rig, bodies[at : at + 150])
        publish(rig, broken[:1])
        del broken[:1]
        await asyncio.sleep(rng.uniform(0.0, 0.1))
        rig.streams.client.client_kill_filter(_type="normal", skipme=True)
    await wait_until(lambda: all_over(rig), "everything has an end")
    await fleet.stop()

    assert decided(rig) == Counter(identities)
    letters = rig.streams.letters()
    assert Counter(letter["reason"] for letter in letters) == {b"decode_error": 5, b"max_retries": len(poison)}
    lettered = {
        msgspec.json.decode(letter["data"])["transaction_id"] for letter in letters if letter["reason"] == b"max_retries"
    }
    assert lettered == poison
    degraded = {one.transaction.transaction_id: one.degraded for one in rig.decisions() if one.degraded}
    assert degraded == dict.fromkeys(poison, (Fallback.DEAD_LETTER,))
    sent = {
        one.transaction_id: one for one in (parse_transaction(body, now_ms=2**62, default_currency="USD") for body in bodies)
    }
    recorded = Counter(identity for number in range(50) for identity in rig.log_ids("card", f"card_{number}"))
    assert recorded <= Counter(record_identities(SMALL, list(sent.values()))), "full logs have dropped the others"
    assert recorded.total() > 50 * 5
    assert rig.ring_counts("Shop")[0] == len(identities)
    assert rig.streams.consumers() == set()


async def test_while_the_model_group_is_away_decisions_are_made_without_it(rig: VerdictRig) -> None:
    identities, bodies = payments(300)
    await rig.side(MODEL).stream.open()
    fleet = Fleet(rig, DEADLINE)
    fleet.start(RULES)
    fleet.start(MODEL, stepping_in=True)

    publish(rig, bodies)
    await wait_until(lambda: len(rig.decisions()) == 300, "every payment is decided")
    await wait_until(lambda: all_over(rig), "nothing is left over")
    await wait_until(lambda: rig.streams.client.zcard("waiting:ml-scoring") == 0, "nothing is waited for")
    await fleet.stop()

    assert decided(rig) == Counter(identities)
    assert {one.degraded for one in rig.decisions()} == {(Fallback.MODEL_DEADLINE,)}
    assert rig.streams.letters() == []


async def test_a_model_group_that_comes_back_goes_on_without_degraded_decisions(rig: VerdictRig) -> None:
    identities, bodies = payments(400)
    await rig.side(MODEL).stream.open()
    fleet = Fleet(rig, LedgerOptions(horizon_s=0, deadline_ms=2_500, grace_ms=500))
    fleet.start(RULES)
    fleet.start(MODEL, stepping_in=True)
    publish(rig, bodies[:200])
    await wait_until(lambda: all_over(rig), "the first half was decided without the model")
    first = decided(rig)

    fleet.start(MODEL)
    await wait_until(lambda: "running" in fleet.reports[-1].states, "the model is back")
    publish(rig, bodies[200:])
    await wait_until(lambda: all_over(rig), "everything was decided")
    await fleet.stop()

    assert decided(rig) == Counter(identities)
    assert not any(one.degraded for one in rig.decisions() if one.transaction.transaction_id not in first)


async def test_workers_that_leave_hand_over_without_a_gap(rig: VerdictRig) -> None:
    """
    A rolling restart: each worker is stopped with work in hand, and another one is started.
    """
    identities, bodies = payments(1000)
    fleets = [Fleet(rig, NO_DEADLINE)]
    for group in (RULES, MODEL):
        fleets[-1].start(group)
    for at in range(0, len(bodies), 200):
        publish(rig, bodies[at : at + 200])
        fleets.append(Fleet(rig, NO_DEADLINE))
        for group in (RULES, MODEL):
            fleets[-1].start(group)
        await asyncio.sleep(0.01)
        await fleets[-2].stop()
    await wait_until(lambda: all_over(rig), "everything was decided")
    await fleets[-1].stop()

    assert decided(rig) == Counter(identities)
    assert rig.streams.letters() == []
    assert rig.streams.consumers() == set()


async def test_a_worker_that_hangs_loses_its_entries_and_its_late_result(rig: VerdictRig) -> None:
    """
    Its heart stops with its loop; what it held is judged by another, and its own verdict comes too late.
    """
    identities, bodies = payments(50)
    fleet = Fleet(rig, NO_DEADLINE)
    fleet.start(MODEL)
    zombie = rig.side(RULES)
    await zombie.stream.open()
    publish(rig, bodies)
    held = await zombie.stream.read(30, 1)
    rig.streams.beat(zombie.stream.consumer, (), life_s=0.1)

    fleet.start(RULES)
    await wait_until(lambda: all_over(rig), "everything was decided by others")
    transactions = [
        Transaction(transaction_id=f"txn_{number}", amount_minor=1250, currency="USD", occurred_at_ms=1)
        for number in range(len(held))
    ]
    late = await zombie.complete([delivery.entry_id for delivery in held], transactions)
    await fleet.stop()

    assert {answer.value for answer in late.answers} == {"gone"}
    assert decided(rig) == Counter(identities)
    assert sum(report.reclaimed_entries for report in fleet.reports) == 30


async def test_a_stage_that_dies_of_one_entry_each_time_loses_only_that_entry(rig: VerdictRig) -> None:
    """
    The process ends every time it meets the poison; what tells who it was is what it said before it tried it alone.
    """
    entries = rig.streams.add(20)
    poison = entries[7]
    done: Counter[bytes] = Counter()
    deaths = 0

    async def one_life(name: str) -> bool:
        nonlocal deaths
        stream = rig.streams.consumer(name)
        await stream.open()
        while batch := await stream.claim(100) or await stream.read(100, 1):
            for delivery in batch:
                if delivery.deliveries > LIMITS.max_deliveries:
                    done[delivery.entry_id] += 100
                    await stream.acknowledge([delivery.entry_id])
                    continue
                if delivery.deliveries >= TRIED_ALONE:
                    await stream.accuse(delivery.entry_id, delivery.deliveries + 1, proven=True, alone=True)
                if delivery.entry_id == poison:
                    deaths += 1
                    return True
                done[delivery.entry_id] += 1
                await stream.acknowledge([delivery.entry_id])
        return False

    life = 0
    while await one_life(f"life-{life}"):
        life += 1

    assert deaths == LIMITS.max_deliveries
    assert done == {entry: 100 if entry == poison else 1 for entry in entries}
