"""
Entity states over several partitions: each stands where the hash of its entity says, whichever transaction moves it.

A transaction has its record in the partition that it came on, its home. Its entities may lie in others, and no script reaches
two partitions. What makes a second delivery harmless all the same is the order, and a mark for each transaction in each
partition that it moved something in; docs/scale-out.md has the argument.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import RAW, Partitions
from fraudstream.adapters.redis_partitions import Part
from fraudstream.adapters.redis_scripts import BOUND, OUTCOME, Argument, Call, run
from fraudstream.adapters.redis_states import RedisEntityStates, StateKeys
from fraudstream.adapters.redis_stream import plain
from fraudstream.adapters.redis_touch import PLACES, RedisEntityStore, needs_states, others_in
from fraudstream.adapters.redis_verdicts import OUTCOME_FLAGS, LedgerOptions
from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.records import Records, records
from fraudstream.features.states import Standing, States
from fraudstream.stages.ports import Place, Touched
from fraudstream.stages.selection import part_of_records

#: Most logs that one script call reads whole: longer scripts keep everybody else waiting.
_CALL_LOGS = 64
#: Column of keys, one per row; None where the transaction lacks the entity or its state is elsewhere.
_Column = Sequence[str | None]


class _Spread(msgspec.Struct, frozen=True):
    """
    The keys of a batch, by column and row, and the partition of each: -1 where there is none.
    """

    logs: Sequence[_Column]
    rings: Sequence[_Column]
    log_at: Sequence[Sequence[int]]
    ring_at: Sequence[Sequence[int]]

    def foreign(self, rows: Iterable[int], home: int) -> dict[int, list[int]]:
        """
        Return, by partition that is not the home, the rows that have something there, in order.
        """
        found: dict[int, list[int]] = {}
        columns = (*self.log_at, *self.ring_at)
        for row in rows:
            for at in {column[row] for column in columns} - {-1, home}:
                found.setdefault(at, []).append(row)
        return found

    def within(self, partition: int, rows: Sequence[int]) -> tuple[list[_Column], list[_Column]]:
        """
        Return the columns of logs and rings for these rows, with the keys of one partition only.
        """
        return _only(self.logs, self.log_at, partition, rows), _only(self.rings, self.ring_at, partition, rows)

    def wanted(self, rows: Sequence[int]) -> dict[int, list[str]]:
        """
        Return, by partition, every key of these rows once.
        """
        found: dict[int, dict[str, None]] = {}
        for column, places in zip((*self.logs, *self.rings), (*self.log_at, *self.ring_at), strict=True):
            for row in rows:
                if (key := column[row]) is not None:
                    found.setdefault(places[row], {})[key] = None
        return {partition: list(keys) for partition, keys in found.items()}


def _only(columns: Sequence[_Column], places: Sequence[Sequence[int]], partition: int, rows: Sequence[int]) -> list[_Column]:
    return [[column[row] if at[row] == partition else None for row in rows] for column, at in zip(columns, places, strict=True)]


class RedisScatteredStore:
    """
    ``EntityStore`` of one group in one partition, its home, with states in all of them. Three round trips, not one.

    Args:
        home: The partition whose entries are touched.
        parts: Every partition in order.
        group: The group.
        features: What states there are.
        options: Times; marks live as long as the record of a decided transaction.
        clock: Of the home's server.
    """

    def __init__(
        self,
        home: int,
        parts: Sequence[Part],
        *,
        group: str,
        features: FeatureSet,
        options: LedgerOptions,
        clock: RedisClock,
    ) -> None:
        self._home = home
        self._parts = parts
        self._features = features
        self._partitions = Partitions(len(parts))
        self._prefixes = [StateKeys(features, part.keys) for part in parts]
        self._txn = parts[home].keys.prefix("txn")
        self._marks = [part.keys.prefix("moved") for part in parts]
        self._mark_life_s = options.record_ttl_s
        self._stores = [
            RedisEntityStore(
                plain(part.client), stream=part.keys.stream(RAW), group=group, features=features, keys=part.keys,
                options=options, clock=clock, record="txn" if number == home else "moved",
            )
            for number, part in enumerate(parts)
        ]  # fmt: skip

    async def touch(self, entry_ids: Sequence[bytes], transactions: Sequence[Transaction], records: Records) -> Touched:
        """
        Move what is elsewhere, then what is at home together with the record, then read; see the port.

        A record at home says that everything elsewhere has been moved: only where there is none is anything sent there.
        """
        spread, rows = self._spread(records), range(len(entry_ids))
        batch = (entry_ids, transactions, records, spread)
        with translated("touch"):
            unseen = await self._unseen(transactions)
            await self._move(unseen, *batch)
            answers = await self._touch_home(*batch)
            known = set(unseen)
            # A failover between the look and the touch can lose a record that was there.
            await self._move([row for row in rows if answers[row] == b"T" and row not in known], *batch)
            others = others_in(answers)
            found = await self._read(spread.wanted([row for row in rows if needs_states(row, answers, others)]))
        return Touched(
            places=[PLACES.get(answer, Place.OTHER) for answer in answers],
            others=others,
            states=States(
                logs=_values(self._features.logs, spread.logs, found),
                rings=_values(self._features.rings, spread.rings, found),
            ),
        )

    def _spread(self, records: Records) -> _Spread:
        of, features = self._partitions.of, self._features
        places = {
            kind: [-1 if entity is None else of(entity) for entity in records.entities[kind]]
            for kind in (*features.logs, *features.rings)
        }

        def keys(kind: str, prefixes: Sequence[Mapping[str, str]]) -> list[str | None]:
            own = [one[kind] for one in prefixes]
            return [
                None if entity is None else own[at] + entity
                for entity, at in zip(records.entities[kind], places[kind], strict=True)
            ]

        return _Spread(
            logs=[keys(kind, [one.log_prefixes for one in self._prefixes]) for kind in features.logs],
            rings=[keys(kind, [one.ring_prefixes for one in self._prefixes]) for kind in features.rings],
            log_at=[places[kind] for kind in features.logs],
            ring_at=[places[kind] for kind in features.rings],
        )

    async def _unseen(self, transactions: Sequence[Transaction]) -> list[int]:
        """
        Return the rows without a record at home.
        """
        names = [self._txn + one.transaction_id for one in transactions]
        (there,) = await run(self._parts[self._home].client, [["MGET", *names]])
        return [row for row, value in enumerate(there) if value is None]

    async def _move(
        self,
        rows: Sequence[int],
        entry_ids: Sequence[bytes],
        transactions: Sequence[Transaction],
        records: Records,
        spread: _Spread,
    ) -> None:
        """
        Move what these rows have elsewhere, each once however often it is asked; all of it, or an error.
        """
        sent: dict[int, tuple[list[Call], list[_Column]]] = {}
        for partition, some in spread.foreign(rows, self._home).items():
            logs, rings = spread.within(partition, some)
            chosen = [transactions[row] for row in some]
            calls = self._stores[partition].calls(
                [entry_ids[row] for row in some], chosen, part_of_records(records, some), logs, rings
            )
            marks: list[Argument] = [self._marks[partition] + one.transaction_id for one in chosen]
            sent[partition] = ([*calls, Call(BOUND, marks, (self._mark_life_s,))], [*logs, *rings])
        replies = await self._all({partition: calls for partition, (calls, _) in sent.items()})
        for partition, (_, columns) in sent.items():
            answers = [answer for reply in replies[partition][:-1] for answer in reply]
            self._stores[partition].extended(answers, columns)

    async def _touch_home(
        self, entry_ids: Sequence[bytes], transactions: Sequence[Transaction], records: Records, spread: _Spread
    ) -> list[bytes]:
        store = self._stores[self._home]
        logs, rings = spread.within(self._home, range(len(entry_ids)))
        replies = await run(self._parts[self._home].client, store.calls(entry_ids, transactions, records, logs, rings))
        answers = [answer for reply in replies for answer in reply]
        store.extended(answers, (*logs, *rings))
        return answers

    async def _read(self, wanted: Mapping[int, Sequence[str]]) -> dict[str | None, bytes]:
        replies = await self._all({partition: [["MGET", *keys]] for partition, keys in wanted.items()})
        return {
            key: value or b""
            for partition, keys in wanted.items()
            for key, value in zip(keys, replies[partition][0], strict=True)
        }

    async def _all(self, sent: Mapping[int, Sequence[Call | Sequence[Argument]]]) -> dict[int, list[Any]]:
        """
        Send commands to several partitions at the same time, one round trip per client, and return the replies of each.
        """
        clients: dict[int, list[int]] = {}
        for partition in sent:
            clients.setdefault(id(self._parts[partition].client), []).append(partition)
        groups = list(clients.values())
        answers = await asyncio.gather(
            *(run(self._parts[group[0]].client, [one for partition in group for one in sent[partition]]) for group in groups),
            return_exceptions=True,
        )
        replies: dict[int, list[Any]] = {}
        for group, answer in zip(groups, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer  # only once all are over: nothing of this batch is under way when it is tried again
            at = 0
            for partition in group:
                replies[partition] = answer[at : at + len(sent[partition])]
                at += len(sent[partition])
        return replies


def _values(kinds: Iterable[str], columns: Sequence[_Column], found: Mapping[str | None, bytes]) -> dict[str, Sequence[bytes]]:
    return {kind: [found.get(key, b"") for key in column] for kind, column in zip(kinds, columns, strict=True)}


class RedisScatteredStates:
    """
    ``LabelledStates`` over every partition, and the states as they stand.

    Each partition remembers for itself which label it was told last, so that telling all of them again moves nothing.
    """

    def __init__(self, parts: Sequence[Part], *, features: FeatureSet) -> None:
        self._partitions = Partitions(len(parts))
        self._parts = parts
        self._features = features
        self._prefixes = [StateKeys(features, part.keys).log_prefixes for part in parts]
        self._states = [
            RedisEntityStates(plain(part.client), features=features, keys=part.keys, here=self._lies_in(number))
            for number, part in enumerate(parts)
        ]

    def _lies_in(self, number: int) -> Any:
        return lambda entity: self._partitions.of(entity) == number

    async def tell(self, labels: Sequence[tuple[Label, Transaction]]) -> int:
        """
        Tell every partition; see the port.
        """
        return max(await asyncio.gather(*(states.tell(labels) for states in self._states)))

    async def note_outcomes(self, decisions: Sequence[Decision]) -> None:
        """
        Note in the logs of flagged transactions what was decided, wherever they lie; a second call changes nothing.

        Raises:
            StreamUnavailable: Some may have been noted; call again.
        """
        flagged = [decision for decision in decisions if decision.flagged]
        rows = records(self._features, [decision.transaction for decision in flagged])
        sent: dict[int, tuple[list[Argument], list[Argument]]] = {}
        for kind, layout in self._features.layouts.items():
            for row, entity in enumerate(rows.entities[kind]):
                if entity is not None:
                    partition = self._partitions.of(entity)
                    keys, words = sent.setdefault(partition, ([], []))
                    keys.append(self._prefixes[partition][kind] + entity)
                    words += (layout.size, ord(OUTCOME_FLAGS[flagged[row].outcome]), rows.identity(row))
        with translated("outcomes"):
            await asyncio.gather(*(self._note(partition, keys, words) for partition, (keys, words) in sent.items()))

    async def _note(self, partition: int, keys: Sequence[Argument], words: Sequence[Argument]) -> None:
        calls = [
            Call(OUTCOME, keys[at : at + _CALL_LOGS], words[3 * at : 3 * (at + _CALL_LOGS)])
            for at in range(0, len(keys), _CALL_LOGS)
        ]
        await run(self._parts[partition].client, calls)

    async def read(self, rows: Records) -> States:
        """
        Read the states of a batch as they stand; see ``RedisEntityStates``.
        """
        every = await asyncio.gather(*(states.read(rows) for states in self._states))
        if len(every) == 1:
            return every[0]
        return States(
            logs={kind: _joined([one.logs[kind] for one in every]) for kind in every[0].logs},
            rings={kind: _joined([one.rings[kind] for one in every]) for kind in every[0].rings},
        )

    async def standings(self, transactions: Sequence[Transaction]) -> list[Standing]:
        """
        Say whether each transaction moved its states, in whichever partition it came; see ``RedisEntityStates``.
        """
        every = await asyncio.gather(*(states.standings(transactions) for states in self._states))
        return [Standing.LATE if Standing.LATE in some else Standing.SEEN for some in zip(*every, strict=True)]


def _joined(columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    return [next(filter(None, values), b"") for values in zip(*columns, strict=True)]
