"""
The entries of a list as people write them: a value, until when it counts, and who put it there and why.
"""

from collections.abc import Iterable

import msgspec

from fraudstream.rules.networks import Network, read_network

#: What an address or a network is made of; whatever has another character is none, and need not be read as one.
_OF_ADDRESSES = "0123456789abcdefABCDEF.:/"


class ListEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    One entry. ``until_ms`` is the payment time (milliseconds since 1970) from which on it no longer counts, None for never;
    ``since_ms`` the one before which it does not count yet. ``added_ms`` is when it was written, 0 when nobody noted it.
    """

    value: str
    until_ms: int | None = None
    since_ms: int | None = None
    reason: str = ""
    author: str = ""
    added_ms: int = 0


def normal(value: str) -> str:
    """
    Return the one way in which an entry is written: domains in small letters, networks without bits of a host.
    """
    if value[:1] == "@" and len(value) > 1:
        return value.lower()
    if "/" in value and (network := network_of(value)) is not None:
        return str(network)
    return value


def network_of(value: str) -> Network | None:
    """
    Return the network, or the lone address as a network of one, that an entry is; None for most.
    """
    return None if value.strip(_OF_ADDRESSES) or ("." not in value and ":" not in value) else read_network(value)


def email_domain(text: str) -> str | None:
    """
    Return what stands behind the last ``@`` in small letters, None without one.
    """
    _, at, domain = text.rpartition("@")
    return domain.lower() if at and domain else None


def as_entries(values: Iterable[str | ListEntry]) -> dict[tuple[str, int | None, int | None], ListEntry]:
    """
    Return entries by value and time, each once, the last one winning; values in their normal form.
    """
    found: dict[tuple[str, int | None, int | None], ListEntry] = {}
    for one in values:
        entry = ListEntry(one) if isinstance(one, str) else one
        value = normal(entry.value)
        if value != entry.value:
            entry = msgspec.structs.replace(entry, value=value)
        found[value, entry.since_ms, entry.until_ms] = entry
    return found
