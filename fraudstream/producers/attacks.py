"""
Labelled attacks, each a short story written into a scene. How loud one is differs from attack to attack.
"""

from collections.abc import Callable

import numpy as np

from fraudstream.producers.ordinary import LOOT
from fraudstream.producers.places import CITIES
from fraudstream.producers.plan import HOUR_MS, MINUTE_MS, Scenario
from fraudstream.producers.population import Ints
from fraudstream.producers.rows import ROW, Channel, Origin, Payment, Rows, distance_km
from fraudstream.producers.scene import Scene

#: Attacks that wrote nothing (their time ran out of the span) before we stop trying.
_PATIENCE = 10_000


def attack_rows(scene: Scene, scenario: Scenario, count: int) -> Rows:
    """
    Return ``count`` rows of one kind of attack; the last attack may be cut short.
    """
    attack = _ATTACKS[scenario]
    tries = 0
    while len(scene.written) < count and tries < _PATIENCE + count:
        attack(scene)
        tries += 1
    return scene.take(fraud=True)[:count] if scene.written else np.zeros(0, dtype=ROW)


def _loot(scene: Scene, count: int) -> Ints:
    """
    Draw online merchants, those that sell what can be sold on more often.
    """
    shops = scene.people.merchants
    liked = shops.online & (scene.rng.random(len(shops)) < LOOT[shops.category] / LOOT.max() + 0.08)
    return scene.merchants(count, liked)


def _victim_card(scene: Scene) -> tuple[int, int]:
    """
    Draw a person and one of the cards, as stolen lists hold them.
    """
    victim = scene.person()
    return victim, scene.card(victim)


def _card_testing(scene: Scene) -> None:
    plan, rng = scene.plan.card_testing, scene.rng
    at_ms = scene.moment(2 * HOUR_MS)
    pace = scene.median(plan.spacing_s * 1000, plan.pace_sigma)
    shops = _loot(scene, scene.count(plan.merchants))
    city = int(rng.integers(0, len(CITIES)))
    origins = [scene.strange(city) for _ in range(scene.count(plan.devices))]
    account = -1 if scene.chance(0.5) else scene.new_number()
    own_accounts = scene.chance(0.3)  # tried inside the victims' own shop accounts
    for _ in range(scene.count(plan.cards, least=2)):
        victim, card = _victim_card(scene)
        payer = victim if own_accounts else account
        for _ in range(scene.count(plan.tries_per_card)):
            origin = origins[int(rng.integers(0, len(origins)))]
            merchant = int(shops[int(rng.integers(0, len(shops)))])
            cents = scene.asked(merchant, 100 * np.clip(scene.median(plan.amount, plan.amount_sigma), 0.5, 60))
            scene.order(at_ms, Payment(payer, card, merchant, cents), Scenario.CARD_TESTING, origin)
            at_ms += rng.exponential(pace)
        if scene.chance(plan.spent_share):
            _spend(scene, at_ms + rng.exponential(plan.spend_delay_h * HOUR_MS), victim, card)


def _spend(scene: Scene, at_ms: float, victim: int, card: int) -> None:
    """
    Write one purchase on a card that worked, from a device of the buyer's.
    """
    plan = scene.plan.card_testing
    merchant = int(_loot(scene, 1)[0])
    home = int(scene.people.city[victim])
    city = home if scene.chance(0.6) else scene.foreign_city(home)
    payer = victim if scene.chance(0.5) else -1
    cents = scene.price(merchant, victim, plan.spend_factor)
    scene.order(at_ms, Payment(payer, card, merchant, cents), Scenario.CARD_TESTING, scene.strange(city))


def _account_takeover(scene: Scene) -> None:
    plan = scene.plan.account_takeover
    victim, card = _victim_card(scene)
    home = int(scene.people.city[victim])
    at_ms = scene.waking(victim, HOUR_MS)
    if scene.chance(plan.night_share):
        midnight = (at_ms + CITIES[home].offset_h * HOUR_MS) // (24 * HOUR_MS) * 24 * HOUR_MS
        at_ms = midnight - CITIES[home].offset_h * HOUR_MS + scene.rng.random() * 6 * HOUR_MS
    city = scene.foreign_city(home) if scene.chance(plan.foreign_share) else home
    origin = scene.strange(city)
    if not scene.chance(plan.new_device_share):
        origin = origin._replace(device=int(scene.people.devices[victim, 0]))
    pace = scene.median(plan.spacing_min * MINUTE_MS, plan.pace_sigma)
    for merchant in _loot(scene, scene.count(plan.purchases)):
        cents = scene.price(int(merchant), victim, scene.median(plan.amount_factor, 0.4))
        channel = Channel.APP if scene.chance(0.35) else Channel.WEB
        scene.order(at_ms, Payment(victim, card, int(merchant), cents), Scenario.ACCOUNT_TAKEOVER, origin, channel)
        at_ms += scene.rng.exponential(pace)


def _merchant_compromise(scene: Scene) -> None:
    plan, shops, ordinary = scene.plan.merchant_compromise, scene.people.merchants, scene.ordinary
    row = ordinary[int(scene.rng.integers(0, len(ordinary)))]
    source, begins = int(row["merchant"]), float(row["at_ms"])
    visits = ordinary[(ordinary["merchant"] == source) & (ordinary["at_ms"] <= begins + plan.window_d * 12 * HOUR_MS)]
    if source < 0 or len(visits) < 2:
        return
    taken = np.unique(visits["card"])
    scene.rng.shuffle(taken)
    for card in taken[: scene.count(plan.cards, least=2)]:
        owner = int(card) // 2
        for _ in range(scene.count(plan.uses_per_card)):
            at_ms = begins + scene.rng.random() * plan.window_d * 24 * HOUR_MS
            elsewhere = int(scene.merchants(1, shops.popularity > 0)[0])
            _use_copy(scene, at_ms, owner, int(card), source if scene.chance(plan.same_share) else elsewhere)


def _use_copy(scene: Scene, at_ms: float, owner: int, card: int, merchant: int) -> None:
    """
    Write one use of a copied card: at a till in person, or as a guest over the network.
    """
    plan, home = scene.plan.merchant_compromise, int(scene.people.city[owner])
    cents = scene.price(merchant, owner, scene.median(plan.amount_factor, 0.5))
    if not scene.people.merchants.online[merchant]:
        scene.shop(at_ms, Payment(owner, card, merchant, cents), Scenario.MERCHANT_COMPROMISE)
        return
    city = home if scene.chance(0.5) else scene.foreign_city(home)
    payer = owner if scene.chance(0.5) else -1
    scene.order(at_ms, Payment(payer, card, merchant, cents), Scenario.MERCHANT_COMPROMISE, scene.strange(city))


def _mule(scene: Scene) -> None:
    plan, people = scene.plan.mule, scene.people
    mule = scene.person() if scene.chance(0.6) else scene.new_number()
    begins, total = scene.moment(plan.window_h * HOUR_MS), 0.0
    for _ in range(scene.count(plan.senders, least=2)):
        sender = scene.person()
        cents = np.rint(np.clip(scene.median(plan.amount, plan.amount_sigma), 5, 15_000) * 100)
        at_ms = begins + scene.rng.random() * plan.window_h * HOUR_MS
        scene.transfer(at_ms, (sender, mule, cents), Scenario.MULE, scene.own(sender))
        total += cents
    city = int(people.city[mule]) if mule < len(people) else scene.foreign_city(-1)
    device = int(people.devices[mule, 0]) if mule < len(people) else scene.new_number()
    pieces, at_ms = scene.count(plan.pieces), begins + scene.rng.exponential(plan.delay_min * MINUTE_MS)
    for _ in range(pieces):
        onward = scene.new_number() if scene.chance(0.5) else scene.person()
        cents = np.rint(total * plan.passed_on / pieces * scene.median(1.0, 0.2))
        scene.transfer(at_ms, (mule, onward, cents), Scenario.MULE, Origin(device, scene.strange_address(), city))
        at_ms += plan.window_h * HOUR_MS * scene.rng.random()


def _impossible_travel(scene: Scene) -> None:
    plan, shops, ordinary = scene.plan.impossible_travel, scene.people.merchants, scene.ordinary
    genuine = ordinary[int(scene.rng.integers(0, len(ordinary)))]
    if genuine["device"] >= 0 or genuine["user"] < 0:
        return
    far = (
        distance_km(float(genuine["latitude"]), float(genuine["longitude"]), shops.latitude, shops.longitude)
        >= plan.distance_km
    )
    if not np.any(far & ~shops.online):
        return
    base = int(scene.merchants(1, far & ~shops.online)[0])
    there = ~shops.online & (shops.city == shops.city[base])
    at_ms = float(genuine["at_ms"]) + scene.median(plan.delay_min, 0.8) * MINUTE_MS
    owner = int(genuine["user"])
    for merchant in scene.merchants(scene.count(plan.uses), there):
        cents = scene.price(int(merchant), owner, scene.median(plan.amount_factor, 0.5))
        scene.shop(at_ms, Payment(owner, int(genuine["card"]), int(merchant), cents), Scenario.IMPOSSIBLE_TRAVEL)
        at_ms += scene.median(plan.spacing_min, 0.8) * MINUTE_MS


def _quiet(scene: Scene) -> None:
    plan, people = scene.plan.quiet, scene.people
    victim, card = _victim_card(scene)
    merchant = int(scene.merchants(1, people.merchants.online)[0])
    at_ms, cents = scene.waking(victim), scene.price(merchant, victim, scene.median(plan.amount_factor, 0.3))
    origin = scene.own(victim) if scene.chance(plan.own_device_share) else scene.strange(int(people.city[victim]))
    payer = victim if scene.chance(0.85) else -1
    scene.order(at_ms, Payment(payer, card, merchant, cents), Scenario.QUIET, origin)


_ATTACKS: dict[Scenario, Callable[[Scene], None]] = {
    Scenario.CARD_TESTING: _card_testing,
    Scenario.ACCOUNT_TAKEOVER: _account_takeover,
    Scenario.MERCHANT_COMPROMISE: _merchant_compromise,
    Scenario.MULE: _mule,
    Scenario.IMPOSSIBLE_TRAVEL: _impossible_travel,
    Scenario.QUIET: _quiet,
}
