"""
The pen of the synthetic world: draws people, places and amounts, and adds single rows.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fraudstream.producers.places import CITIES
from fraudstream.producers.plan import Scenario, SyntheticPlan
from fraudstream.producers.population import HOME_ADDRESSES, HOME_BLOCK, Ints, Population, as_priced, draw_merchants, prices
from fraudstream.producers.rows import ROW, SCENARIOS, Channel, Origin, Payment, Rows


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
