"""
A list over its whole history, as one list whose entries count from when they were put there until they were taken away.

With it a rule set judges payments of any time by the lists of that time, in one pass.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fraudstream.adapters.redis_lists import ListChange, ListDelta, RedisLists
from fraudstream.app.list_library import ListLibrary
from fraudstream.rules.entries import ListEntry
from fraudstream.rules.lists import ListContents
from fraudstream.rules.rates import RATES

_Open = dict[str, tuple[ListEntry, int]]


async def lists_over_time(
    store: RedisLists, library: ListLibrary, files: Mapping[str, ListContents]
) -> dict[str, ListContents]:
    """
    Return every list over its history.

    What a list held before its first change is what its file holds now; nothing else is known of it.

    Args:
        store: The lists of the fleet.
        library: Their contents.
        files: The lists of the files, by name.

    Raises:
        InvalidRule: A version of the history is not in Redis any more, or is damaged.
        StreamUnavailable: Redis did not answer.
    """
    changes: dict[str, list[ListChange]] = {}
    for change in await store.history():
        if change.list != RATES:
            changes.setdefault(change.list, []).append(change)
    found = dict(files)
    for name, own in changes.items():
        found[name] = await _over_time(store, library, files.get(name), own)
    return found


async def _over_time(
    store: RedisLists, library: ListLibrary, file: ListContents | None, changes: Sequence[ListChange]
) -> ListContents:
    before = "" if file is None else "file"
    still: _Open = {} if file is None else {entry.value: (entry, 0) for entry in file.all_entries()}
    closed: list[ListEntry] = []
    for change in changes:
        body = await store.body(change.version) if change.version else None
        if body is not None and body.kind == "delta" and body.parent == before:
            delta = msgspec.json.decode(body.payload, type=ListDelta)
            gone, new = [*delta.removed, *(entry.value for entry in delta.added)], delta.added
        else:
            contents = await library.contents(change.version) if change.version else file
            wanted = {entry.value: entry for entry in contents.all_entries()} if contents is not None else {}
            gone = [value for value, (entry, _) in still.items() if wanted.get(value) != entry]
            kept = still.keys() - gone
            new = [entry for value, entry in wanted.items() if value not in kept]
        closed += _closed(still, gone, change.at_ms)
        still.update({entry.value: (entry, change.at_ms) for entry in new})
        before = change.version
    return ListContents([*closed, *(_during(entry, since_ms, None) for entry, since_ms in still.values())])


def _closed(still: _Open, values: Iterable[str], at_ms: int) -> list[ListEntry]:
    """
    Take entries out of those that still count, and return the times in which they did.
    """
    ended = [still.pop(value) for value in values if value in still]
    found = [_during(entry, since_ms, at_ms) for entry, since_ms in ended]
    return [entry for entry in found if entry.until_ms is None or (entry.since_ms or 0) < entry.until_ms]


def _during(entry: ListEntry, since_ms: int, until_ms: int | None) -> ListEntry:
    """
    Return an entry that counts only between two times, and not longer than it would.
    """
    ends = [one for one in (entry.until_ms, until_ms) if one is not None]
    begins = [one for one in (entry.since_ms, since_ms or None) if one is not None]
    return msgspec.structs.replace(entry, since_ms=max(begins) if begins else None, until_ms=min(ends) if ends else None)
