"""
Who lives in a synthetic world: people with homes, cards, devices and habits, and the merchants that they go to.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fraudstream.producers.places import CATEGORIES, CITIES, category_number
from fraudstream.producers.plan import SyntheticPlan

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Merchants that a person goes back to.
HABITS = 14
#: Addresses that a person's phone comes from; carriers share them among customers.
MOBILE_ADDRESSES = 4
#: How fast popularity falls with rank (Zipf's exponent) among merchants.
_ZIPF = 0.9
#: Home addresses lie in 198.18.0.0/15 (kept for benchmarks, RFC 2544), those of carriers in 100.64.0.0/10 (RFC 6598): nobody's.
HOME_BLOCK = (198 << 24) + (18 << 16)
MOBILE_BLOCK = (100 << 24) + (64 << 16)
HOME_ADDRESSES = 1 << 17
_CARRIER_ADDRESSES = 1 << 22
_POINT_99 = (category_number("digital"), category_number("gaming"))
_CASH = category_number("cash")


@dataclass(frozen=True)
class Merchants:
    """
    All merchants, one row each. ``category`` and ``city`` are rows of the tables in ``places``, ``offset`` is the logarithm of
    the price level, ``popularity`` sums to 1. An online merchant's city is where it is registered.
    """

    category: Ints
    city: Ints
    online: Bools
    latitude: Floats
    longitude: Floats
    offset: Floats
    popularity: Floats

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True)
class Population:
    """
    All people, one row each, and the merchants.

    ``activity`` sums to 1; ``level`` is the logarithm of how much a person spends relative to others; ``shift_ms`` moves a
    person's day (early birds, night workers); ``cards``, ``devices`` (own, family's) and ``mobile`` are numbers of shape
    (people, 2 or 4); ``habits`` holds merchants, most frequent first.
    """

    city: Ints
    latitude: Floats
    longitude: Floats
    activity: Floats
    level: Floats
    shift_ms: Ints
    app: Bools
    cards: Ints
    devices: Ints
    home: Ints
    mobile: Ints
    contacts: Ints
    habits: Ints
    merchants: Merchants

    def __len__(self) -> int:
        return len(self.city)


def populate(plan: SyntheticPlan, rng: np.random.Generator) -> Population:
    """
    Found the world of a plan: merchants first, then households of one to four people who share an address and a device.
    """
    merchants = _merchants(plan.merchant_count, rng)
    count = plan.user_count
    household, family = _households(count, rng)
    homes = len(family)
    home_city = rng.choice(len(CITIES), homes, p=_shares([city.share for city in CITIES]))
    city = home_city[household]
    home_latitude = np.array([place.latitude for place in CITIES])[home_city] + rng.normal(0, 0.08, homes)
    home_longitude = np.array([place.longitude for place in CITIES])[home_city] + rng.normal(0, 0.1, homes)
    return Population(
        city=city,
        latitude=home_latitude[household],
        longitude=home_longitude[household],
        activity=_shares(rng.gamma(1.3, 1.0, count) + 0.05),
        level=rng.normal(0, 0.45, count),
        shift_ms=_shifts(count, rng),
        app=rng.random(count) < 0.45,
        cards=_cards(count, rng),
        devices=_devices(count, household, rng),
        home=HOME_BLOCK + rng.permutation(HOME_ADDRESSES)[np.arange(homes) % HOME_ADDRESSES][household],
        mobile=_mobile(count, city, rng),
        contacts=rng.integers(0, count, (count, 3)),
        habits=_habits(count, city, merchants, rng),
        merchants=merchants,
    )


def _shares(weights: ArrayLike) -> Floats:
    values = np.asarray(weights, dtype=np.float64)
    return np.asarray(values / values.sum(), dtype=np.float64)


def _merchants(count: int, rng: np.random.Generator) -> Merchants:
    """
    Every city has at least one shop, every category at least one merchant; within a category popularity follows Zipf.
    """
    shares = _shares([math.sqrt(category.share) for category in CATEGORIES])
    category = np.where(np.arange(count) < len(CATEGORIES), np.arange(count), rng.choice(len(CATEGORIES), count, p=shares))
    online = rng.random(count) < np.array([kind.online for kind in CATEGORIES])[category]
    city = rng.choice(len(CITIES), count, p=_shares([place.share for place in CITIES]))
    shops = np.flatnonzero(~online)
    first = shops[: len(CITIES)]
    city[first] = np.arange(len(first))
    popularity = (rng.permutation(count) + 1.0) ** -_ZIPF
    for number, kind in enumerate(CATEGORIES):
        rows = category == number
        popularity[rows] *= kind.share / popularity[rows].sum()
    return Merchants(
        category=category,
        city=city,
        online=online,
        latitude=np.array([place.latitude for place in CITIES])[city] + rng.normal(0, 0.06, count),
        longitude=np.array([place.longitude for place in CITIES])[city] + rng.normal(0, 0.08, count),
        offset=rng.normal(0, 0.3, count),
        popularity=_shares(popularity),
    )


def _households(count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """
    Return each person's household, and the households' sizes.
    """
    sizes = rng.choice(np.array([1, 2, 3, 4]), count, p=[0.4, 0.33, 0.15, 0.12])
    household = np.repeat(np.arange(count), sizes)[:count]
    return household, np.bincount(household)


def _shifts(count: int, rng: np.random.Generator) -> Ints:
    """
    Most people live by the clock give or take an hour; one in twelve works at night.
    """
    hours = rng.normal(0, 1.2, count) + np.where(rng.random(count) < 0.08, 10.0, 0.0)
    return np.asarray(hours * 3_600_000, dtype=np.int64)


def _cards(count: int, rng: np.random.Generator) -> Ints:
    """
    Return two card numbers (of ours, not of any bank) per person; equal where a person has one card.
    """
    first = np.arange(count, dtype=np.int64) * 2
    return np.stack([first, first + (rng.random(count) < 0.4)], axis=1)


def _devices(count: int, household: Ints, rng: np.random.Generator) -> Ints:
    """
    Return an own device and a second one: the family's, or the own one again.
    """
    own = np.arange(count, dtype=np.int64)
    return np.stack([own, np.where(rng.random(count) < 0.45, count + household, own)], axis=1)


def _mobile(count: int, city: Ints, rng: np.random.Generator) -> Ints:
    """
    Carriers hand out few addresses per city, so strangers meet on them.
    """
    block = city[:, None] * (_CARRIER_ADDRESSES // len(CITIES))
    per_city = max(8, count // 60)
    return np.asarray(MOBILE_BLOCK + block + rng.integers(0, per_city, (count, MOBILE_ADDRESSES)), dtype=np.int64)


def _habits(count: int, city: Ints, merchants: Merchants, rng: np.random.Generator) -> Ints:
    """
    Return the merchants that each person goes back to: about a third online, the rest in town, the popular ones more often.
    """
    online = draw_merchants(merchants, merchants.online, count * HABITS, rng).reshape(count, HABITS)
    habits = online.copy()
    in_town = rng.random((count, HABITS)) < 0.66
    for place in np.unique(city):
        people = np.flatnonzero(city == place)
        local = draw_merchants(merchants, ~merchants.online & (merchants.city == place), len(people) * HABITS, rng)
        habits[people] = np.where(in_town[people], local.reshape(len(people), HABITS), online[people])
    return habits


def draw_merchants(merchants: Merchants, among: Bools, count: int, rng: np.random.Generator) -> Ints:
    """
    Draw merchants by popularity among some of them, with repetition; among all where none qualifies.
    """
    rows = np.flatnonzero(among)
    if not len(rows):
        rows = np.arange(len(merchants))
    steps = np.cumsum(merchants.popularity[rows])
    drawn = np.searchsorted(steps, rng.random(count) * steps[-1], side="right")
    return np.asarray(rows[np.minimum(drawn, len(rows) - 1)], dtype=np.int64)


def prices(
    population: Population, merchant: Ints, person: Ints, rng: np.random.Generator, factor: float | Floats = 1.0
) -> Ints:
    """
    Draw what a person pays at a merchant, in US cents: lognormal around the category's median, moved by the shop's level, the
    person's level and ``factor``, from 0.50 to 20,000 dollars.
    """
    kind = population.merchants.category[merchant]
    median = np.log(np.array([category.median for category in CATEGORIES]))[kind]
    sigma = np.array([category.sigma for category in CATEGORIES])[kind]
    level = population.merchants.offset[merchant] + population.level[person]
    major = np.exp(median + level + sigma * rng.standard_normal(len(kind))) * factor
    return as_priced(population.merchants, merchant, np.rint(np.clip(major, 0.5, 20_000) * 100).astype(np.int64))


def as_priced(merchants: Merchants, merchant: Ints, cents: Ints) -> Ints:
    """
    Return amounts as their merchants could ask them: media and games end in .99, cash comes in twenties.
    """
    kind = merchants.category[merchant]
    cents = np.where(np.isin(kind, _POINT_99), cents // 100 * 100 + 99, cents)
    return np.asarray(np.where(kind == _CASH, np.maximum(cents // 2000, 1) * 2000, cents), dtype=np.int64)
