"""
The protocol of both verdict groups on a real server, without stages: touch, complete, step in, and what stands there after.
"""

import struct
from collections.abc import Mapping, Sequence

from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import DECISIONS, FRAUD
from fraudstream.adapters.redis_stream import RedisTransactionStream
from fraudstream.adapters.redis_touch import RedisEntityStore
from fraudstream.adapters.redis_verdicts import LedgerOptions, RedisOverdue, RedisVerdictLedger
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.decision_codec import VerdictRecord, decode_decision
from fraudstream.domain.evidence import ModelVerdict, RulesVerdict, Verdict
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.layout import IDENTITY_BYTES
from fraudstream.features.load import load_features
from fraudstream.features.records import records
from fraudstream.stages.ports import Answer, Completed, Completion, Touched
from tests.support.builders import a_decision
from tests.support.streams import RedisStreams

RULES, MODEL = "fraud-check", "ml-scoring"
#: Two logs of at most 8 records and a ring of two resolutions, with a feature that looks at past outcomes.
SMALL = load_features(
    """
version 1
keep 8 records
entity card log
entity user log
entity merchant buckets 1m x 4, 1h x 3
feature amount_minor = amount
feature card_count_1h = count() by card_id over 1h
feature card_not_blocked_1h = count() by card_id over 1h where outcome != "block"
feature user_sum_1h = sum(amount) by user_id over 1h
feature merchant_count_3m = count() by merchant over 3m
""",
    name="small.features",
)


def record_identities(features: FeatureSet, transactions: Sequence[Transaction]) -> list[int]:
    """
    Return by what each transaction is told apart in its logs.
    """
    rows = records(features, transactions)
    return [int.from_bytes(rows.identity(row), "little") for row in range(len(transactions))]


VECTOR = struct.pack("<5f", 1250.0, 0.0, 0.0, 0.0, 0.0)
#: No deduplication horizon and no deadline, as in a replay of history; tests that need them say so.
UNBOUNDED = LedgerOptions(horizon_s=0, deadline_ms=0)


class Side:
    """
    One worker of one group: its stream, its states and its ledger.
    """

    def __init__(self, streams: RedisStreams, group: str, consumer: str, features: FeatureSet, options: LedgerOptions) -> None:
        clock = RedisClock()
        client = streams.address.commands(2)
        self._client = client
        self.group = group
        self.features = features
        self.stream: RedisTransactionStream = streams.consumer(consumer, group=group)
        self.entities = RedisEntityStore(
            client, stream=streams.stream, group=group, features=features, keys=streams.keys, options=options, clock=clock
        )
        self.ledger = RedisVerdictLedger(
            client,
            stream=streams.stream,
            group=group,
            consumer=consumer,
            features=features,
            keys=streams.keys,
            options=options,
            clock=clock,
        )
        self.overdue = RedisOverdue(
            client, stream=streams.stream, group=group, consumer=consumer, keys=streams.keys, options=options, clock=clock
        )

    async def read(self, count: int = 1000) -> list[bytes]:
        await self.stream.open()
        return [delivery.entry_id for delivery in await self.stream.read(count, 1)]

    async def touch(self, entries: Sequence[bytes], transactions: Sequence[Transaction]) -> Touched:
        return await self.entities.touch(entries, transactions, records(self.features, transactions))

    async def complete(
        self,
        entries: Sequence[bytes],
        transactions: Sequence[Transaction],
        *,
        others: Mapping[int, VerdictRecord] | None = None,
        outcome: Outcome = Outcome.APPROVE,
    ) -> Completed:
        """
        Complete with a decision of one outcome wherever the other group's record is given.
        """
        completions = [
            Completion(
                entry_id=entry,
                transaction_id=transaction.transaction_id,
                verdict=self.verdict(),
                feature_set=self.features.id,
                vector=VECTOR,
                basis=others[row].write_id if others and row in others else b"",
                decision=a_decision(transaction, outcome=outcome) if others and row in others else None,
            )
            for row, (entry, transaction) in enumerate(zip(entries, transactions, strict=True))
        ]
        return await self.ledger.complete(completions)

    async def decide(
        self, entries: Sequence[bytes], transactions: Sequence[Transaction], *, outcome: Outcome = Outcome.APPROVE
    ) -> list[Answer]:
        """
        Complete, and once more against whatever first verdicts stand there; return the last answer of each.
        """
        completed = await self.complete(entries, transactions)
        answers = list(completed.answers)
        rows = sorted(completed.others)
        if rows:
            again = await self.complete(
                [entries[row] for row in rows],
                [transactions[row] for row in rows],
                others={place: completed.others[row] for place, row in enumerate(rows)},
                outcome=outcome,
            )
            for row, answer in zip(rows, again.answers, strict=True):
                answers[row] = answer
        return answers

    async def decide_for_both(
        self, entries: Sequence[bytes], transactions: Sequence[Transaction], beside: str, *, outcome: Outcome = Outcome.APPROVE
    ) -> list[Answer]:
        """
        Decide from the verdicts of both groups at once, with ``beside`` as the consumer of the other.
        """
        completions = [
            Completion(
                entry_id=entry,
                transaction_id=transaction.transaction_id,
                verdict=self.verdict(),
                feature_set=self.features.id,
                vector=VECTOR,
                decision=a_decision(transaction, outcome=outcome),
            )
            for entry, transaction in zip(entries, transactions, strict=True)
        ]
        return list((await self.ledger.decide(completions, beside)).answers)

    def verdict(self) -> Verdict:
        return RulesVerdict(rule_set="r") if self.group == RULES else ModelVerdict(model="m", score=0.25)

    async def close(self) -> None:
        await self._client.aclose()
        await self._client.connection_pool.disconnect()


class VerdictRig:
    """
    Workers of both groups over one server.
    """

    def __init__(self, url: str, *, features: FeatureSet = SMALL, tag: str = "") -> None:
        self.streams = RedisStreams(url, tag=tag)
        self.features = features
        self._sides: list[Side] = []

    def side(self, group: str = RULES, consumer: str = "", *, options: LedgerOptions = UNBOUNDED) -> Side:
        """
        Return a worker; a name of its own where none is given.
        """
        name = consumer or f"{group}-{len(self._sides)}"
        side = Side(self.streams, group, name, self.features, options)
        self._sides.append(side)
        return side

    def log(self, kind: str, entity: str) -> bytes:
        key = f"{self.streams.keys.prefix('log')}{self.features.layouts[kind].id}:{kind}:{entity}"
        return bytes(self.streams.client.get(key) or b"")

    def log_ids(self, kind: str, entity: str) -> list[int]:
        """
        Return what the records of a log say of whom they are, oldest first: ``record_identities`` of their transactions.
        """
        log, size = self.log(kind, entity), self.features.layouts[kind].size
        assert len(log) % size == 0
        return [int.from_bytes(log[at : at + IDENTITY_BYTES], "little") for at in range(0, len(log), size)]

    def flags(self, kind: str, entity: str) -> list[int]:
        log, size = self.log(kind, entity), self.features.layouts[kind].size
        return [log[at - 1] for at in range(size, len(log) + 1, size)]

    def ring(self, kind: str, entity: str) -> bytes:
        key = f"{self.streams.keys.prefix('ring')}{self.features.ring_layout}:{kind}:{entity}"
        return bytes(self.streams.client.get(key) or b"")

    def ring_counts(self, entity: str) -> tuple[int, float]:
        """
        Return the count and the sum in the first resolution of a merchant's ring.
        """
        _, offset, slots = self.features.ring_resolutions[0]
        raw = self.ring("merchant", entity)[offset : offset + 20 * slots]
        found = list(struct.iter_unpack("<IIId", raw[: len(raw) // 20 * 20]))
        return sum(slot[1] for slot in found), sum(slot[3] for slot in found)

    def decisions(self) -> list[Decision]:
        entries = self.streams.client.xrange(self.streams.keys.stream(DECISIONS))
        return [decode_decision(body) for _, fields in entries for body in fields.values()]

    def frauds(self) -> list[str]:
        entries = self.streams.client.xrange(self.streams.keys.stream(FRAUD))
        return [fields[b"transaction_id"].decode() for _, fields in entries]

    def now_ms(self) -> int:
        seconds, micros = self.streams.client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def txn_key(self, transaction: Transaction) -> str:
        return self.streams.keys.txn(transaction.transaction_id)

    async def close(self) -> None:
        for side in self._sides:
            await side.close()
        await self.streams.close()
