"""
Lists and rates by version: read whole or as changes of another version, each kept while somebody needs it.
"""

import asyncio
from collections.abc import Collection
from hashlib import sha256

import msgspec

from fraudstream.adapters.redis_lists import ListDelta, ListPointer, RedisLists, StoredBody
from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.lists import ListContents
from fraudstream.rules.packed import Packed, pack
from fraudstream.rules.rates import Rates, read_rates

#: Changes that may lie over a body before it is written whole again, and entries that all of them together may have.
MOST_DELTAS, MOST_CHANGED = 500, 20_000


class ListLibrary:
    """
    The contents of lists by version, from Redis. What one version and another have in common is in memory once.
    """

    def __init__(self, store: RedisLists) -> None:
        self._store = store
        self._kept: dict[str, ListContents] = {}

    async def contents(self, version: str) -> ListContents:
        """
        Return the contents of a version, whatever is needed to build it read off the loop.

        Raises:
            InvalidRule: It is not in Redis, or is damaged.
            StreamUnavailable: Redis did not answer.
        """
        deltas: list[StoredBody] = []
        at = version
        while at not in self._kept:
            body = await self._store.body(at)
            if body.kind == "full":
                self._kept[at] = await asyncio.to_thread(whole, body)
            elif body.kind == "delta" and len(deltas) <= MOST_DELTAS:
                deltas.append(body)
                at = body.parent
            else:
                raise InvalidRule(f"version {version} is no list")
        if deltas:
            self._kept[version] = await asyncio.to_thread(_over, self._kept[at], deltas[::-1], version)
        return self._kept[version]

    async def rates(self, version: str) -> Rates:
        """
        Return a table of rates.

        Raises:
            InvalidRule: It is not in Redis, or is damaged.
            StreamUnavailable: Redis did not answer.
        """
        body = await self._store.body(version)
        if body.kind != "rates":
            raise InvalidRule(f"version {version} is no table of rates")
        return read_rates(body.payload.decode(), f"rates {version}")

    def keep_only(self, versions: Collection[str]) -> None:
        """
        Forget what is not among these.
        """
        self._kept = {version: contents for version, contents in self._kept.items() if version in versions}


def full_body(entries: list[ListEntry], *, author: str, at_ms: int) -> StoredBody:
    """
    Return the body of a list written whole.
    """
    packed = pack(entries)
    return StoredBody(kind="full", payload=packed, entries=len(Packed(packed)), author=author, at_ms=at_ms)


def changed_body(
    old: ListContents, parent: StoredBody, delta: ListDelta, *, author: str, at_ms: int
) -> tuple[StoredBody, ListContents]:
    """
    Return the body of a list after a change, with its contents: the change alone, or all of it where much has changed.

    Args:
        old: The contents before.
        parent: Their body.
        delta: The change; its parent is that body's version.
        author: Who makes it.
        at_ms: When.
    """
    payload = msgspec.json.encode(delta)
    version = sha256(payload).hexdigest()[:16]
    contents = old.changed(delta.added, delta.removed, version=version)
    if contents.overlay > MOST_CHANGED or parent.depth >= MOST_DELTAS:
        body = full_body(contents.all_entries(), author=author, at_ms=at_ms)
        return body, whole(body)
    body = StoredBody(
        kind="delta",
        payload=payload,
        entries=len(contents),
        parent=delta.parent,
        depth=parent.depth + 1,
        author=author,
        at_ms=at_ms,
    )
    return body, contents


def versions_in_force(pointers: dict[str, ListPointer]) -> dict[str, str]:
    """
    Return the version of each list that Redis has in force.
    """
    return {name: pointer.version for name, pointer in sorted(pointers.items()) if pointer.version}


def whole(body: StoredBody) -> ListContents:
    """
    Return the contents of a full body.
    """
    return ListContents(parts=(Packed(body.payload),), version=body.version)


def _over(base: ListContents, deltas: list[StoredBody], version: str) -> ListContents:
    """
    Lay changes over contents, the oldest first, in one go.
    """
    added: dict[str, ListEntry] = {}
    removed: set[str] = set()
    for body in deltas:
        delta = msgspec.json.decode(body.payload, type=ListDelta)
        for value in delta.removed:
            added.pop(value, None)
            removed.add(value)
        added.update({entry.value: entry for entry in delta.added})
    return base.changed(added.values(), removed - added.keys(), version=version)
