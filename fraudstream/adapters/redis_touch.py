"""
Entity states that move once: the script ``touch`` and the read of the states, called in batches.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import GROUP_BYTE, Keys
from fraudstream.adapters.redis_scripts import TOUCH, Argument, Call, run
from fraudstream.adapters.redis_states import StateKeys
from fraudstream.adapters.redis_verdicts import LedgerOptions, chunks
from fraudstream.domain.decision_codec import VerdictRecord, decode_verdict
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.records import Records
from fraudstream.features.states import States
from fraudstream.stages.ports import Place, Touched
from fraudstream.stages.selection import part_of_records

#: Keys whose daily refresh we remember; beyond it the memory is cleared, which costs an EXPIRE each and nothing else.
_REMEMBERED_KEYS = 200_000
_DAY_MS = 86_400_000
#: Whether the life of an item's states is to be extended, as the script reads it.
_OLD, _NEW = b"01"
#: What the answers of ``touch`` mean; any other is a record of the other group.
PLACES = {b"T": Place.FIRST, b"t": Place.AGAIN, b"L": Place.LATE, b"D": Place.DUPLICATE, b"d": Place.GONE}
#: Answers of ``touch`` that end an entry.
_ENDED = (b"D", b"d")

#: Column of keys, one per row; None where the transaction lacks the entity or its state is elsewhere.
_Column = Sequence[str | None]
#: What stands behind keys.
_Found = Mapping[str | None, bytes | None]


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


def _keys(columns: Iterable[_Column]) -> list[str]:
    found: set[str | None] = set().union(*columns)
    found.discard(None)
    return cast("list[str]", list(found))


def _mget(keys: Sequence[str]) -> list[list[Argument]]:
    return [["MGET", *keys]] if keys else []


def _found(keys: Sequence[str], replies: Sequence[Sequence[bytes | None]]) -> _Found:
    return dict(zip(keys, replies[0], strict=True)) if keys else {}


def _states(keys: _Column, found: _Found) -> Sequence[bytes]:
    """
    Return what was found behind the keys, row by row; empty where there is nothing, or was nothing to look for.
    """
    states = list(map(found.get, keys))
    return cast("list[bytes]", states) if all(states) else [state or b"" for state in states]


class _Batch(msgspec.Struct, frozen=True):
    """
    A batch, and the keys of its states by column and row; None where there is none.
    """

    entry_ids: Sequence[bytes]
    transactions: Sequence[Transaction]
    records: Records
    logs: Sequence[_Column]
    rings: Sequence[_Column]

    @property
    def columns(self) -> Sequence[_Column]:
        """
        The keys of logs and rings.
        """
        return (*self.logs, *self.rings)

    def part(self, rows: Sequence[int]) -> "_Batch":
        """
        Return these rows, in this order.
        """
        if len(rows) == len(self.entry_ids):
            return self
        return _Batch(
            [self.entry_ids[row] for row in rows],
            [self.transactions[row] for row in rows],
            part_of_records(self.records, rows),
            [[column[row] for row in rows] for column in self.logs],
            [[column[row] for row in rows] for column in self.rings],
        )


class RedisEntityStore:
    """
    ``EntityStore`` of one group: ``touch`` and the read of the states share one round trip.
    """

    #: Whether a group that came second looks before it touches.
    looks_first = True

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
        self._second = False
        self._group_byte = GROUP_BYTE[group]
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

        A group that came second to every transaction of its last batch looks at the records first: that costs a fraction of a
        touch and says the same of a transaction that has one. A group that runs behind finds verdicts on most of them, and the
        states are of no use to it: it reads what is left afterwards. Being wrong costs a round trip and nothing else.
        """
        logs = self._state_keys.columns(self._state_keys.log_prefixes, records)
        rings = self._state_keys.columns(self._state_keys.ring_prefixes, records)
        batch = _Batch(entry_ids, transactions, records, logs, rings)
        with translated("touch"):
            answers, found = await (self._looked_first(batch) if self._second else self._touched_first(batch))
        others = others_in(answers)
        self._second = b"T" not in answers and self.looks_first
        self._behind = len(others) * 2 > len(answers)
        return Touched(
            places=[PLACES.get(answer, Place.OTHER) for answer in answers],
            others=others,
            states=States(
                logs={kind: _states(keys, found) for kind, keys in zip(self._features.logs, logs, strict=True)},
                rings={kind: _states(keys, found) for kind, keys in zip(self._features.rings, rings, strict=True)},
            ),
        )

    async def _touched_first(self, batch: _Batch) -> tuple[list[bytes], _Found]:
        """
        Touch and, unless they are of little use, read the states in the same round trip.
        """
        calls = self.calls(batch.entry_ids, batch.transactions, batch.records, batch.logs, batch.rings)
        behind = self._behind  # as it is now: another batch may come to its end while this one waits for its replies
        wanted = [] if behind else _keys(batch.columns)
        replies = await run(self._client, [*calls, *_mget(wanted)])
        answers = _flat(replies[: len(calls)])
        self.extended(answers, batch.columns)
        if behind:
            return answers, await self._needed(batch, answers)
        return answers, _found(wanted, replies[len(calls) :])

    async def _looked_first(self, batch: _Batch) -> tuple[list[bytes], _Found]:
        """
        Look at the records and, unless they are of little use, read the states; touch only what the look cannot answer for.
        """
        behind = self._behind
        wanted = [] if behind else _keys(batch.columns)
        txns = [self._txn + one.transaction_id for one in batch.transactions]
        values, *states = await run(self._client, [["MGET", *txns], *_mget(wanted)])
        answers, unsaid = self._said(values)
        told: list[bytes] = []
        if unsaid:
            part = batch.part(unsaid)
            told = _flat(
                await run(self._client, self.calls(part.entry_ids, part.transactions, part.records, part.logs, part.rings))
            )
            self.extended(told, part.columns)
            for row, answer in zip(unsaid, told, strict=True):
                answers[row] = answer
        # What was read before a touch of this very call knows nothing of what that one moved, nor of what the other group moved
        # since the look.
        if behind or not set(_ENDED).issuperset(told):
            return answers, await self._needed(batch, answers)
        return answers, _found(wanted, states)

    def _said(self, values: Sequence[bytes | None]) -> tuple[list[bytes], list[int]]:
        """
        Return what ``touch`` would answer to records, and the rows that it must be asked for: those without one, and those that
        end here, which it acknowledges.
        """
        if values.count(b"T") == len(values):
            return [b"t"] * len(values), []
        ended = (b"D", self._group_byte)
        unsaid = [row for row, value in enumerate(values) if value is None or value[:1] in ended]
        return [b"t" if value == b"T" else value or b"" for value in values], unsaid

    async def _needed(self, batch: _Batch, answers: Sequence[bytes]) -> _Found:
        """
        Read the states of those transactions whose vector is still to be computed.
        """
        others = others_in(answers)
        asking = [row for row in range(len(answers)) if needs_states(row, answers, others)]
        wanted = _keys([column[row] for row in asking] for column in batch.columns)
        return _found(wanted, await run(self._client, _mget(wanted))) if wanted else {}

    def extended(self, answers: Sequence[bytes], columns: Sequence[_Column]) -> None:
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
        logs: Sequence[_Column],
        rings: Sequence[_Column],
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
            for chunk in chunks(len(entry_ids))
        ]

    def _items(self, records: Records, columns: Sequence[_Column]) -> bytes:
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

    def _again(self, columns: Sequence[_Column], rows: int) -> NDArray[np.uint8]:
        """
        Say of each row ('1' or '0' as a byte) whether the life of its states is to be extended: for the first event of each day
        that this process sees of them.
        """
        day = self._clock.now_ms() // _DAY_MS
        if day != self._day or len(self._refreshed) > _REMEMBERED_KEYS:
            self._day, self._refreshed = day, {None}
        again = np.full(rows, _OLD, np.uint8)
        new = set[str | None]().union(*columns) - self._refreshed
        self._asked = bool(new)
        for column in columns if new else ():
            if not new.isdisjoint(column):
                again[np.fromiter(map(new.__contains__, column), np.bool_, rows)] = _NEW
        return again
