"""
What a run sends: synthetic payments with duplicates, out of order, poisoned, and labels for some of them. Seeded.
"""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from fraudstream.chaos.poison import KILLS, RAISES, poisoned, undecodable, undecodable_of
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate

#: Share of payments that a producer sends a second time.
DUPLICATES = 0.03
#: Share of payments that come later than others that happened after them, and by how many places at most.
OUT_OF_ORDER, DISPLACED = 0.05, 200
#: Share of payments that get a label.
LABELLED = 0.02


class Item(msgspec.Struct, frozen=True, gc=False):
    """
    One thing to send. ``key`` is the id of a transaction or label, or the tag of an undecodable body.
    """

    kind: str
    key: str
    body: bytes


class Poison(msgspec.Struct, frozen=True):
    """
    How many of each kind; ``share`` of the payments are sent for sure, and up to ``until`` of these those that need attempts.
    """

    undecodable: int
    raises: int
    kills: int
    share: float
    until: float


def traffic(seed: int, end_ms: int, transactions: int, poison: Poison) -> list[Item]:
    """
    Return everything in the order of sending.
    """
    rng = random.Random(f"traffic {seed}")  # noqa: S311 a replay needs the same
    payments = [
        Item("payment", one.transaction_id, one.body)
        for one in generate(demo_plan(seed, end_ms=end_ms, transactions=transactions))
    ]
    placed = [(float(place), item) for place, item in enumerate(payments)]
    placed += [(place + rng.uniform(1, 3 * DISPLACED), item) for place, item in placed if rng.random() < DUPLICATES]
    placed = [(place + rng.uniform(1, DISPLACED) if rng.random() < OUT_OF_ORDER else place, item) for place, item in placed]
    placed += [(place + rng.uniform(1, DISPLACED), _label(item, rng)) for place, item in placed if rng.random() < LABELLED]
    placed += _poison(rng, poison, payments)
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def _poison(rng: random.Random, poison: Poison, payments: Sequence[Item]) -> list[tuple[float, Item]]:
    everywhere = len(payments) * poison.share
    last = everywhere * poison.until
    found = [(rng.uniform(0, everywhere), _undecodable(number, rng)) for number in range(poison.undecodable)]
    ids = [f"{KILLS}{number}" for number in range(poison.kills)]
    found += [(rng.uniform(0, last), Item("poison", one, poisoned(rng.choice(payments).body, one))) for one in ids]
    return found + [
        (rng.uniform(0, last), raising(str(number), rng.choice(payments).body, number)) for number in range(poison.raises)
    ]


def raising(name: str, body: bytes, number: int) -> Item:
    """
    Return a poison that makes one of the judging steps raise, each in turn.
    """
    key = f"{RAISES['rules' if number % 2 else 'model']}{name}"
    return Item("poison", key, poisoned(body, key))


def _undecodable(number: int, rng: random.Random) -> Item:
    body = undecodable(number, rng)
    return Item("undecodable", undecodable_of(body) or "", body)


def _label(item: Item, rng: random.Random) -> Item:
    key = f"label-{item.key}"  # no digits of chance: they may pass for a card number
    label = {
        "label_id": key,
        "transaction_id": item.key,
        "label": rng.choice(("fraud", "legitimate")),
        "source": "chaos",
        "labelled_at": datetime.now(UTC).isoformat(),
    }
    return Item("label", key, json.dumps(label).encode())
