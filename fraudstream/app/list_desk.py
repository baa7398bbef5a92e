"""
Where people change the lists of a running fleet: every change is checked before it is written, and can be taken back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_lists import ListChange, ListDelta, ListHits, ListMove, ListPointer, RedisLists, StoredBody
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.adapters.redis_token_key import RedisTokenKey
from fraudstream.app.connections import address
from fraudstream.app.list_files import ListFiles
from fraudstream.app.list_library import ListLibrary, changed_body, full_body, versions_in_force, whole
from fraudstream.app.list_timeline import lists_over_time
from fraudstream.app.loading import load_rulebook
from fraudstream.app.people import tokens_of
from fraudstream.domain.errors import InvalidRule, RuleSetRefused
from fraudstream.domain.tokens import Tokens
from fraudstream.rules.entries import ListEntry, normal
from fraudstream.rules.lists import ListContents, versions
from fraudstream.rules.load import load_rules, read_rules
from fraudstream.rules.rates import RATES, Rates, read_rates
from fraudstream.settings import Settings, locate

#: Where a list that nobody ever changed comes from.
FROM_FILE = "file"


class ListRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    One list at a glance; ``where`` is ``redis`` or ``file``, ``hits`` are those of all entries together.
    """

    name: str
    where: str
    version: str
    entries: int
    hits: int
    pointer: ListPointer


class ListState(msgspec.Struct, frozen=True, kw_only=True):
    """
    The contents of a list at some time, and in words which they are.
    """

    contents: ListContents
    where: str


class ListEdit(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of a change. ``unchanged`` counts entries that were there already just so.
    """

    list: str
    seq: int
    version: str
    before: str
    kind: str
    entries: int
    added: int
    removed: int
    unchanged: int = 0


class ListDesk:
    """
    Where people look at lists and change them.

    Args:
        settings: Name files, features and rules.
        store: The lists in Redis.
        sets: The rule sets in Redis.
        actor: Who sits here; the name is believed.
        tokens: What stands for people in payments: entries that are people become tokens on their way in.
    """

    def __init__(self, settings: Settings, store: RedisLists, sets: RedisRuleSets, actor: str, tokens: Tokens) -> None:
        self._settings = settings
        self._store = store
        self._sets = sets
        self.actor = actor
        self._library = ListLibrary(store)
        self._tokens = tokens
        self._files, self._file_rates = ListFiles(settings, tokens).read()

    def in_payments(self, value: str) -> str:
        """
        Return how a value stands in payments once a worker has read them.
        """
        return self._tokens.text(value)

    def written(self, value: str) -> str:
        """
        Return the one way in which an entry stands in a list.
        """
        return self.in_payments(normal(value))

    async def overview(self) -> list[ListRow]:
        """
        Return every list, in alphabetical order.
        """
        pointers = await self._store.pointers()
        rows = []
        for name in sorted((self._files.keys() | versions_in_force(pointers).keys()) - {RATES}):
            pointer = pointers.get(name, ListPointer())
            hits = sum(one.hits for one in (await self._store.hits(name)).values())
            in_redis = bool(pointer.version)
            rows.append(
                ListRow(
                    name=name,
                    where="redis" if in_redis else FROM_FILE,
                    version=pointer.version or self._files[name].version,
                    entries=pointer.entries if in_redis else len(self._files[name]),
                    hits=hits,
                    pointer=pointer,
                )
            )
        return rows

    async def contents(self, name: str, *, version: str = "", at_ms: int | None = None) -> ListState:
        """
        Return what a list holds: now, in a version, or at some time by the history.

        Raises:
            InvalidRule: There is no such list or version.
        """
        if version:
            return ListState(contents=await self._library.contents(version), where=f"version {version}")
        if at_ms is not None:
            return await self._as_of(name, at_ms)
        pointer = (await self._store.pointers()).get(name, ListPointer())
        if pointer.version:
            return ListState(contents=await self._library.contents(pointer.version), where=f"Redis, change {pointer.seq}")
        return ListState(contents=self._file(name), where="the file of the settings")

    async def _as_of(self, name: str, at_ms: int) -> ListState:
        changes = [one for one in await self._store.history() if one.list == name and one.at_ms <= at_ms]
        if changes and changes[-1].version:
            return ListState(
                contents=await self._library.contents(changes[-1].version), where=f"Redis, change {changes[-1].seq}"
            )
        return ListState(contents=self._file(name), where="the file of the settings, as it is now")

    async def lists_as_of(self, at_ms: int) -> dict[str, ListContents]:
        """
        Return every list as it was at some time; one that came from a file then, as its file is now.
        """
        names = {one.list for one in await self._store.history()} | self._files.keys()
        found = {}
        for name in sorted(names - {RATES}):
            changes = [one for one in await self._store.history() if one.list == name and one.at_ms <= at_ms]
            if changes and changes[-1].version:
                found[name] = await self._library.contents(changes[-1].version)
            elif name in self._files:
                found[name] = self._files[name]
        return found

    async def lists_over_time(self) -> dict[str, ListContents]:
        """
        Return every list over its history: by it payments of any time are judged by the lists of that time, in one pass.
        """
        return await lists_over_time(self._store, self._library, self._files)

    async def hits(self, name: str) -> dict[str, ListHits]:
        """
        Return the hits of the entries of a list that ever had one.
        """
        return await self._store.hits(name)

    async def history(self, name: str | None = None) -> list[ListChange]:
        """
        Return what happened to one list, or to all, the oldest first.
        """
        return [one for one in await self._store.history() if name is None or one.list == name]

    async def add(self, name: str, entries: Sequence[ListEntry], *, reason: str, kind: str = "add") -> ListEdit:
        """
        Add entries; one that is there already is replaced.

        Raises:
            InvalidRule: The name is none, or a rule in force would fail its tests.
            RuleSetRefused: Nothing would change, or somebody else was faster.
        """
        return await self._change(name, {self.written(one.value): one for one in entries}, set(), reason=reason, kind=kind)

    async def remove(self, name: str, values: Sequence[str], *, reason: str) -> ListEdit:
        """
        Take entries away.

        Raises:
            InvalidRule: An entry is not there, or a rule in force would fail its tests.
            RuleSetRefused: Somebody else was faster.
        """
        return await self._change(name, {}, {self.written(value) for value in values}, reason=reason, kind="remove")

    async def replace(self, name: str, entries: Sequence[ListEntry], *, reason: str) -> ListEdit:
        """
        Let a list hold these entries and no others.

        Raises:
            InvalidRule: The name is none, or a rule in force would fail its tests.
            RuleSetRefused: Nothing would change, or somebody else was faster.
        """
        versions({name: ListContents()})
        seen = (await self._store.pointers()).get(name, ListPointer())
        old = await self._present(name, seen)
        told = [_written(self.written(one.value), one) for one in entries]
        body = await asyncio.to_thread(full_body, told, author=self.actor, at_ms=_now_ms())
        contents = whole(body)
        if old is not None and contents.all_entries() == old.all_entries():
            raise RuleSetRefused(f"@{name} holds exactly this already")
        before = old.entries if old is not None else frozenset()
        changes = (len(contents.entries - before), len(before - contents.entries))
        return await self._point(name, seen, body, contents, kind="import", reason=reason, changes=changes, unchanged=0)

    async def rollback(self, name: str, *, reason: str) -> ListEdit:
        """
        Put the version in force again that was before the present one, down to the file.

        Raises:
            InvalidRule: A rule in force would fail its tests, or would miss the list.
            RuleSetRefused: There is nothing before, or somebody else was faster.
        """
        seen = (await self._store.pointers()).get(name, ListPointer())
        stack = _stack([one for one in await self._store.history() if one.list == name])
        if not stack:
            raise RuleSetRefused(f"nothing to roll back: @{name} is the file of the settings, or is not there")
        before = stack[-2] if len(stack) > 1 else ""
        contents = await self._library.contents(before) if before else self._files.get(name)
        await self._hold_rules_against(name, contents)
        count = len(contents) if contents is not None else 0
        move = ListMove(kind="rollback", actor=self.actor, reason=reason, entries=count)
        seq = await self._store.activate(name, seen, before, move)
        return ListEdit(
            list=name, seq=seq, version=before, before=seen.version, kind="rollback", entries=count, added=0, removed=0
        )

    async def rates(self) -> Rates | None:
        """
        Return the table of rates in force: that of the fleet, else that of the settings; None without any.
        """
        pointer = (await self._store.pointers()).get(RATES, ListPointer())
        return await self._library.rates(pointer.version) if pointer.version else self._file_rates

    async def replace_rates(self, text: str, name: str, *, reason: str) -> ListEdit:
        """
        Put another table of rates in force on the whole fleet.

        Raises:
            InvalidRule: Something in it is wrong.
            RuleSetRefused: It is in force already, or somebody else was faster.
        """
        rates = read_rates(text, name)
        seen = (await self._store.pointers()).get(RATES, ListPointer())
        if seen.version == rates.version:
            raise RuleSetRefused("these rates are in force already")
        body = StoredBody(kind="rates", payload=rates.text.encode(), entries=len(rates), author=self.actor, at_ms=_now_ms())
        await self._store.keep(body)
        move = ListMove(kind="import", actor=self.actor, reason=reason, entries=len(rates), added=len(rates))
        seq = await self._store.activate(RATES, seen, body.version, move)
        return ListEdit(
            list=RATES,
            seq=seq,
            version=body.version,
            before=seen.version,
            kind="import",
            entries=len(rates),
            added=len(rates),
            removed=0,
        )

    async def _change(
        self, name: str, added: Mapping[str, ListEntry], removed: set[str], *, reason: str, kind: str
    ) -> ListEdit:
        versions({name: ListContents()})
        seen = (await self._store.pointers()).get(name, ListPointer())
        present = await self._present(name, seen)
        old = present if present is not None else ListContents()
        absent = sorted(value for value in removed if old.entry(value) is None)
        if absent:
            raise InvalidRule(f"@{name} has no entry {', '.join(map(repr, absent[:5]))}" + (" …" if len(absent) > 5 else ""))
        new = [_written(value, entry) for value, entry in added.items() if not _same(old.entry(value), entry)]
        if not new and not removed:
            raise RuleSetRefused(f"@{name} holds exactly this already")
        body, contents = await self._body(old, seen.version, new, sorted(removed))
        count = len(contents) - len(old) + len(removed)
        return await self._point(
            name,
            seen,
            body,
            contents,
            kind=kind,
            reason=reason,
            changes=(count, len(removed)),
            unchanged=len(added) - len(new),
        )

    async def _body(
        self, old: ListContents, parent: str, added: list[ListEntry], removed: list[str]
    ) -> tuple[StoredBody, ListContents]:
        now_ms = _now_ms()
        if not parent:
            body = await asyncio.to_thread(_merged, old, added, removed, author=self.actor, at_ms=now_ms)
            return body, whole(body)
        stored = await self._store.body(parent)
        delta = ListDelta(parent=parent, added=added, removed=removed)
        return await asyncio.to_thread(changed_body, old, stored, delta, author=self.actor, at_ms=now_ms)

    async def _point(
        self,
        name: str,
        seen: ListPointer,
        body: StoredBody,
        contents: ListContents,
        *,
        kind: str,
        reason: str,
        changes: tuple[int, int],
        unchanged: int,
    ) -> ListEdit:
        await self._hold_rules_against(name, contents)
        await self._store.keep(body)
        added, removed = changes
        move = ListMove(kind=kind, actor=self.actor, reason=reason, entries=len(contents), added=added, removed=removed)
        seq = await self._store.activate(name, seen, body.version, move)
        return ListEdit(
            list=name,
            seq=seq,
            version=body.version,
            before=seen.version,
            kind=kind,
            entries=len(contents),
            added=added,
            removed=removed,
            unchanged=unchanged,
        )

    async def _hold_rules_against(self, name: str, contents: ListContents | None) -> None:
        """
        Refuse contents with which the rules in force could not be loaded again.
        """
        in_force = {
            other: await self._library.contents(version)
            for other, version in versions_in_force(await self._store.pointers()).items()
            if other not in (name, RATES)
        }
        lists = {**self._files, **in_force, **({} if contents is None else {name: contents})}
        if contents is None:
            lists.pop(name, None)
        rule_set = (await self._sets.pointer()).rule_set
        text = (await self._sets.body(rule_set)).text if rule_set else read_rules(locate(self._settings.rules_path))
        load_rules(
            text,
            features=load_rulebook(self._settings).features.names,
            lists=lists,
            name="the rules in force",
            written=self.in_payments,
        )

    async def _present(self, name: str, pointer: ListPointer) -> ListContents | None:
        return await self._library.contents(pointer.version) if pointer.version else self._files.get(name)

    def _file(self, name: str) -> ListContents:
        if name not in self._files:
            raise InvalidRule(f"there is no list @{name}")
        return self._files[name]


@asynccontextmanager
async def open_list_desk(settings: Settings, actor: str) -> AsyncIterator[ListDesk]:
    """
    Lend the desk for the lists of the fleet on the Redis that the settings name.
    """
    async with connected(address(settings), connections=2) as client:
        tokens = await tokens_of(settings, RedisTokenKey(client))
        yield ListDesk(settings, RedisLists(client), RedisRuleSets(client), actor, tokens)


def _stack(history: Sequence[ListChange]) -> list[str]:
    """
    Return the versions that a rollback goes back through, the present one last.
    """
    stack: list[str] = []
    for change in history:
        stack = stack[:-1] if change.kind == "rollback" else [*stack, change.version]
    return stack


def _merged(old: ListContents, added: Sequence[ListEntry], removed: Sequence[str], *, author: str, at_ms: int) -> StoredBody:
    gone = {*removed, *(entry.value for entry in added)}
    kept = [entry for entry in old.all_entries() if entry.value not in gone]
    return full_body([*kept, *added], author=author, at_ms=at_ms)


def _same(old: ListEntry | None, new: ListEntry) -> bool:
    """
    Say whether an entry stands there already, for the same reason and as long; who repeats it does not matter.
    """
    return old is not None and (old.until_ms, old.since_ms, old.reason) == (new.until_ms, new.since_ms, new.reason)


def _written(value: str, entry: ListEntry) -> ListEntry:
    return entry if entry.value == value else msgspec.structs.replace(entry, value=value)


def _now_ms() -> int:
    return int(time.time() * 1000)
