"""
Honest episodes that look like fraud: the reason why no single rule is right about this world.
"""

from collections.abc import Callable

import numpy as np

from fraudstream.producers.ordinary import LOOT
from fraudstream.producers.places import category_number
from fraudstream.producers.plan import HOUR_MS, MINUTE_MS, Scenario
from fraudstream.producers.rows import Channel, Payment, Rows
from fraudstream.producers.scene import Scene


def lookalike_rows(scene: Scene, count: int) -> Rows:
    """
    Return ``count`` rows of honest episodes of every kind.
    """
    episodes = tuple(_EPISODES)
    shares = np.array([*_EPISODES.values()])
    while len(scene.written) < count:
        episodes[int(scene.rng.choice(len(episodes), p=shares / shares.sum()))](scene)
    return scene.take(fraud=False)[:count]


def _holiday_shopping(scene: Scene) -> None:
    """
    One person buys from many shops in an afternoon, things that thieves like too; gift cards among them.
    """
    person, shops = scene.person(), scene.people.merchants
    purchases = scene.count(6, least=3)
    at_ms = scene.waking(person, 3 * HOUR_MS)
    among = shops.online & (LOOT[shops.category] >= 1.5)
    card, origin = scene.card(person), scene.own(person)
    for merchant in scene.merchants(purchases, among):
        cents = scene.price(int(merchant), person, scene.median(1.3, 0.4))
        scene.order(at_ms, Payment(person, card, int(merchant), cents), Scenario.HOLIDAY_SHOPPING, origin)
        at_ms += scene.median(9, 1.0) * MINUTE_MS


def _new_device(scene: Scene) -> None:
    """
    A new phone: first seen today, set up with its accessories, media and games, often from a carrier's address.
    """
    person, shops = scene.person(), scene.people.merchants
    at_ms = scene.waking(person, 24 * HOUR_MS)
    device, card = scene.new_number(), scene.card(person)
    among = shops.online & (LOOT[shops.category] >= 1.0)
    for merchant in scene.merchants(scene.count(3.5, least=1), among):
        cents = scene.price(int(merchant), person, scene.median(1.2, 0.5))
        origin = scene.own(person)._replace(device=device)
        channel = Channel.APP if scene.chance(0.6) else Channel.WEB
        scene.order(at_ms, Payment(person, card, int(merchant), cents), Scenario.NEW_DEVICE, origin, channel)
        at_ms += scene.median(70, 1.4) * MINUTE_MS


def _large_purchase(scene: Scene) -> None:
    """
    A sofa, a ring, a journey: many times what this person usually pays, at any hour that sleeplessness knows.
    """
    person, shops = scene.person(), scene.people.merchants
    names = ("electronics", "travel", "household", "jewellery")
    among = np.isin(shops.category, [category_number(name) for name in names])
    if scene.chance(0.4):
        among = among & ~shops.online & (shops.city == scene.people.city[person])
    merchant = int(scene.merchants(1, among)[0])
    cents = scene.price(merchant, person, scene.median(4.0, 0.6))
    at_ms = scene.moment() if scene.chance(0.3) else scene.waking(person)
    card = scene.card(person)
    if not shops.online[merchant]:
        scene.shop(at_ms, Payment(person, card, merchant, cents), Scenario.LARGE_PURCHASE)
        return
    origin = scene.own(person)
    if scene.chance(0.2):
        origin = origin._replace(device=scene.new_number())
    scene.order(at_ms, Payment(person, card, merchant, cents), Scenario.LARGE_PURCHASE, origin)


def _micro_payments(scene: Scene) -> None:
    """
    A child and a game, or tolls along a road: a dozen tiny payments on one card within the hour.
    """
    person, shops = scene.person(), scene.people.merchants
    names = ("gaming", "digital", "transit", "charity")
    merchant = int(scene.merchants(1, shops.online & np.isin(shops.category, [category_number(name) for name in names]))[0])
    at_ms, card = scene.waking(person, HOUR_MS), scene.card(person)
    origin = scene.own(person)._replace(device=int(scene.people.devices[person, int(scene.chance(0.6))]))
    for _ in range(scene.count(7, least=3)):
        cents = min(scene.price(merchant, person, 0.6), 1499)
        scene.order(at_ms, Payment(person, card, merchant, cents), Scenario.MICRO_PAYMENTS, origin, Channel.APP)
        at_ms += scene.median(3.0, 0.9) * MINUTE_MS


def _shared_device(scene: Scene) -> None:
    """
    A family, an office, a kiosk: several people's cards on one device within an hour or two, often at the same merchant.
    """
    host, shops = scene.person(), scene.people.merchants
    at_ms = scene.waking(host, 2 * HOUR_MS)
    merchant = int(scene.merchants(1, shops.online)[0])
    device = int(scene.people.devices[host, 1]) if scene.chance(0.7) else scene.new_number()
    origin = scene.own(host)._replace(device=device)
    for _ in range(scene.count(5, least=2)):
        guest = scene.person()
        payer = guest if scene.chance(0.5) else host
        at_shop = merchant if scene.chance(0.6) else int(scene.merchants(1, shops.online)[0])
        cents = scene.price(at_shop, guest)
        scene.order(at_ms, Payment(payer, scene.card(guest), at_shop, cents), Scenario.SHARED_DEVICE, origin)
        at_ms += scene.median(6, 1.2) * MINUTE_MS


def _foreign_address(scene: Scene) -> None:
    """
    Work networks and privacy services: the own device seems to be in another country, between two payments at home.
    """
    person, shops = scene.person(), scene.people.merchants
    at_ms = scene.waking(person, 6 * HOUR_MS)
    seems = scene.foreign_city(int(scene.people.city[person]))
    card, origin = scene.card(person), scene.own(person)._replace(ip=scene.strange_address(), city=seems)
    for merchant in scene.merchants(scene.count(2.5), shops.online):
        cents = scene.price(int(merchant), person)
        if scene.chance(0.3):
            near = ~shops.online & (shops.city == scene.people.city[person])
            corner = int(scene.merchants(1, near)[0])
            before = at_ms - scene.median(40, 0.8) * MINUTE_MS
            scene.shop(before, Payment(person, card, corner, scene.price(corner, person)), Scenario.FOREIGN_ADDRESS)
        scene.order(at_ms, Payment(person, card, int(merchant), cents), Scenario.FOREIGN_ADDRESS, origin)
        at_ms += scene.median(80, 1.0) * MINUTE_MS


def _collection(scene: Scene) -> None:
    """
    A club, a shared present, the rent of a flat: many send to one, and the one pays on.
    """
    treasurer = scene.person()
    at_ms, total = scene.waking(treasurer, 14 * HOUR_MS), 0.0
    due = scene.median(9_000, 0.9)
    for _ in range(scene.count(4, least=2)):
        member = scene.person()
        cents = np.rint(due if scene.chance(0.6) else due * scene.median(1.0, 0.5))
        scene.transfer(at_ms, (member, treasurer, cents), Scenario.COLLECTION, scene.own(member))
        at_ms += scene.median(90, 1.0) * MINUTE_MS
        total += cents
    if scene.chance(0.7):
        payee = int(scene.people.contacts[treasurer, 0])
        scene.transfer(at_ms, (treasurer, payee, np.rint(total * 0.95)), Scenario.COLLECTION, scene.own(treasurer))


#: Each kind of episode with its relative frequency.
_EPISODES: dict[Callable[[Scene], None], float] = {
    _holiday_shopping: 0.2,
    _new_device: 0.25,
    _large_purchase: 0.5,
    _micro_payments: 0.12,
    _shared_device: 0.16,
    _foreign_address: 0.25,
    _collection: 0.1,
}
