"""
All partitions at once, for who looks: one overview, one list of pending entries, one desk for dead letters.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

import msgspec

from fraudstream.adapters.redis_keys import DLQ, UNDELIVERABLE
from fraudstream.adapters.redis_letters import Place, RedisLetters, StoredLetter
from fraudstream.adapters.redis_overview import read_overview, read_pending
from fraudstream.adapters.redis_partitions import Part
from fraudstream.domain.errors import InvalidSettings
from fraudstream.fleet.overview import Letters, Overview, PendingEntry, ServerState


async def every_overview(parts: Sequence[Part], *, letters: int = 200, allow_no_persistence: bool = False) -> Overview:
    """
    Look at every partition; streams and groups are those of each, letters are added up, the server is the one worst off.

    Raises:
        StreamUnavailable: Redis did not answer.
        UnsuitableServer: The user that we are to Redis may not look.
    """
    found = await asyncio.gather(
        *(read_overview(part.client, part.keys, letters=letters, allow_no_persistence=allow_no_persistence) for part in parts)
    )
    if len(found) == 1:
        return found[0]
    waiting = Counter[str]()
    for one in found:
        waiting.update(one.alerts_waiting)
    return Overview(
        at_ms=max(one.at_ms for one in found),
        server=max((one.server for one in found), key=_trouble),
        streams=tuple(stream for one in found for stream in one.streams),
        groups=tuple(group for one in found for group in one.groups),
        dead_letters=_added(DLQ, [one.dead_letters for one in found]),
        undeliverable=_added(UNDELIVERABLE, [one.undeliverable for one in found]),
        alerts_waiting=dict(waiting),
    )


def _trouble(server: ServerState) -> tuple[bool, bool, int, float, int]:
    used = server.memory_bytes / server.memory_limit_bytes if server.memory_limit_bytes else 0.0
    return server.replica, not server.last_append_ok, len(server.problems), used, server.memory_bytes


def _added(stream: str, every: Sequence[Letters]) -> Letters:
    counts = Counter[str]()
    for one in every:
        counts.update(one.counts)
    return Letters(
        stream=stream,
        entries=sum(one.entries for one in every),
        oldest_age_s=max(one.oldest_age_s for one in every),
        counted=sum(one.counted for one in every),
        counts=dict(counts),
    )


async def every_pending(
    parts: Sequence[Part], groups: Collection[str], *, min_idle_s: float = 0.0, count: int = 20
) -> list[PendingEntry]:
    """
    Return pending entries of known groups in every partition, oldest first within each group.

    Raises:
        StreamUnavailable: Redis did not answer.
        UnsuitableServer: The user that we are to Redis may not look.
    """
    found = await asyncio.gather(
        *(read_pending(part.client, part.keys, groups, min_idle_s=min_idle_s, count=count) for part in parts)
    )
    if len(found) == 1:
        return found[0]
    entries = sorted((entry for some in found for entry in some), key=lambda one: -one.age_s)
    return [entry for group in groups for entry in [one for one in entries if one.group == group][:count]]


class RedisEveryLetters:
    """
    The dead letters of all partitions behind one desk; the id of a letter says which it is of: ``1763740000000-0@3``.

    Args:
        parts: Every partition in order.
        record_ttl_s: See ``RedisLetters``.
    """

    name = DLQ

    def __init__(self, parts: Sequence[Part], *, record_ttl_s: int) -> None:
        self._keys = [part.keys for part in parts]
        self._letters = [RedisLetters(part.client, part.keys, record_ttl_s=record_ttl_s) for part in parts]

    async def read(self, since_ms: int = 0) -> AsyncIterator[StoredLetter]:
        """
        Yield the letters written since a time in all partitions, oldest first.
        """
        sources = [letters.read(since_ms) for letters in self._letters]
        heads = {number: letter for number, source in enumerate(sources) if (letter := await anext(source, None)) is not None}
        while heads:
            number = min(heads, key=lambda one: (heads[one].dead_at_ms, one))
            yield self._outside(number, heads.pop(number))
            if (letter := await anext(sources[number], None)) is not None:
                heads[number] = letter

    async def get(self, letter_id: str) -> StoredLetter | None:
        """
        Return one letter; None when there is none of this id.
        """
        number, own = self._split(letter_id)
        letter = await self._letters[number].get(own)
        return None if letter is None else self._outside(number, letter)

    async def places(self, transaction_ids: Sequence[str]) -> list[Place]:
        """
        Return where each transaction stands: most of its way, should it have come to several partitions.
        """
        order = (Place.ABSENT, Place.IN_WORK, Place.DECIDED)
        every = await asyncio.gather(*(letters.places(transaction_ids) for letters in self._letters))
        return [max(places, key=order.index) for places in zip(*every, strict=True)]

    async def replay(self, letter: StoredLetter, *, to: str, transaction_id: str | None, decided: bool) -> str | None:
        """
        Put a letter's entry on a stream of its own partition; see ``RedisLetters``.
        """
        number, _ = self._split(letter.letter_id)
        target = self._keys[number].stream(to)
        return await self._letters[number].replay(
            self._inside(number, letter), to=target, transaction_id=transaction_id, decided=decided
        )

    async def add_copy(self, letter: StoredLetter, fields: Mapping[bytes, bytes]) -> str:
        """
        Write a corrected copy of a letter beside it and return the copy's id.
        """
        number, _ = self._split(letter.letter_id)
        return f"{await self._letters[number].add_copy(self._inside(number, letter), fields)}@{number}"

    async def discard(self, letter_id: str) -> bool:
        """
        Take a letter out for good; False when it is gone already.
        """
        number, own = self._split(letter_id)
        return await self._letters[number].discard(own)

    def _split(self, letter_id: str) -> tuple[int, str]:
        own, _, number = letter_id.partition("@")
        if not number.isdecimal() or int(number) >= len(self._letters):
            raise InvalidSettings(f"{letter_id!r} does not say its partition, as 1763740000000-0@3; fraudstream dlq list does")
        return int(number), own

    def _outside(self, number: int, letter: StoredLetter) -> StoredLetter:
        return msgspec.structs.replace(
            letter,
            letter_id=f"{letter.letter_id}@{number}",
            source=letter.source.removesuffix(f":{self._keys[number].tag}"),
            edited_from=f"{letter.edited_from}@{number}" if letter.edited_from else "",
        )

    def _inside(self, number: int, letter: StoredLetter) -> StoredLetter:
        return msgspec.structs.replace(
            letter,
            letter_id=self._split(letter.letter_id)[1],
            source=self._keys[number].stream(letter.source),
            edited_from=letter.edited_from.partition("@")[0],
        )
