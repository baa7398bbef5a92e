"""
A list as bytes that are looked up as they lie: what is sent to the workers, and what its version is the hash of.

A head (JSON) and arrays behind it, little endian, each at a multiple of eight: the hashes of the entries in order, where the
bytes of each lie, from when and until when it counts, its networks by prefix, and who put it there. Reading one costs no
more than reading the bytes, so a list of a million entries can be taken over while payments are judged.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from fraudstream.domain.errors import InvalidRule
from fraudstream.rules.entries import ListEntry, as_entries, network_of

_MAGIC = b"FSL1"
_NEVER, _ALWAYS = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_DTYPES: dict[str, np.dtype[Any]] = {
    "hashes": np.dtype("<u8"),
    "starts": np.dtype("<u4"),
    "since": np.dtype("<i8"),
    "until": np.dtype("<i8"),
    "sources": np.dtype("<u4"),
    "net_keys": np.dtype("<u8"),
    "net_lows": np.dtype("<u8"),
    "net_rows": np.dtype("<u4"),
    "blob": np.dtype("u1"),
}
_LOW = (1 << 64) - 1


class _Nets(msgspec.Struct, frozen=True):
    """
    Networks of one version and length of prefix, whether written with a length or as a lone address, and where they lie.
    """

    version: int
    length: int
    lone: bool
    begin: int
    end: int


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """
    ``sections`` are names with the count of their elements; ``sources`` are reason, author and time of writing.
    """

    entries: int
    sections: list[tuple[str, int]]
    domains: bool = False
    nets: list[_Nets] = []
    sources: list[tuple[str, str, int]] = []


class Packed:
    """
    The entries of one list in the order of their hashes; rows count from 0.

    Args:
        body: As ``pack`` made it.

    Raises:
        InvalidRule: It is no such body.
    """

    def __init__(self, body: bytes) -> None:
        if body[:4] != _MAGIC:
            raise InvalidRule("the body of a list does not begin as one")
        end = 8 + int.from_bytes(body[4:8], "little")
        try:
            self._head = msgspec.json.decode(body[8:end], type=_Head)
            self._arrays = dict(_sections(body, self._head, _aligned(end)))
        except (msgspec.DecodeError, ValueError, KeyError) as exc:
            raise InvalidRule(f"the body of a list cannot be read: {exc}") from exc
        self.body = body
        self._hashes, self._starts = self._arrays["hashes"], self._arrays["starts"]
        self._blob = self._arrays["blob"].data
        if len(self._starts) != len(self._hashes) + 1 or int(self._starts[-1]) != len(self._blob):
            raise InvalidRule("the body of a list is cut off")
        self.domains = self._head.domains
        self.timed = "until" in self._arrays
        self._since, self._until = self._arrays.get("since"), self._arrays.get("until")
        self._nets = self._head.nets
        self.slashes = any(not nets.lone for nets in self._nets)

    def __len__(self) -> int:
        return self._head.entries

    def key(self, row: int) -> bytes:
        """
        Return the bytes of an entry.
        """
        return bytes(self._blob[self._starts[row] : self._starts[row + 1]])

    def texts(self) -> Iterator[bytes]:
        """
        Return the bytes of every entry, in the order of the rows.
        """
        blob = self._blob.tobytes()
        return (blob[begin:end] for begin, end in pairwise(self._starts.tolist()))

    def entry(self, row: int) -> ListEntry:
        """
        Return an entry with all that is known of it.
        """
        reason, author, added_ms = self._source(row)
        return ListEntry(
            self.key(row).decode(errors="surrogatepass"),
            until_ms=_bound(self._until, row, _NEVER),
            since_ms=_bound(self._since, row, _ALWAYS),
            reason=reason,
            author=author,
            added_ms=added_ms,
        )

    def _source(self, row: int) -> tuple[str, str, int]:
        codes = self._arrays.get("sources")
        return self._head.sources[int(codes[row])] if codes is not None else ("", "", 0)

    def counts_at(self, row: int, at_ms: float | None) -> bool:
        """
        Say whether an entry counts for a payment made at a time; at any time for None.
        """
        if at_ms is None or self._since is None or self._until is None:
            return True
        return bool(self._since[row] <= at_ms < self._until[row])

    def rows_of(self, keys: Sequence[bytes]) -> list[tuple[int, range]]:
        """
        Return the place of each key that may be there, with the rows of its hash: all the true ones, hardly any other.
        """
        if not len(self) or not keys:
            return []
        hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, keys), np.uint64, len(keys))
        return _equal(self._hashes, hashes)

    def networks(self, version: int, numbers: Sequence[int], *, lone: bool) -> Iterator[tuple[int, int]]:
        """
        Return the place of each address that lies in a network, with the row of the network; the longest prefix first.

        Args:
            version: 4 or 6.
            numbers: Addresses of that version.
            lone: Whether entries that are a lone address count as well.
        """
        for nets in self._nets:
            if nets.version != version or (nets.lone and not lone):
                continue
            keys, lows, rows = (self._arrays[name] for name in ("net_keys", "net_lows", "net_rows"))
            shift = (32 if version == 4 else 128) - nets.length
            prefixes = [number >> shift << shift for number in numbers]
            part = slice(nets.begin, nets.end)
            wanted = np.array([prefix >> 64 if version == 6 else prefix for prefix in prefixes], np.uint64)
            for place, found in _equal(keys[part], wanted):
                low = prefixes[place] & _LOW if version == 6 else 0
                begin = nets.begin + found.start
                # Behind one upper half the lower halves stand in order.
                at = begin + int(np.searchsorted(lows[begin : nets.begin + found.stop], np.uint64(low)))
                while at < nets.begin + found.stop and int(lows[at]) == low:
                    yield place, int(rows[at])
                    at += 1

    @property
    def memory_bytes(self) -> int:
        """
        What the list takes.
        """
        return len(self.body)


def pack(values: Iterable[str | ListEntry]) -> bytes:
    """
    Return a list as bytes: the same entries give the same bytes, in whatever order they come.
    """
    entries = list(as_entries(values).values())
    keys = [entry.value.encode(errors="surrogatepass") for entry in entries]
    hashes = np.fromiter(map(xxhash.xxh3_64_intdigest, keys), np.uint64, len(keys))
    order = _ordered(hashes, keys, entries)
    entries, keys = [entries[at] for at in order], [keys[at] for at in order]
    nets, net_arrays = _networks([entry.value for entry in entries])
    arrays: dict[str, NDArray[Any]] = {
        "hashes": hashes[order],
        "starts": np.concatenate(([0], np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys))))),
        **_times(entries),
        **net_arrays,
    }
    sources = _sources(entries, arrays)
    arrays["blob"] = np.frombuffer(b"".join(keys), np.uint8)
    if len(arrays["blob"]) > 2**32 - 1:
        raise InvalidRule("a list holds at most 4 GB of text")
    head = _Head(
        entries=len(entries),
        sections=[(name, len(array)) for name, array in arrays.items()],
        domains=any(len(key) > 1 and key[:1] == b"@" for key in keys),
        nets=nets,
        sources=sources,
    )
    return _written(head, arrays)


def _written(head: _Head, arrays: dict[str, NDArray[Any]]) -> bytes:
    text = msgspec.json.encode(head)
    parts = [_MAGIC, len(text).to_bytes(4, "little"), text, b"\0" * (_aligned(8 + len(text)) - 8 - len(text))]
    for name, array in arrays.items():
        written = array.astype(_DTYPES[name]).tobytes()
        parts += [written, b"\0" * (_aligned(len(written)) - len(written))]
    return b"".join(parts)


def _sections(body: bytes, head: _Head, at: int) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, count in head.sections:
        dtype = _DTYPES[name]
        yield name, np.frombuffer(body, dtype, count, at)
        at = _aligned(at + count * dtype.itemsize)


def _ordered(hashes: NDArray[np.uint64], keys: list[bytes], entries: list[ListEntry]) -> list[int]:
    """
    Return the places in the order of the hashes; of equal hashes by text, then time, so that equal lists are equal bytes.
    """
    order: list[int] = np.argsort(hashes, kind="stable").tolist()
    ordered = hashes[order]
    doubled = (ordered[1:] == ordered[:-1]).nonzero()[0]
    if len(doubled):
        order.sort(key=lambda at: (int(hashes[at]), keys[at], entries[at].since_ms or _ALWAYS, entries[at].until_ms or _NEVER))
    return order


def _times(entries: list[ListEntry]) -> dict[str, NDArray[np.int64]]:
    if all(entry.until_ms is None and entry.since_ms is None for entry in entries):
        return {}
    return {
        "since": np.array([_ALWAYS if entry.since_ms is None else entry.since_ms for entry in entries], np.int64),
        "until": np.array([_NEVER if entry.until_ms is None else entry.until_ms for entry in entries], np.int64),
    }


def _sources(entries: list[ListEntry], arrays: dict[str, NDArray[Any]]) -> list[tuple[str, str, int]]:
    """
    Return who wrote entries, when and why, each answer once, and put which of them each entry has into the arrays.
    """
    told = [(entry.reason, entry.author, entry.added_ms) for entry in entries]
    known = sorted(set(told))
    if known in ([], [("", "", 0)]):
        return []
    codes = {source: code for code, source in enumerate(known)}
    arrays["sources"] = np.fromiter(map(codes.__getitem__, told), np.int64, len(told))
    return known


def _networks(values: Sequence[str]) -> tuple[list[_Nets], dict[str, NDArray[Any]]]:
    found: dict[tuple[int, int, bool], list[tuple[int, int, int]]] = {}
    for row, value in enumerate(values):
        network = network_of(value)
        if network is not None:
            address = int(network.network_address)
            halves = (address, 0) if network.version == 4 else (address >> 64, address & _LOW)
            found.setdefault((network.version, network.prefixlen, "/" not in value), []).append((*halves, row))
    nets: list[_Nets] = []
    lines: list[tuple[int, int, int]] = []
    for (version, length, lone), prefixes in sorted(found.items(), key=lambda one: (-one[0][1], one[0])):
        nets.append(_Nets(version, length, lone, len(lines), len(lines) + len(prefixes)))
        lines += sorted(prefixes)
    if not lines:
        return [], {}
    highs, lows, rows = zip(*lines, strict=True)
    return nets, {
        "net_keys": np.array(highs, np.uint64),
        "net_lows": np.array(lows, np.uint64),
        "net_rows": np.array(rows, np.int64),
    }


def _equal(ordered: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> list[tuple[int, range]]:
    """
    Return which of the wanted numbers stand in an ordered row, and where.
    """
    if not len(ordered):
        return []
    begin = np.searchsorted(ordered, wanted)
    there = (ordered[np.minimum(begin, len(ordered) - 1)] == wanted).nonzero()[0]
    if not len(there):
        return []
    end = np.searchsorted(ordered, wanted[there], side="right")
    return [
        (place, range(first, last))
        for place, first, last in zip(there.tolist(), begin[there].tolist(), end.tolist(), strict=True)
    ]


def _bound(times: NDArray[np.int64] | None, row: int, open_end: int) -> int | None:
    if times is None or int(times[row]) == open_end:
        return None
    return int(times[row])


def _aligned(at: int) -> int:
    return -(-at // 8) * 8
