"""
A stream in memory that keeps the promises of ``TransactionStream``: groups, owners, deliveries, delays, dead letters.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.ports import DOUBTS, TRIED_ALONE, Accused, Delivery, Letter

#: Owner of what was given back; nobody's heart beats under this name.
RETRY = "__retry__"
_CLAIM_SCAN = 100


@dataclass
class Pending:
    """
    One entry that was handed out and not acknowledged; ``since_s`` is when it was handed out or renewed last.
    """

    owner: str
    deliveries: int
    since_s: float


@dataclass
class Group:
    """
    What Redis keeps of a consumer group, and what our scripts keep beside it.
    """

    last: int = 0
    pending: dict[int, Pending] = field(default_factory=dict)
    hearts: dict[str, float] = field(default_factory=dict)
    due_s: dict[int, float] = field(default_factory=dict)
    doubts: Counter[int] = field(default_factory=Counter)
    consumers: set[str] = field(default_factory=set)


@dataclass
class BuriedLetter:
    """
    A dead letter as it stands in the dead-letter stream.
    """

    entry_id: bytes
    group: str
    consumer: str
    deliveries: int
    reason: str
    error: str
    fields: Mapping[bytes, bytes]


class MemoryStreams:
    """
    The server: entries, groups and dead letters of one stream. ``now_s`` is its clock.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.now_s = now_s
        self.entries: dict[int, dict[bytes, bytes]] = {}
        self.groups: dict[str, Group] = {}
        self.letters: list[BuriedLetter] = []
        self.markers: set[str] = set()
        self.away = False
        self._next = 0

    def add(self, fields: Mapping[bytes, bytes]) -> bytes:
        self._next += 1
        self.entries[self._next] = dict(fields)
        return _id(self._next)

    def trim(self, entry_id: bytes) -> None:
        self.entries.pop(_number(entry_id), None)

    def flush(self) -> None:
        """
        Forget everything, as FLUSHALL does.
        """
        self.entries.clear()
        self.groups.clear()
        self.letters.clear()
        self.markers.clear()

    def pending(self, group: str) -> dict[bytes, Pending]:
        return {_id(number): entry for number, entry in self.groups[group].pending.items()}


class FakeStream:
    """
    ``TransactionStream`` of one consumer over ``MemoryStreams``.
    """

    def __init__(
        self,
        streams: MemoryStreams,
        *,
        group: str = "group",
        consumer: str = "consumer",
        claim_idle_s: float = 0.0,
        hard_idle_s: float = 300.0,
    ) -> None:
        self._streams = streams
        self.name = "transactions:raw"
        self.group = group
        self.consumer = consumer
        self._claim_idle_s = claim_idle_s
        self._hard_idle_s = hard_idle_s
        self._cursor = 0

    async def open(self) -> None:
        self._reachable()
        self._streams.groups.setdefault(self.group, Group())
        self._cursor = 0

    async def read(self, count: int, block_ms: int) -> list[Delivery]:
        group = await self._books()
        group.consumers.add(self.consumer)
        if not self._unread(group):
            await asyncio.sleep(block_ms / 1000)
            group = await self._books()
        numbers = self._unread(group)[:count]
        for number in numbers:
            group.last = number
            group.pending[number] = Pending(self.consumer, 1, self._streams.now_s())
        return [self._delivery(group, number) for number in numbers]

    async def stranded(self, in_hand: Collection[bytes], idle_ms: int) -> list[Delivery]:
        group = await self._books()
        held = set(in_hand)
        now_s = self._streams.now_s()
        return [
            self._delivery(group, number)
            for number, entry in sorted(group.pending.items())
            if entry.owner == self.consumer and _id(number) not in held and (now_s - entry.since_s) * 1000 >= idle_ms
        ]

    async def due(self, count: int) -> list[Delivery]:
        group = await self._books()
        now_s = self._streams.now_s()
        out: list[Delivery] = []
        for number in sorted((one for one, at in group.due_s.items() if at <= now_s), key=group.due_s.__getitem__):
            if len(out) >= count:
                break
            entry = group.pending.get(number)
            if out and entry is not None and entry.deliveries > 1:
                break
            del group.due_s[number]
            if entry is not None and entry.owner == RETRY:
                out.append(self._take(group, number))
        return out

    async def claim(self, count: int) -> list[Delivery]:
        group = await self._books()
        now_s = self._streams.now_s()
        out: list[Delivery] = []
        idle = [
            number
            for number, entry in sorted(group.pending.items())
            if number > self._cursor and now_s - entry.since_s >= self._claim_idle_s
        ][: min(count, _CLAIM_SCAN)]
        for number in idle:
            entry = group.pending[number]
            gone = group.hearts.get(entry.owner, 0.0) < now_s or now_s - entry.since_s > self._hard_idle_s
            if gone and group.due_s.get(number, 0.0) <= now_s:
                suspect = entry.deliveries > 1
                if suspect and out:
                    return out
                group.due_s.pop(number, None)
                out.append(self._take(group, number))
                self._cursor = number
                if suspect:
                    return out
            self._cursor = number
        if len(idle) < min(count, _CLAIM_SCAN):
            self._cursor = 0
        return out

    async def later(self, entry_id: bytes, delay_s: float, *, failed: int = 0) -> bool:
        group = await self._books()
        if not self._mine(group, entry_id):
            return False
        number = _number(entry_id)
        now_s = self._streams.now_s()
        group.due_s[number] = now_s + delay_s
        count = group.pending[number].deliveries
        group.pending[number] = Pending(RETRY, max(count, failed) if count >= TRIED_ALONE else count, now_s)
        return True

    async def accuse(self, entry_id: bytes, deliveries: int, *, proven: bool, alone: bool) -> Accused:
        group = await self._books()
        if not self._mine(group, entry_id):
            return Accused.GONE
        number = _number(entry_id)
        group.pending[number].deliveries = deliveries - 1
        others = [one for one, entry in group.pending.items() if entry.deliveries < TRIED_ALONE]
        others += [one for one in group.pending if group.doubts[one] < group.doubts[number]]
        if alone and not proven and (others or self._unread(group)):
            return Accused.OTHERS_FIRST
        if not (proven and alone):
            group.doubts[number] += 1
            if group.doubts[number] % DOUBTS:
                return Accused.NOT_COUNTED
        group.pending[number].deliveries = deliveries
        return Accused.COUNTED

    async def acquit(self, entry_id: bytes, deliveries: int) -> None:
        group = await self._books()
        if self._mine(group, entry_id):
            group.doubts.pop(_number(entry_id), None)
            group.pending[_number(entry_id)].deliveries = deliveries

    async def bury(self, letter: Letter) -> bool:
        group = await self._books()
        if not self._mine(group, letter.entry_id):
            return False
        deliveries = group.pending[_number(letter.entry_id)].deliveries
        return self._write(letter.part or letter.entry_id.decode(), letter, deliveries)

    async def entomb(self, entry_id: bytes) -> bool:
        await self._books()
        letter = Letter(entry_id=entry_id, reason="trimmed", error="", fields={})
        written = self._write(entry_id.decode(), letter, 0)
        await self.acknowledge([entry_id])
        return written

    async def acknowledge(self, entry_ids: Sequence[bytes]) -> None:
        group = await self._books()
        for entry_id in entry_ids:
            group.pending.pop(_number(entry_id), None)

    async def hand_back(self, entry_ids: Sequence[bytes]) -> None:
        group = await self._books()
        for entry_id in entry_ids:
            if self._mine(group, entry_id):
                entry = group.pending[_number(entry_id)]
                group.pending[_number(entry_id)] = Pending(RETRY, entry.deliveries, float("-inf"))

    async def leave(self) -> None:
        group = await self._books()
        group.hearts.pop(self.consumer, None)
        if not any(entry.owner == self.consumer for entry in group.pending.values()):
            group.consumers.discard(self.consumer)

    def beat(self, in_hand: Sequence[bytes], life_s: float) -> list[bytes]:
        """
        What a heart over this stream does.
        """
        self._reachable()
        group = self._streams.groups[self.group]
        group.hearts[self.consumer] = self._streams.now_s() + life_s
        for entry_id in in_hand:
            if self._mine(group, entry_id):
                group.pending[_number(entry_id)].since_s = self._streams.now_s()
        return [entry_id for entry_id in in_hand if not self._mine(group, entry_id)]

    def _reachable(self) -> None:
        if self._streams.away:
            raise StreamUnavailable("the server is away")

    async def _books(self) -> Group:
        self._reachable()
        if self.group not in self._streams.groups:
            await self.open()
            raise StreamUnavailable("NOGROUP")
        return self._streams.groups[self.group]

    def _unread(self, group: Group) -> list[int]:
        return [number for number in sorted(self._streams.entries) if number > group.last]

    def _mine(self, group: Group, entry_id: bytes) -> bool:
        entry = group.pending.get(_number(entry_id))
        return entry is not None and entry.owner == self.consumer

    def _take(self, group: Group, number: int) -> Delivery:
        count = group.pending[number].deliveries
        handed_out = max(count, min(count + 1, TRIED_ALONE))
        group.pending[number] = Pending(self.consumer, handed_out, self._streams.now_s())
        delivery = self._delivery(group, number)
        if delivery.fields is None:
            del group.pending[number]
        return delivery

    def _delivery(self, group: Group, number: int) -> Delivery:
        return Delivery(
            entry_id=_id(number), fields=self._streams.entries.get(number), deliveries=group.pending[number].deliveries
        )

    def _write(self, marker: str, letter: Letter, deliveries: int) -> bool:
        if marker in self._streams.markers:
            return False
        self._streams.markers.add(marker)
        self._streams.letters.append(
            BuriedLetter(
                letter.entry_id, self.group, self.consumer, deliveries, letter.reason, letter.error, dict(letter.fields)
            )
        )
        return True


class FakeHeart:
    """
    ``Heart`` over a ``FakeStream``.
    """

    def __init__(self, stream: FakeStream, life_s: float) -> None:
        self._stream = stream
        self._life_s = life_s
        self.beats = 0
        self.closed = False
        self.error: Exception | None = None

    def beat(self, in_hand: Sequence[bytes]) -> list[bytes]:
        if self.error is not None:
            raise self.error
        self.beats += 1
        return self._stream.beat(in_hand, self._life_s)

    def close(self) -> None:
        self.closed = True


def _id(number: int) -> bytes:
    return b"%d-0" % number


def _number(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])
