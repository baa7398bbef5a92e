"""
Entity states that move once, verdicts that join once, stepping in: the protocol's scripts, called in batches.
"""

import itertools
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import DECISIONS, FRAUD, GROUP_BYTE, OTHER_GROUP, Keys
from fraudstream.adapters.redis_scripts import COMPLETE, OVERDUE, TOUCH, Argument, Call, run
from fraudstream.adapters.redis_states import StateKeys
from fraudstream.domain.codec import VerdictRecord, decode_verdict, encode_decision, encode_verdict
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.records import Records, records
from fraudstream.features.states import States
from fraudstream.fleet.ports import Delivery
from fraudstream.stages.ports import Answer, Completed, Completion, FirstVerdicts, Place, Touched

#: Most items of one script call: longer scripts keep everybody else waiting.
CALL_ITEMS = 128
#: Bound on the scan of our own pending entries inside ``complete``.
_PENDING_SCAN = 100_000
#: Keys whose daily refresh we remember; beyond it the memory is cleared, which costs an EXPIRE each and nothing else.
_REMEMBERED_KEYS = 200_000
_DAY_MS = 86_400_000
#: Whether the life of an item's states is to be extended, as the script reads it.
_OLD, _NEW = b"01"
#: What the answers of ``touch`` mean; any other is a record of the other group.
PLACES = {b"T": Place.FIRST, b"t": Place.AGAIN, b"L": Place.LATE, b"D": Place.DUPLICATE, b"d": Place.GONE}
#: Answers of ``touch`` that end an entry.
_ENDED = (b"D", b"d")
_ANSWERS = {b"O": Answer.STORED, b"E": Answer.EMITTED, b"U": Answer.UNNEEDED, b"A": Answer.ABSENT, b"G": Answer.GONE}
#: Values of a transaction's record that a first verdict will replace.
_UNJUDGED = (b"T", b"L")
_NO_FLAG: tuple[Sequence[str | None], bytes] = ((), b"")
#: The low bits of a record's flag byte.
OUTCOME_FLAGS = {Outcome.CHALLENGE: b"\x01", Outcome.REVIEW: b"\x02", Outcome.BLOCK: b"\x03"}


class LedgerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """
    The times of the protocol: ``horizon_s`` bounds deduplication (0 = off), ``deadline_ms`` is how long a first verdict waits.

    ``any_age_s`` stands for the horizon where there is none and records must end some time all the same.
    """

    horizon_s: int = 3600
    any_age_s: int = 3600
    deadline_ms: int = 250
    grace_ms: int = 250

    @property
    def record_ttl_s(self) -> int:
        """
        How long the record of a decided transaction lives; the proof of the protocol needs horizon + 300 s.
        """
        return (self.horizon_s or self.any_age_s) + 300


def _chunks(length: int) -> Iterator[range]:
    return (range(start, min(start + CALL_ITEMS, length)) for start in range(0, length, CALL_ITEMS))


def _flat(replies: Sequence[Sequence[bytes]]) -> list[bytes]:
    return [answer for reply in replies for answer in reply]


def others_in(answers: Sequence[bytes]) -> dict[int, VerdictRecord]:
    """
    Return, by row, the first verdicts among the answers of ``touch``.
    """
    if PLACES.keys() >= set(answers):
        return {}
    return {row: decode_verdict(answer) for row, answer in enumerate(answers) if answer not in PLACES}


def needs_states(row: int, answers: Sequence[bytes], others: Mapping[int, VerdictRecord]) -> bool:
    """
    Say whether a vector is still to be computed: nobody has fixed one, and the transaction is not done.
    """
    return not others[row].vector if row in others else answers[row] not in _ENDED


def _keys(columns: Iterable[Sequence[str | None]]) -> list[str]:
    found: set[str | None] = set().union(*columns)
    found.discard(None)
    return cast("list[str]", list(found))


def _mget(keys: Sequence[str]) -> list[list[Argument]]:
    return [["MGET", *keys]] if keys else []


def _found(keys: Sequence[str], replies: Sequence[Sequence[bytes | None]]) -> dict[str | None, bytes | None]:
    return dict(zip(keys, replies[0], strict=True)) if keys else {}


def _states(keys: Sequence[str | None], found: Mapping[str | None, bytes | None]) -> Sequence[bytes]:
    """
    Return what was found behind the keys, row by row; empty where there is nothing, or was nothing to look for.
    """
    states = list(map(found.get, keys))
    return cast("list[bytes]", states) if all(states) else [state or b"" for state in states]


class RedisEntityStore:
    """
    ``EntityStore`` of one group: ``touch`` and the read of the states share one round trip.
    """

    def __init__(
        self,
        client: Redis,
        *,
        stream: str,
        group: str,
        features: FeatureSet,
        keys: Keys,
        options: LedgerOptions,
        clock: RedisClock,
        record: str = "txn",
    ) -> None:
        self._client = client
        self._features = features
        self._state_keys = StateKeys(features, keys)
        self._txn = keys.prefix(record)
        self._stream = stream
        self._clock = clock
        self._day = 0
        # None stands for an entity that a transaction lacks.
        self._refreshed: set[str | None] = {None}
        # Whether the last calls asked for any life to be extended: if not, there is nothing to remember of their answers. Where
        # two batches are in flight one may be forgotten, and is asked for again.
        self._asked = False
        self._behind = False
        self._head: list[Argument] = [
            group, GROUP_BYTE[group], options.horizon_s * 1000, features.state_ttl_s,
            features.log_cap_records, max(1, features.log_cap_records // 4), len(features.logs), len(features.rings),
            *(layout.size for layout in features.layouts.values()),
        ]  # fmt: skip
        for resolution_ms, offset, slots in features.ring_resolutions if features.rings else ():
            self._head += [resolution_ms, offset, slots]
        self._head.append("|")
        records = [(kind, f"V{layout.size}") for kind, layout in features.layouts.items()]
        self._item = np.dtype([("event", "<f8"), ("amount", "<f8"), ("again", "u1"), *records])

    async def touch(self, entry_ids: Sequence[bytes], transactions: Sequence[Transaction], records: Records) -> Touched:
        """
        Move and read; see the port.

        A group that runs behind finds the other's verdict on most of its transactions, and their states are of no use to it: it
        looks at the answers first and reads what is left in a second round trip.
        """
        logs = self._state_keys.columns(self._state_keys.log_prefixes, records)
        rings = self._state_keys.columns(self._state_keys.ring_prefixes, records)
        calls = self.calls(entry_ids, transactions, records, logs, rings)
        with translated("touch"):
            if self._behind:
                answers = _flat(await run(self._client, calls))
                others = others_in(answers)
                asking = [row for row in range(len(answers)) if needs_states(row, answers, others)]
                found = await self._read(_keys([column[row] for row in asking] for column in (*logs, *rings)))
            else:
                wanted = _keys((*logs, *rings))
                replies = await run(self._client, [*calls, *_mget(wanted)])
                answers, found = _flat(replies[: len(calls)]), _found(wanted, replies[len(calls) :])
                others = others_in(answers)
        self._behind = len(others) * 2 > len(answers)
        self.extended(answers, (*logs, *rings))
        return Touched(
            places=[PLACES.get(answer, Place.OTHER) for answer in answers],
            others=others,
            states=States(
                logs={kind: _states(keys, found) for kind, keys in zip(self._features.logs, logs, strict=True)},
                rings={kind: _states(keys, found) for kind, keys in zip(self._features.rings, rings, strict=True)},
            ),
        )

    async def _read(self, wanted: Sequence[str]) -> dict[str | None, bytes | None]:
        return _found(wanted, await run(self._client, _mget(wanted))) if wanted else {}

    def extended(self, answers: Sequence[bytes], columns: Sequence[Sequence[str | None]]) -> None:
        """
        Remember whose life was extended: only a first touch does; what it was asked of in vain is asked again.
        """
        if not self._asked:
            return
        if answers.count(b"T") == len(answers):
            self._refreshed.update(*columns)
        else:
            self._refreshed.update(column[i] for i, answer in enumerate(answers) if answer == b"T" for column in columns)

    def calls(
        self,
        entry_ids: Sequence[bytes],
        transactions: Sequence[Transaction],
        records: Records,
        logs: Sequence[Sequence[str | None]],
        rings: Sequence[Sequence[str | None]],
    ) -> list[Call]:
        """
        Return the calls that move these states, by column and row; None is passed over.
        """
        columns = (*logs, *rings)
        txns = [self._txn + one.transaction_id for one in transactions]
        filled = [column if all(column) else [key or txn for key, txn in zip(column, txns, strict=True)] for column in columns]
        keys = list(itertools.chain.from_iterable(zip(txns, *filled, strict=True)))
        items, step, width = self._items(records, columns), 1 + len(columns), self._item.itemsize
        return [
            Call(
                TOUCH,
                [self._stream, *keys[chunk.start * step : chunk.stop * step]],
                [*self._head, items[chunk.start * width : chunk.stop * width], b" ".join(entry_ids[chunk.start : chunk.stop])],
            )
            for chunk in _chunks(len(entry_ids))
        ]

    def _items(self, records: Records, columns: Sequence[Sequence[str | None]]) -> bytes:
        """
        Return what the script must know of each transaction, one after the other.
        """
        table = np.zeros(len(records.hashes), self._item)
        table["event"] = records.occurred_s * 1_000
        table["amount"] = records.amounts
        table["again"] = self._again(columns, len(table))
        for kind, packed in records.packed.items():
            table[kind] = np.frombuffer(b"".join(packed), self._item[kind])
        return table.tobytes()

    def _again(self, columns: Sequence[Sequence[str | None]], rows: int) -> NDArray[np.uint8]:
        """
        Say of each row ('1' or '0' as a byte) whether the life of its states is to be extended: for the first event of each day
        that this process sees of them.
        """
        day = self._clock.now_ms() // _DAY_MS
        if day != self._day or len(self._refreshed) > _REMEMBERED_KEYS:
            self._day, self._refreshed = day, {None}
        known = self._refreshed
        self._asked = not all(map(known.issuperset, columns))
        if not self._asked:
            return np.full(rows, _OLD, np.uint8)
        old = np.fromiter(map(known.issuperset, zip(*columns, strict=True)), np.bool_, rows)
        return np.where(old, _OLD, _NEW).astype(np.uint8)


class RedisVerdictLedger:
    """
    ``VerdictLedger`` of one group and consumer.
    """

    def __init__(
        self,
        client: Redis,
        *,
        stream: str,
        group: str,
        consumer: str,
        features: FeatureSet,
        keys: Keys,
        options: LedgerOptions,
        clock: RedisClock,
    ) -> None:
        self._client = client
        self._features = features
        self._state_keys = StateKeys(features, keys)
        self._clock = clock
        self._txn = keys.prefix("txn")
        self._group_byte = GROUP_BYTE[group]
        self._other_byte = GROUP_BYTE[OTHER_GROUP[group]]
        self._streams: list[Argument] = [stream, keys.stream(DECISIONS), keys.stream(FRAUD), keys.waiting(OTHER_GROUP[group])]
        self._head: list[Argument] = [group, self._group_byte, consumer, options.record_ttl_s, options.deadline_ms]
        self._process = os.urandom(4)
        self._writes = itertools.count()

    async def verdicts(self, transaction_ids: Sequence[str]) -> FirstVerdicts:
        """
        Look; see the port.
        """
        with translated("verdicts"):
            (values,) = await run(self._client, [["MGET", *(self._txn + identity for identity in transaction_ids)]])
        other = self._other_byte
        return FirstVerdicts(
            others={i: decode_verdict(value) for i, value in enumerate(values) if value is not None and value[:1] == other},
            coming=[i for i, value in enumerate(values) if value is None or value in _UNJUDGED],
        )

    async def complete(self, completions: Sequence[Completion]) -> Completed:
        """
        Note or join; see the port.
        """
        calls = [self._call([completions[i] for i in chunk]) for chunk in _chunks(len(completions))]
        with translated("complete"):
            replies = await run(self._client, calls)
        now_ms = int(replies[-1][0])
        self._clock.observe(now_ms)
        answers: list[bytes] = [answer for reply in replies for answer in reply[1:]]
        return Completed(
            now_ms=now_ms,
            answers=[_ANSWERS.get(answer, Answer.OTHER) for answer in answers],
            others={i: decode_verdict(answer) for i, answer in enumerate(answers) if answer not in _ANSWERS},
        )

    def _call(self, completions: Sequence[Completion]) -> Call:
        keys = list(self._streams)
        flags = self._flags(completions)
        marked: list[Argument] = []
        args: list[Argument] = [
            *self._head, completions[0].entry_id, completions[-1].entry_id, _PENDING_SCAN,
            len(completions), len(self._features.logs), *(layout.size for layout in self._features.layouts.values()),
            len(self._txn.encode()),
        ]  # fmt: skip
        for i, completion in enumerate(completions):
            txn = self._txn + completion.transaction_id
            logs, marks = flags.get(i, _NO_FLAG)
            keys.append(txn)
            marked += [txn if key is None else key for key in logs]
            if completion.decision is None:
                args += (completion.entry_id, encode_verdict(self._record(completion)), b"")
            else:
                args += (completion.entry_id, b"", _emission(completion.basis, completion.decision, marks))
        return Call(COMPLETE, [*keys, *marked], args)

    def _record(self, completion: Completion) -> VerdictRecord:
        return VerdictRecord(
            group=self._group_byte,
            write_id=self._process + struct.pack("<I", next(self._writes) & 0xFFFFFFFF),
            feature_set=completion.feature_set,
            vector=completion.vector,
            verdict=completion.verdict,
        )

    def _flags(self, completions: Sequence[Completion]) -> dict[int, tuple[Sequence[str | None], bytes]]:
        """
        Return, by position, the logs of a flagged transaction and what to set in its records there, where a feature looks at
        past outcomes.
        """
        if not self._features.reads_outcome:
            return {}
        flagged = [
            (i, completion.decision)
            for i, completion in enumerate(completions)
            if completion.decision is not None and completion.decision.flagged
        ]
        rows = records(self._features, [decision.transaction for _, decision in flagged])
        columns = self._state_keys.columns(self._state_keys.log_prefixes, rows)
        return {
            i: (
                [column[row] for column in columns],
                rows.identity(row) + OUTCOME_FLAGS[decision.outcome],
            )
            for row, (i, decision) in enumerate(flagged)
        }


def _emission(basis: bytes, decision: Decision, marks: bytes) -> bytes:
    """
    Return a decision with everything about it in one word: each word of a call costs Redis more than the bytes in it.
    """
    return b"%b%d%c%b%b" % (basis, decision.flagged, len(marks), marks, encode_decision(decision))


class RedisOverdue:
    """
    ``OverdueSource`` of a lagging group.
    """

    def __init__(self, client: Redis, *, stream: str, group: str, consumer: str, keys: Keys, options: LedgerOptions) -> None:
        self._client = client
        self._keys = (stream, keys.waiting(group))
        self._head = (group, consumer, options.grace_ms)

    async def overdue(self, count: int) -> tuple[list[Delivery], bool]:
        """
        Take over what is overdue; see the port.
        """
        with translated("overdue"):
            (reply,) = await run(self._client, [Call(OVERDUE, self._keys, (*self._head, min(count, CALL_ITEMS)))])
        more, entries = reply
        return [_overdue(entry) for entry in entries], bool(more)


def _overdue(entry: Sequence[Any]) -> Delivery:
    entry_id, flat = entry[0], entry[1] if len(entry) > 1 else None
    return Delivery(entry_id=entry_id, fields=dict(zip(flat[::2], flat[1::2], strict=True)) if flat else None)
