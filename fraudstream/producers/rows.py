"""
Synthetic transactions before they are written: one numpy row each, entities as numbers.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.producers.plan import Scenario
from fraudstream.producers.population import Floats

#: One transaction. Numbers below zero are absences. ``amount`` is in US cents, ``at_ms`` in milliseconds since 1970 UTC,
#: ``city`` says in whose country the payer appears to be, ``counterparty`` is a person's number.
ROW = np.dtype(
    [
        ("at_ms", "i8"),
        ("amount", "i8"),
        ("user", "i8"),
        ("card", "i8"),
        ("merchant", "i8"),
        ("device", "i8"),
        ("ip", "i8"),
        ("city", "i8"),
        ("latitude", "f8"),
        ("longitude", "f8"),
        ("channel", "i8"),
        ("counterparty", "i8"),
        ("scenario", "i8"),
        ("fraud", "?"),
    ]
)
Rows = NDArray[np.void]
SCENARIOS: tuple[Scenario, ...] = tuple(Scenario)
#: Mean radius of the earth in kilometres (IUGG).
_EARTH_KM = 6371.0


class Channel(IntEnum):
    """
    How a payment was made; its name in lower case is the word on the wire.
    """

    POS = 0
    WEB = 1
    APP = 2
    TRANSFER = 3


class Payment(NamedTuple):
    """
    Who pays with which card, where, and how many US cents; -1 is an absence (a guest has no person).
    """

    person: int
    card: int
    merchant: int
    cents: float


class Origin(NamedTuple):
    """
    Where a payment over the network comes from: a device, an address, and the city that the address gives away.
    """

    device: int
    ip: int
    city: int


def distance_km(latitude: float, longitude: float, latitudes: Floats, longitudes: Floats) -> Floats:
    """
    Return great-circle distances from one place to others.

    References:
        Sinnott 1984, "Virtues of the haversine", Sky and Telescope 68.
    """
    here, there = np.radians(latitude), np.radians(latitudes)
    half = np.sin((there - here) / 2) ** 2
    half = half + np.cos(here) * np.cos(there) * np.sin(np.radians(longitudes - longitude) / 2) ** 2
    return np.asarray(2 * _EARTH_KM * np.arcsin(np.sqrt(half)), dtype=np.float64)
