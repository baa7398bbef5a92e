"""
Synthetic transactions before they are written: one numpy row each, entities as numbers, and the pen that adds single rows.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream.producers.places import CITIES
from fraudstream.producers.plan import Scenario, SyntheticPlan
from fraudstream.producers.population import (
    HOME_ADDRESSES,
    HOME_BLOCK,
    Floats,
    Ints,
    Population,
    as_priced,
    draw_merchants,
    prices,
)

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


@dataclass
class Scene:
    """
    Where episodes are written: the plan, the people, chance, the ordinary rows so far, and numbers that nobody has yet.
    """

    plan: SyntheticPlan
    rng: np.random.Generator
    people: Population
    ordinary: Rows
    written: list[tuple[float, ...]] = field(default_factory=list)
    fresh: int = 0

    def new_number(self) -> int:
        """
        Return a number that no person, card or device of the population has.
        """
        self.fresh += 1
        return 8 * len(self.people) + self.fresh

    def person(self) -> int:
        """
        Draw a person, active ones more often.
        """
        row = int(self.rng.integers(0, len(self.ordinary)))
        owner = int(self.ordinary["user"][row])
        return owner if owner >= 0 else int(self.rng.integers(0, len(self.people)))

    def moment(self, room_ms: float = 0.0) -> float:
        """
        Draw a time within the span that leaves ``room_ms`` until its end, where the span is long enough for that.
        """
        return self.plan.start_ms + self.rng.random() * max(self.plan.end_ms - self.plan.start_ms - room_ms, 1.0)

    def waking(self, person: int, room_ms: float = 0.0) -> float:
        """
        Draw a time as people live: that of some ordinary payment, give or take half an hour, moved to this person's clock.
        """
        row = int(self.rng.integers(0, len(self.ordinary)))
        theirs = int(self.ordinary["city"][row])
        lag_h = CITIES[theirs].offset_h - CITIES[int(self.people.city[person])].offset_h
        at_ms = float(self.ordinary["at_ms"][row]) + lag_h * 3_600_000 + self.rng.normal(0, 1_800_000)
        inside = self.plan.start_ms <= at_ms < self.plan.end_ms - room_ms
        return at_ms if inside else self.moment(room_ms)

    def count(self, mean: float, least: int = 1) -> int:
        """
        Draw a number of things: at least ``least``, ``mean`` on average, now and then many more.
        """
        more = max(mean - least, 0.0)
        return least + int(self.rng.poisson(more * self.rng.gamma(2.0, 0.5)))

    def median(self, median: float, sigma: float) -> float:
        """
        Draw from a lognormal distribution.
        """
        return float(median * np.exp(sigma * self.rng.standard_normal()))

    def chance(self, share: float) -> bool:
        """
        Say yes so often.
        """
        return bool(self.rng.random() < share)

    def card(self, person: int) -> int:
        """
        Draw one of a person's cards, the first more often.
        """
        return int(self.people.cards[person, 1 if self.chance(0.2) else 0])

    def address(self, person: int) -> int:
        """
        Draw an address that a person's payments usually come from.
        """
        slot = int(self.rng.integers(0, 4))
        return int(self.people.home[person]) if self.chance(0.6) else int(self.people.mobile[person, slot])

    def strange_address(self) -> int:
        """
        Draw an address for somebody without a home here: half of them one that a carrier's customers share.
        """
        if self.chance(0.5):
            owner, slot = self.rng.integers(0, self.people.mobile.shape)
            return int(self.people.mobile[owner, slot])
        return HOME_BLOCK + int(self.rng.integers(0, HOME_ADDRESSES))

    def own(self, person: int) -> Origin:
        """
        Return a person's own device at one of the usual addresses.
        """
        return Origin(int(self.people.devices[person, 0]), self.address(person), int(self.people.city[person]))

    def strange(self, city: int) -> Origin:
        """
        Return a device that nobody saw at an address that nobody uses, seemingly in a city.
        """
        return Origin(self.new_number(), self.strange_address(), city)

    def foreign_city(self, city: int) -> int:
        """
        Draw another city, the large ones more often.
        """
        shares = np.array([place.share if number != city else 0.0 for number, place in enumerate(CITIES)])
        return int(self.rng.choice(len(CITIES), p=shares / shares.sum()))

    def merchants(self, count: int, among: NDArray[np.bool_]) -> Ints:
        """
        Draw merchants by popularity among some.
        """
        return draw_merchants(self.people.merchants, among, count, self.rng)

    def price(self, merchant: int, person: int, factor: float = 1.0) -> float:
        """
        Draw a price in cents.
        """
        return float(prices(self.people, np.array([merchant]), np.array([person]), self.rng, factor)[0])

    def asked(self, merchant: int, cents: float) -> float:
        """
        Return the nearest amount that a merchant could ask.
        """
        return float(as_priced(self.people.merchants, np.array([merchant]), np.array([cents], dtype=np.int64))[0])

    def shop(self, at_ms: float, payment: Payment, scenario: Scenario) -> None:
        """
        Write a payment at a merchant's till: no device, no address, the merchant's own place.
        """
        shops, merchant = self.people.merchants, payment.merchant
        place = (int(shops.city[merchant]), float(shops.latitude[merchant]), float(shops.longitude[merchant]))
        self._write(at_ms, payment, (-1, -1, *place, Channel.POS, -1), scenario)

    def order(self, at_ms: float, payment: Payment, scenario: Scenario, origin: Origin, channel: Channel = Channel.WEB) -> None:
        """
        Write a payment over the network; the place is what the address gives away: a city, and little more.
        """
        self._write(at_ms, payment, (origin.device, origin.ip, *self.around(origin.city), channel, -1), scenario)

    def transfer(self, at_ms: float, money: tuple[int, int, float], scenario: Scenario, origin: Origin) -> None:
        """
        Write money (sender, receiver, cents) sent from one account to another: no card, no merchant.
        """
        sender, receiver, cents = money
        where = (origin.device, origin.ip, *self.around(origin.city), Channel.TRANSFER, receiver)
        self._write(at_ms, Payment(sender, -1, -1, cents), where, scenario)

    def around(self, city: int) -> tuple[int, float, float]:
        """
        Return a city with a place somewhere in it.
        """
        place = CITIES[city]
        return city, place.latitude + self.rng.normal(0, 0.1), place.longitude + self.rng.normal(0, 0.12)

    def _write(self, at_ms: float, payment: Payment, where: tuple[float, ...], scenario: Scenario) -> None:
        """
        Add one row in the order of ``ROW``, unless its time is outside of the span.
        """
        if self.plan.start_ms <= at_ms < self.plan.end_ms:
            person, card, merchant, cents = payment
            self.written.append((at_ms, max(cents, 1.0), person, card, merchant, *where, SCENARIOS.index(scenario)))

    def take(self, *, fraud: bool) -> Rows:
        """
        Return what was written since the last call as rows.
        """
        rows = np.array([(*row, fraud) for row in self.written], dtype=ROW)
        self.written.clear()
        return rows
