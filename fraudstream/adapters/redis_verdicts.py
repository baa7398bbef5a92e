"""
Verdicts that join once, stepping in: the protocol's scripts behind the judges, called in batches.
"""

import itertools
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import DECISIONS, FOLLOWED, FRAUD, GROUP_BYTE, OTHER_GROUP, Keys
from fraudstream.adapters.redis_scripts import COMPLETE, OVERDUE, Argument, Call, run, run_each
from fraudstream.adapters.redis_states import StateKeys
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.decision_codec import VerdictRecord, decode_verdict, encode_decision, encode_verdict
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.records import records
from fraudstream.fleet.ports import Delivery
from fraudstream.stages.intake import entry_order
from fraudstream.stages.ports import Answer, Completed, Completion, FirstVerdicts

#: Most items of one script call: longer scripts keep everybody else waiting.
CALL_ITEMS = 128
#: Whoever stood still for longer stood still, in milliseconds; less is what looks and replies take on a busy machine.
_SHORTEST_STALL_MS = 100
#: Bound on the scan of our own pending entries inside ``complete``.
_PENDING_SCAN = 100_000
_ANSWERS = {b"O": Answer.STORED, b"E": Answer.EMITTED, b"U": Answer.UNNEEDED, b"A": Answer.ABSENT, b"G": Answer.GONE}
#: Where the other verdict stands in no record, because it is ours as well.
_NO_BASIS = bytes(8)
#: Values of a transaction's record that a first verdict will replace.
_UNJUDGED = (b"T", b"L")
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


def chunks(length: int) -> Iterator[range]:
    """
    Return the rows of one script call after the other.
    """
    return (range(start, min(start + CALL_ITEMS, length)) for start in range(0, length, CALL_ITEMS))


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
        self._other_group = OTHER_GROUP[group]
        self._other_byte = GROUP_BYTE[self._other_group]
        self._streams: list[Argument] = [stream, keys.stream(DECISIONS), keys.stream(FRAUD), keys.waiting(OTHER_GROUP[group])]
        self._head: list[Argument] = [group, self._group_byte, consumer, options.record_ttl_s, options.deadline_ms]
        self._news = keys.news(group) if group == FOLLOWED else ""
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

    async def joined(self, spans: Sequence[tuple[bytes, bytes]]) -> list[bool]:
        """
        Ask how far the other group is; see the port.
        """
        stream, group = self._streams[0], self._other_group
        commands: list[Sequence[Argument]] = [["XPENDING", stream, group, first, last, 1] for first, last in spans]
        with translated("joined"):
            groups, *pending = await run_each(self._client, [["XINFO", "GROUPS", stream], *commands])
        if isinstance(groups, Exception):
            return [False] * len(spans)  # a history that is lost takes stream and groups with it
        known = {one[b"name"]: one for one in (dict(zip(flat[::2], flat[1::2], strict=True)) for flat in groups)}
        other = known.get(group.encode())
        read_to = entry_order(b"0-0" if other is None else other[b"last-delivered-id"])
        return [found == [] and entry_order(last) <= read_to for (_, last), found in zip(spans, pending, strict=True)]

    async def complete(self, completions: Sequence[Completion]) -> Completed:
        """
        Note or join; see the port.
        """
        noted = [None if one.decision is not None else self._record(one) for one in completions]
        now_ms, answers = await self._answers(completions, noted)
        return Completed(
            now_ms=now_ms,
            answers=[_ANSWERS.get(answer, Answer.OTHER) for answer in answers],
            others={i: decode_verdict(answer) for i, answer in enumerate(answers) if answer not in _ANSWERS},
            noted={i: record for i, record in enumerate(noted) if record is not None and answers[i] == b"O"},
        )

    async def decide(self, completions: Sequence[Completion], beside: str) -> Completed:
        """
        Decide for both groups at once; see the port.
        """
        now_ms, answers = await self._answers(completions, [None] * len(completions), beside)
        decided = [Answer.TOGETHER if answer == b"E" else Answer.APART for answer in answers]
        return Completed(now_ms=now_ms, answers=decided, others={}, noted={})

    async def _answers(
        self, completions: Sequence[Completion], noted: Sequence[VerdictRecord | None], beside: str = ""
    ) -> tuple[int, list[bytes]]:
        """
        Call the script, and return the time of the server in milliseconds and an answer to each completion.
        """
        calls = [
            self._call(completions[chunk.start : chunk.stop], noted[chunk.start : chunk.stop], beside)
            for chunk in chunks(len(completions))
        ]
        with translated("complete"):
            replies = await run(self._client, calls)
        now_ms = int(replies[-1][0])
        self._clock.observe(now_ms)
        return now_ms, [answer for reply in replies for answer in reply[1:]]

    def _call(self, completions: Sequence[Completion], noted: Sequence[VerdictRecord | None], beside: str) -> Call:
        keys = list(self._streams)
        flags = self._flags(completions)
        marked: list[Argument] = []
        args: list[Argument] = [
            *self._head, completions[0].entry_id, completions[-1].entry_id, _PENDING_SCAN,
            len(completions), len(self._features.logs), *(layout.size for layout in self._features.layouts.values()),
            len(self._txn.encode()), self._news, self._other_group if beside else "", beside,
        ]  # fmt: skip
        for i, (completion, record) in enumerate(zip(completions, noted, strict=True)):
            txn, marks = self._txn + completion.transaction_id, b""
            keys.append(txn)
            if i in flags:
                logs, marks = flags[i]
                marked += [txn if key is None else key for key in logs]
            if record is not None:
                args += (completion.entry_id, encode_verdict(record), b"")
            elif (decision := completion.decision) is not None:
                args += (completion.entry_id, b"", _emission(completion.basis or _NO_BASIS, decision, marks))
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

    def __init__(
        self,
        client: Redis,
        *,
        stream: str,
        group: str,
        consumer: str,
        keys: Keys,
        options: LedgerOptions,
        clock: RedisClock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keys = (stream, keys.waiting(group))
        self._head = (group, consumer, options.grace_ms)
        self._clock = clock
        self._monotonic = monotonic
        self._stall_ms = max(_SHORTEST_STALL_MS, options.deadline_ms // 2)
        self._found_nothing_s: float | None = None
        self._forgave = False

    async def overdue(self, count: int) -> tuple[list[Delivery], bool]:
        """
        Take over what is overdue; see the port.

        Where we, or Redis, stood still ourselves, everybody may have, and the deadlines that ran out meanwhile are held against
        nobody until the next look.
        """
        found_nothing_s, self._found_nothing_s = self._found_nothing_s, None
        if found_nothing_s is not None and self._monotonic() - found_nothing_s > self._stall_ms / 1000 and not self._forgave:
            return self._forgiven()
        asked_ms = 0 if self._forgave else self._clock.now_ms()
        with translated("overdue"):
            words = (*self._head, min(count, CALL_ITEMS), asked_ms, self._stall_ms)
            ((more, entries),) = await run(self._client, [Call(OVERDUE, self._keys, words)])
        if more < 0:
            return self._forgiven()
        self._forgave = False
        self._found_nothing_s = None if entries else self._monotonic()
        return [_overdue(entry) for entry in entries], bool(more)

    def _forgiven(self) -> tuple[list[Delivery], bool]:
        """
        Take nothing over this time; the next time whatever there is.
        """
        self._forgave = True
        return [], False


def _overdue(entry: Sequence[Any]) -> Delivery:
    entry_id, flat = entry[0], entry[1] if len(entry) > 1 else None
    return Delivery(entry_id=entry_id, fields=dict(zip(flat[::2], flat[1::2], strict=True)) if flat else None)
