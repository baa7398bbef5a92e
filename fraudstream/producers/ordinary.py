"""
How people pay when nothing is the matter: by habit, by the clock, by the week, and on journeys. Whole columns at once.
"""

import numpy as np

from fraudstream.producers.places import CATEGORIES, CITIES, HOURS, WEEKDAYS, category_number
from fraudstream.producers.plan import DAY_MS, HOUR_MS, Scenario, SyntheticPlan
from fraudstream.producers.population import HABITS, HOME_BLOCK, Bools, Floats, Ints, Population, draw_merchants, prices
from fraudstream.producers.rows import ROW, SCENARIOS, Channel, Rows

#: 1970-01-01 was a Thursday; hours from a Monday midnight to the epoch.
_EPOCH_WEEK_HOUR = 3 * 24
#: Relative number of payments in each hour of the week, Monday first, the busiest hour being 1.
_WEEK = np.array([day * hour for day in WEEKDAYS for hour in HOURS]) / max(day * hour for day in WEEKDAYS for hour in HOURS)
#: Part of ordinary rows that are transfers between accounts.
_TRANSFERS = 0.05
#: Part of online payments made as a guest: the shop knows no account.
_GUESTS = 0.12
#: Part of payments at a merchant that is not among the habits.
_EXPLORING = 0.18
#: Part of people who travel per week, and the mean hours on the way without a payment.
_TRAVELLERS_PER_WEEK = 0.05
_FLIGHT_H = 7.0


def ordinary_rows(plan: SyntheticPlan, people: Population, count: int, rng: np.random.Generator) -> Rows:
    """
    Return ``count`` rows of ordinary life in no particular order, journeys included.
    """
    rows = np.zeros(count, dtype=ROW)
    person = _people(people, count, rng)
    rows["user"] = person
    rows["at_ms"] = _times(plan, people, person, rng)
    rows["card"] = np.where(rng.random(count) < 0.8, people.cards[person, 0], people.cards[person, 1])
    rows["merchant"] = _choose_merchants(plan, people, person, rng)
    rows["counterparty"] = -1
    rows["scenario"] = SCENARIOS.index(Scenario.ORDINARY)
    _travel(plan, people, rows, rng)
    rows["amount"] = prices(people, rows["merchant"], person, rng)
    _settle_places(people, rows, rng)
    _as_guests(rows, rng)
    _as_transfers(people, rows, rng)
    return rows


def _people(people: Population, count: int, rng: np.random.Generator) -> Ints:
    steps = np.cumsum(people.activity)
    drawn = np.searchsorted(steps, rng.random(count) * steps[-1], side="right")
    return np.asarray(np.minimum(drawn, len(people) - 1), dtype=np.int64)


def _times(plan: SyntheticPlan, people: Population, person: Ints, rng: np.random.Generator) -> Ints:
    """
    Draw times by thinning: uniform over the span, kept as often as the hour of the week on the person's own clock is busy.
    """
    offsets = np.array([city.offset_h * HOUR_MS for city in CITIES], dtype=np.int64)
    clock = offsets[people.city[person]] - people.shift_ms[person]
    times = np.zeros(len(person), dtype=np.int64)
    waiting = np.arange(len(person))
    while len(waiting):
        drawn = plan.start_ms + (rng.random(len(waiting)) * (plan.end_ms - plan.start_ms)).astype(np.int64)
        hour = ((drawn + clock[waiting]) // HOUR_MS + _EPOCH_WEEK_HOUR) % len(_WEEK)
        kept = rng.random(len(waiting)) < _WEEK[hour]
        times[waiting[kept]] = drawn[kept]
        waiting = waiting[~kept]
    return times


def _choose_merchants(plan: SyntheticPlan, people: Population, person: Ints, rng: np.random.Generator) -> Ints:
    """
    Mostly a habit, now and then somewhere new, in town or online; a big merchant takes its share of all.
    """
    count, shops = len(person), people.merchants
    slots = 0.82 ** np.arange(HABITS)
    slot = np.searchsorted(np.cumsum(slots / slots.sum()), rng.random(count) * 0.999999, side="right")
    chosen = people.habits[person, slot]
    exploring = rng.random(count) < _EXPLORING
    online = exploring & (rng.random(count) < 0.45)
    chosen[online] = draw_merchants(shops, shops.online, int(online.sum()), rng)
    for place in range(len(CITIES)):
        rows = exploring & ~online & (people.city[person] == place)
        chosen[rows] = draw_merchants(shops, ~shops.online & (shops.city == place), int(rows.sum()), rng)
    if plan.big_merchant_share:
        everyday = np.flatnonzero(shops.online & (shops.category == category_number("household")))
        big = everyday[0] if len(everyday) else int(np.argmax(shops.popularity))
        chosen[rng.random(count) < plan.big_merchant_share] = big
    return chosen


def _travel(plan: SyntheticPlan, people: Population, rows: Rows, rng: np.random.Generator) -> None:
    """
    Move the payments of some people to another city for some days; those on the way fall into the first hours there.
    """
    count = int(rng.poisson(_TRAVELLERS_PER_WEEK * len(people) * plan.days / 7))
    travellers = rng.permutation(len(people))[:count]
    order = np.argsort(rows["user"], kind="stable")
    first = np.searchsorted(rows["user"][order], travellers, side="left")
    last = np.searchsorted(rows["user"][order], travellers, side="right")
    shares = np.array([city.share for city in CITIES])
    for traveller, start, stop in zip(travellers, first, last, strict=True):
        away = rng.choice(len(CITIES), p=shares / shares.sum())
        leaves = plan.start_ms + rng.random() * (plan.end_ms - plan.start_ms)
        back = leaves + (1.5 + rng.gamma(2.0, 2.0)) * DAY_MS
        theirs = order[start:stop]
        theirs = theirs[(rows["at_ms"][theirs] >= leaves) & (rows["at_ms"][theirs] < back)]
        if away != people.city[traveller] and len(theirs):
            lands = leaves + rng.gamma(3.0, _FLIGHT_H / 3) * HOUR_MS
            _pay_abroad(plan, people, rows, theirs, rng, away=int(away), lands=lands)


def _pay_abroad(
    plan: SyntheticPlan, people: Population, rows: Rows, theirs: Ints, rng: np.random.Generator, *, away: int, lands: float
) -> None:
    shops = people.merchants
    early = theirs[rows["at_ms"][theirs] < lands]
    rows["at_ms"][early] = np.minimum(lands + rng.random(len(early)) * 6 * HOUR_MS, plan.end_ms - 1).astype(np.int64)
    in_shop = theirs[~shops.online[rows["merchant"][theirs]]]
    rows["merchant"][in_shop] = draw_merchants(shops, ~shops.online & (shops.city == away), len(in_shop), rng)
    rows["city"][theirs] = away + 1  # noted from 1, so that 0 still says: at home
    rows["scenario"][theirs] = SCENARIOS.index(Scenario.TRAVEL)


def _settle_places(people: Population, rows: Rows, rng: np.random.Generator) -> None:
    """
    Fill city, place, channel, device and address: the shop's at a till, the person's (or the hotel's) online.
    """
    count, person, shops = len(rows), rows["user"], people.merchants
    online = shops.online[rows["merchant"]]
    away = rows["city"] - 1
    abroad = away >= 0
    rows["city"] = np.where(online, np.where(abroad, away, people.city[person]), shops.city[rows["merchant"]])
    latitude, longitude = _network_place(people, rows, abroad, rng)
    rows["latitude"] = np.where(online, latitude, shops.latitude[rows["merchant"]])
    rows["longitude"] = np.where(online, longitude, shops.longitude[rows["merchant"]])
    app = rng.random(count) < np.where(people.app[person], 0.7, 0.15)
    rows["channel"] = np.where(online, np.where(app, Channel.APP, Channel.WEB), Channel.POS)
    own = people.devices[person, (rng.random(count) < 0.25).astype(np.int64)]
    rows["device"] = np.where(online, own, -1)
    carrier = people.mobile[person, rng.integers(0, people.mobile.shape[1], count)]
    at_home = np.where(rng.random(count) < 0.6, people.home[person], carrier)
    hotel = HOME_BLOCK + rng.integers(0, 40, count) + 64 * (rows["city"] + 1)
    rows["ip"] = np.where(online, np.where(abroad, hotel, at_home), -1)


def _network_place(people: Population, rows: Rows, abroad: Bools, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """
    Return where an address seems to be: within some ten kilometres of the person.
    """
    person, city = rows["user"], rows["city"]
    latitudes = np.array([place.latitude for place in CITIES])[city]
    longitudes = np.array([place.longitude for place in CITIES])[city]
    latitude = np.where(abroad, latitudes, people.latitude[person]) + rng.normal(0, 0.06, len(rows))
    longitude = np.where(abroad, longitudes, people.longitude[person]) + rng.normal(0, 0.08, len(rows))
    return latitude, longitude


def _as_guests(rows: Rows, rng: np.random.Generator) -> None:
    guests = (rows["device"] >= 0) & (rng.random(len(rows)) < _GUESTS)
    rows["user"][guests] = -1


def _as_transfers(people: Population, rows: Rows, rng: np.random.Generator) -> None:
    """
    Turn some online payments into transfers to friends, landlords and, now and then, strangers.
    """
    share = _TRANSFERS / max(float((rows["device"] >= 0).mean()), _TRANSFERS)
    chosen = np.flatnonzero((rows["device"] >= 0) & (rows["user"] >= 0) & (rng.random(len(rows)) < share))
    sender = rows["user"][chosen]
    friend = people.contacts[sender, rng.integers(0, people.contacts.shape[1], len(chosen))]
    stranger = rng.integers(0, len(people), len(chosen))
    rows["counterparty"][chosen] = np.where(rng.random(len(chosen)) < 0.25, stranger, friend)
    rows["amount"][chosen] = np.rint(100 * np.clip(np.exp(rng.normal(4.2, 1.1, len(chosen))), 1, 15_000)).astype(np.int64)
    rows["merchant"][chosen] = -1
    rows["card"][chosen] = -1
    rows["channel"][chosen] = Channel.TRANSFER


#: How much a thief likes each category, by row of ``CATEGORIES``.
LOOT = np.array([category.loot for category in CATEGORIES])
