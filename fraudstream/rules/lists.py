"""
What a named list holds, and how values are looked up in it: exact entries, networks, domains of e-mail addresses.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.entries import ListEntry, email_domain, network_of
from fraudstream.rules.networks import Networks, read_address, read_network
from fraudstream.rules.packed import Packed, pack

__all__ = ["ListContents", "Networks", "email_domain", "read_address", "read_list", "read_network", "version_of", "versions"]

#: Most entries of a list that is also kept as a set of strings: quicker to ask, four times as large, slow to build.
AS_SET = 65_536
#: Hex digits of a version.
_VERSION_DIGITS = 16

Times = NDArray[np.float64]
Bools = NDArray[np.bool_]


def version_of(body: bytes) -> str:
    """
    Return what a body is called by: the first 16 hex digits of its SHA-256.
    """
    return sha256(body).hexdigest()[:_VERSION_DIGITS]


class ListContents:
    """
    The entries of one list, immutable.

    An entry with ``/`` that reads as a network holds every address in it; an entry that begins with ``@`` holds every e-mail
    address of exactly that domain; any other entry holds itself, character for character. An entry that runs out holds
    nothing for payments made from that time on, by their own clock.

    ``version`` names these contents for ever. ``plain`` says that a look-up is one question to ``exact``, ``timed`` that
    answers depend on the time of the payment.
    """

    def __init__(
        self,
        values: Iterable[str | ListEntry] = (),
        *,
        parts: tuple[Packed, ...] = (),
        hidden: frozenset[bytes] = frozenset(),
        version: str = "",
    ) -> None:
        self._parts = parts or (Packed(pack(values)),)
        self._hidden = hidden
        self.version = version or version_of(self._parts[0].body)
        self.timed = any(part.timed for part in self._parts)
        self._domains = any(part.domains for part in self._parts)
        self._slashes = any(part.slashes for part in self._parts)
        self._length = sum(map(len, self._parts)) - len(self._hidden)
        self.plain = not (self.timed or self._domains or self._slashes) and self._length <= AS_SET
        self.exact = self.entries if self.plain else frozenset[str]()

    def changed(self, added: Iterable[ListEntry], removed: Iterable[str], *, version: str) -> "ListContents":
        """
        Return other contents with some entries added and some gone; these stay as they are.

        It costs as much as was changed since the body that was read whole, however large that is.

        Args:
            added: Entries; one that is there already is replaced.
            removed: Values of entries, as they stand there.
            version: What the new contents are called.
        """
        new = list(added)
        replaced = {value.encode(errors="surrogatepass") for value in (*removed, *(entry.value for entry in new))}
        base, *over = self._parts
        kept = [part.entry(row) for part in over for row, key in enumerate(part.texts()) if key not in replaced]
        hidden = self._hidden.union(key for key in replaced if _has(base, key))
        return ListContents(parts=(base, Packed(pack([*kept, *new]))), hidden=hidden, version=version)

    def __len__(self) -> int:
        return self._length

    @property
    def overlay(self) -> int:
        """
        Entries that were changed since the body that was read whole.
        """
        return sum(map(len, self._parts[1:])) + len(self._hidden)

    @property
    def memory_bytes(self) -> int:
        """
        What the list takes, without the set of a small one.
        """
        return sum(part.memory_bytes for part in self._parts)

    def _keys(self) -> Iterable[bytes]:
        for number, part in enumerate(self._parts):
            yield from (key for key in part.texts() if number or key not in self._hidden)

    @cached_property
    def entries(self) -> frozenset[str]:
        """
        Every entry as text, whether it counts now or not.
        """
        return frozenset(entry_text(key) for key in self._keys())

    def all_entries(self) -> list[ListEntry]:
        """
        Return every entry with all that is known of it, in alphabetical order.
        """
        found = [
            part.entry(row)
            for number, part in enumerate(self._parts)
            for row, key in enumerate(part.texts())
            if number or key not in self._hidden
        ]
        return sorted(found, key=lambda entry: (entry.value, entry.since_ms or 0))

    def entry(self, value: str) -> ListEntry | None:
        """
        Return the entry that is written exactly so; None when there is none.
        """
        key = value.encode(errors="surrogatepass")
        for part, row in self._rows(key):
            return part.entry(row)
        return None

    def _rows(self, key: bytes) -> Iterable[tuple[Packed, int]]:
        for number, part in enumerate(self._parts):
            if number or key not in self._hidden:
                for _, rows in part.rows_of([key]):
                    yield from ((part, row) for row in rows if part.key(row) == key)

    def holds(self, values: Sequence[str | None], at_ms: Times | None = None) -> NDArray[np.bool_]:
        """
        Say of each value whether the list holds it: itself, its domain, or its network.

        Args:
            values: None is held by no list.
            at_ms: When each payment was made; None asks whether it is there at any time.
        """
        return np.array([entry is not None for entry in self.matches(values, at_ms)], np.bool_)

    def matches(self, values: Sequence[str | None], at_ms: Times | None = None) -> list[str | None]:
        """
        Return the entry that holds each value, None where none does; see ``holds``.
        """
        times = None if at_ms is None or not self.timed else at_ms.tolist()
        found: list[str | None] = [None] * len(values)
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        self._match_keys(found, [(place, value.encode(errors="surrogatepass")) for place, value in known], times)
        if self._domains:
            domains = [(place, email_domain(value)) for place, value in known if found[place] is None and "@" in value]
            named = [(place, f"@{one}".encode(errors="surrogatepass")) for place, one in domains if one is not None]
            self._match_keys(found, named, times)
        if self._slashes:
            self._match_networks(found, [(place, value) for place, value in known if found[place] is None], times, lone=False)
        return found

    def in_networks(
        self, values: Sequence[str | None], at_ms: Times | None = None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """
        Say which values are addresses in an entry that is a network or a lone address, and which are addresses at all.
        """
        found, addresses = self._in_networks(values, at_ms)
        are = np.zeros(len(values), np.bool_)
        are[addresses] = True
        return np.array([entry is not None for entry in found], np.bool_), are

    def network_matches(self, values: Sequence[str | None], at_ms: Times | None = None) -> list[str | None]:
        """
        Return the entry whose network each address lies in, None where there is none; see ``in_networks``.
        """
        return self._in_networks(values, at_ms)[0]

    def _in_networks(self, values: Sequence[str | None], at_ms: Times | None) -> tuple[list[str | None], list[int]]:
        times = None if at_ms is None or not self.timed else at_ms.tolist()
        found: list[str | None] = [None] * len(values)
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        return found, self._match_networks(found, known, times, lone=True)

    def _match_keys(self, found: list[str | None], asked: list[tuple[int, bytes]], times: list[float] | None) -> None:
        keys = [key for _, key in asked]
        for number, part in enumerate(self._parts):
            for at, rows in part.rows_of(keys):
                place, key = asked[at]
                if (number or key not in self._hidden) and any(
                    part.key(row) == key and part.counts_at(row, None if times is None else times[place]) for row in rows
                ):
                    found[place] = entry_text(key)

    def _match_networks(
        self, found: list[str | None], asked: list[tuple[int, str]], times: list[float] | None, *, lone: bool
    ) -> list[int]:
        """
        Note the network of each address, and return the places of what is an address at all.
        """
        addresses = [(place, address) for place, value in asked if (address := read_address(value)) is not None]
        for version in (4, 6):
            places = [place for place, (kind, _) in addresses if kind == version]
            numbers = [number for _, (kind, number) in addresses if kind == version]
            for part_number, part in enumerate(self._parts if numbers else ()):
                for at, row in part.networks(version, numbers, lone=lone):
                    place, key = places[at], part.key(row)
                    hidden = not part_number and key in self._hidden
                    if found[place] is None and not hidden and part.counts_at(row, None if times is None else times[place]):
                        found[place] = entry_text(key)
        return [place for place, _ in addresses]

    def contains(self, value: str, at_ms: float | None = None) -> bool:
        """
        Say whether the list holds one value for a payment made at a time, or at any time: the reference for ``holds``.
        """
        if len(self) > AS_SET:
            return bool(self.holds([value], None if at_ms is None else np.array([at_ms]))[0])
        return self._reference.contains(value, at_ms)

    def in_network(self, value: str, at_ms: float | None = None) -> bool | None:
        """
        Say whether one address lies in an entry; None when the value is no address: the reference for ``in_networks``.
        """
        if len(self) > AS_SET:
            inside, address = self.in_networks([value], None if at_ms is None else np.array([at_ms]))
            return bool(inside[0]) if address[0] else None
        return self._reference.in_network(value, at_ms)

    @cached_property
    def _reference(self) -> "_Reference":
        return _Reference(self.all_entries())


class _Reference:
    """
    The same answers in the plainest way: every entry is looked at by what it means.
    """

    def __init__(self, entries: Sequence[ListEntry]) -> None:
        self._by_value: dict[str, list[ListEntry]] = {}
        for entry in entries:
            self._by_value.setdefault(entry.value, []).append(entry)
        self._networks = [(entry, network) for entry in entries if (network := network_of(entry.value)) is not None]
        self._timed = any(entry.until_ms is not None or entry.since_ms is not None for entry, _ in self._networks)
        self._any_time = {lone: self._of_time(None, lone=lone) for lone in (False, True)}

    def contains(self, value: str, at_ms: float | None) -> bool:
        domain = email_domain(value)
        asked = [value] if domain is None else [value, f"@{domain}"]
        if any(_counts(entry, at_ms) for one in asked for entry in self._by_value.get(one, ())):
            return True
        return self._inside(value, at_ms, lone=False) is True

    def in_network(self, value: str, at_ms: float | None) -> bool | None:
        return self._inside(value, at_ms, lone=True)

    def _inside(self, value: str, at_ms: float | None, *, lone: bool) -> bool | None:
        networks = self._of_time(at_ms, lone=lone) if self._timed else self._any_time[lone]
        return networks.contains(value)

    def _of_time(self, at_ms: float | None, *, lone: bool) -> Networks:
        wanted = (one for one in self._networks if lone or "/" in one[0].value)
        return Networks(network for entry, network in wanted if _counts(entry, at_ms))


def _counts(entry: ListEntry, at_ms: float | None) -> bool:
    if at_ms is None:
        return True
    return (entry.since_ms is None or entry.since_ms <= at_ms) and (entry.until_ms is None or at_ms < entry.until_ms)


def _has(part: Packed, key: bytes) -> bool:
    return any(part.key(row) == key for _, rows in part.rows_of([key]) for row in rows)


def entry_text(key: bytes) -> str:
    """
    Return an entry as text.
    """
    return key.decode(errors="surrogatepass")


def list_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """
    Return the entries of the lines of a list file, with their numbers from 1: blanks around an entry are dropped; ``#`` at the
    start of a line or behind a blank begins a comment.
    """
    for number, line in enumerate(lines, 1):
        bare = line.lstrip("\ufeff").strip()
        entry = "" if bare.startswith("#") else bare.partition(" #")[0].rstrip()
        if entry:
            yield number, entry


def read_list(text: str, written: Callable[[str], str] = str) -> ListContents:
    """
    Read a list file: one entry a line; see ``list_lines``. ``written`` says how an entry stands in payments.
    """
    return ListContents(written(entry) for _, entry in list_lines(text.splitlines()))


def versions(lists: Mapping[str, ListContents]) -> dict[str, str]:
    """
    Return the version of each list by name, in alphabetical order.

    Raises:
        InvalidRule: A name is not made of small letters, digits and underscores.
    """
    for name in lists:
        if not name.isascii() or not name.isidentifier() or name != name.lower():
            raise InvalidRule(f"list {name!r}: a name has small letters, digits and underscores only")
    return {name: lists[name].version for name in sorted(lists)}
