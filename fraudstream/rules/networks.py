"""
Internet addresses and networks: read from text, and looked up by prefix.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=65_536)
def read_address(text: str) -> tuple[int, int] | None:
    """
    Return version and number of an internet address, None when the text is none.

    An IPv4 address in the clothes of IPv6 (``::ffff:1.2.3.4``) counts as IPv4, or a list of networks could be walked around.
    """
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def read_network(text: str) -> Network | None:
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

    def __init__(self, networks: Iterable[Network]) -> None:
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
