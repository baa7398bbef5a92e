"""
What a named list holds, and how a value is looked up in it: exact entries, networks, domains of e-mail addresses.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from fraudstream.domain.errors import InvalidRule

_Address = IPv4Address | IPv6Address


@lru_cache(maxsize=65_536)
def read_address(text: str) -> tuple[int, int] | None:
    """
    Return version and number of an internet address, None when the text is none.

    An IPv4 address in the clothes of IPv6 (``::ffff:1.2.3.4``) counts as IPv4, or a list of networks could be walked around.
    """
    try:
        address: _Address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def read_network(text: str) -> IPv4Network | IPv6Network | None:
    """
    Return a network in CIDR notation (a lone address is a network of one), None when the text is none.
    """
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


class Networks:
    """
    Addresses by prefix: one look-up for each length of prefix that occurs, however many networks there are.
    """

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        found: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            found[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)
        self._prefixes = {version: tuple(lengths.items()) for version, lengths in found.items()}

    def __bool__(self) -> bool:
        return any(self._prefixes.values())

    def contains(self, text: str) -> bool | None:
        """
        Say whether an address lies in one of the networks; None when the text is no address.
        """
        address = read_address(text)
        if address is None:
            return None
        version, number = address
        return any(number >> shift in prefixes for shift, prefixes in self._prefixes[version])


def email_domain(text: str) -> str | None:
    """
    Return what stands behind the last ``@`` in small letters, None without one.
    """
    _, at, domain = text.rpartition("@")
    return domain.lower() if at and domain else None


class ListContents:
    """
    The entries of one list, immutable.

    An entry with ``/`` that reads as a network holds every address in it; an entry that begins with ``@`` holds every e-mail
    address of exactly that domain; any other entry holds itself, character for character.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self.entries = frozenset(entries)
        # Length before content: no entry can pretend to be two.
        written = "".join(f"{len(entry)}:{entry}\n" for entry in sorted(self.entries))
        #: First 16 hex digits of the SHA-256 over the sorted entries.
        self.version = sha256(written.encode(errors="surrogatepass")).hexdigest()[:16]
        self.domains = frozenset(entry[1:].lower() for entry in self.entries if len(entry) > 1 and entry[0] == "@")
        self._networks = Networks(network for entry in self.entries if "/" in entry and (network := read_network(entry)))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def plain(self) -> bool:
        """
        Whether a look-up is one question to a set.
        """
        return not self.domains and not self._networks

    def contains(self, value: str) -> bool:
        """
        Say whether the list holds a value: itself, its domain, or its network.
        """
        if value in self.entries:
            return True
        if self.domains and email_domain(value) in self.domains:
            return True
        return bool(self._networks) and self._networks.contains(value) is True

    @cached_property
    def networks(self) -> Networks:
        """
        Every entry that is a network or a lone address.
        """
        return Networks(network for entry in self.entries if (network := read_network(entry)))


def read_list(text: str) -> ListContents:
    """
    Read a list file: one entry a line, blanks around it dropped; ``#`` at the start of a line or behind a blank is a comment.
    """
    lines = (line.strip() for line in text.lstrip("\ufeff").splitlines())
    bare = (line.partition(" #")[0].rstrip() for line in lines if not line.startswith("#"))
    return ListContents(entry for entry in bare if entry)


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
