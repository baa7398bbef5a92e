"""
CPU of talking to Redis, client and server apart, for each step of a payment: ``python benchmarks/scripts.py``.

A Valkey of our own, one process, batches of 256. The figures are of the machine and the moment; on a busy one compare two
versions by turns, not runs that lie apart.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_intake import AdmissionLimits, RedisIntake
from fraudstream.adapters.redis_keys import RAW, Keys
from fraudstream.adapters.redis_stream import RedisTransactionStream, StreamOptions, consumer_name
from fraudstream.adapters.redis_touch import RedisEntityStore
from fraudstream.adapters.redis_verdicts import LedgerOptions, RedisVerdictLedger
from fraudstream.app.loading import Rulebook, load_rulebook
from fraudstream.app.run import collect_seldom
from fraudstream.domain.evidence import ModelVerdict, RulesVerdict
from fraudstream.features.records import records
from fraudstream.local import LocalValkey
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate
from fraudstream.settings import Settings
from fraudstream.stages.case import Case
from fraudstream.stages.intake import decode_batch
from fraudstream.stages.join import join
from fraudstream.stages.ports import Completion

BATCH, BATCHES = 256, 60
OPTIONS = LedgerOptions(horizon_s=0, deadline_ms=250)
#: Verdicts as long as real ones.
RULES = RulesVerdict(rule_set="9" * 64, lists={"trusted_cards": "c4ce53f82f55f109", "disposable_email": "f08277981534317c"})
MODEL = ModelVerdict(model="1" * 64, score=0.0004968643188476562)


class Clocks:
    """
    CPU seconds of this process and of the server, by step.
    """

    def __init__(self, pid: int) -> None:
        self._server = Path(f"/proc/{pid}/schedstat")
        self.spent: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """
        Add what is spent inside to a step.
        """
        client, server = self._now()
        yield
        after = self._now()
        self.spent[name][0] += after[0] - client
        self.spent[name][1] += after[1] - server

    def _now(self) -> tuple[float, float]:
        return time.process_time(), int(self._server.read_text().split()[0]) / 1e9


class Side:
    """
    One consumer of one deciding group.
    """

    def __init__(self, client: Redis, address: RedisAddress, book: Rulebook, group: str) -> None:
        keys, clock, features = Keys(), RedisClock(), book.features
        self.reader = address.reader()
        self.stream = RedisTransactionStream(
            self.reader, client, stream=RAW, group=group, consumer=consumer_name(), keys=keys, options=StreamOptions()
        )
        self.entities = RedisEntityStore(
            client, stream=RAW, group=group, features=features, keys=keys, options=OPTIONS, clock=clock
        )
        self.ledger = RedisVerdictLedger(
            client, stream=RAW, group=group, consumer=self.stream.consumer, features=features, keys=keys, options=OPTIONS,
            clock=clock,
        )  # fmt: skip


async def main() -> None:
    """
    Print microseconds per payment.
    """
    book, now_ms = load_rulebook(Settings()), int(time.time() * 1000)
    bodies = [one.body for one in generate(demo_plan(3, end_ms=now_ms, transactions=BATCH * BATCHES))]
    with LocalValkey() as valkey:
        address, clocks = RedisAddress(url=valkey.url), Clocks(valkey.pid)
        async with connected(address) as client:
            intake = RedisIntake(client, stream=RAW, limits=AdmissionLimits())
            rules, model = Side(client, address, book, "fraud-check"), Side(client, address, book, "ml-scoring")
            await rules.stream.open()
            await model.stream.open()
            collect_seldom()
            for start in range(0, len(bodies), BATCH):
                with clocks.step("append"):
                    await intake.append(bodies[start : start + BATCH])
                await one_batch(rules, model, book, clocks, now_ms)
            await rules.reader.aclose()
            await model.reader.aclose()
    for name, (client_s, server_s) in clocks.spent.items():
        print(f"{name:15} client {client_s / len(bodies) * 1e6:5.2f} us, server {server_s / len(bodies) * 1e6:5.2f} us")


async def one_batch(rules: Side, model: Side, book: Rulebook, clocks: Clocks, now_ms: int) -> None:
    """
    Take one batch through both groups; both read it.
    """
    with clocks.step("read, twice"):
        batch = await rules.stream.read(BATCH, 10)
        await model.stream.read(BATCH, 10)
    cases, _ = decode_batch(batch, now_ms=now_ms, default_currency="USD")
    paid, entries = [case.transaction for case in cases], [case.delivery.entry_id for case in cases]
    prepared = records(book.features, paid)
    with clocks.step("touch"):
        await rules.entities.touch(entries, paid, prepared)
    vector = os.urandom(4 * len(book.features.names))
    with clocks.step("first verdict"):
        await rules.ledger.complete([first(case, book, vector) for case in cases])
    with clocks.step("look"):
        found = await model.ledger.verdicts([one.transaction_id for one in paid])
    decisions = [
        join(book.policy, one, MODEL, found.others[at].verdict, feature_set=book.features.id, vector=vector,
             received_at_ms=now_ms, now_ms=now_ms)
        for at, one in enumerate(paid)
    ]  # fmt: skip
    with clocks.step("second verdict"):
        await model.ledger.complete(
            [
                Completion(
                    entry_id=entry, transaction_id=one.transaction_id, verdict=MODEL, feature_set=book.features.id,
                    vector=vector, basis=found.others[at].write_id, decision=decisions[at],
                )
                for at, (entry, one) in enumerate(zip(entries, paid, strict=True))
            ]
        )  # fmt: skip


def first(case: Case, book: Rulebook, vector: bytes) -> Completion:
    """
    Return the completion of the group that comes first.
    """
    return Completion(
        entry_id=case.delivery.entry_id, transaction_id=case.transaction.transaction_id, verdict=RULES,
        feature_set=book.features.id, vector=vector,
    )  # fmt: skip


if __name__ == "__main__":
    uvloop.run(main())
