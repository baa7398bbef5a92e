"""
From rows of numbers to bodies in wire form: names, tokens, addresses, currencies. No truth goes in.
"""

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.currency import EXPONENTS
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.places import ADJECTIVES, CATEGORIES, CITIES, category_number
from fraudstream.producers.plan import SyntheticPlan
from fraudstream.producers.population import Population
from fraudstream.producers.rows import SCENARIOS, Channel, Rows
from fraudstream.producers.tokens import token

#: Rows that are written at a time.
_CHUNK = 4096
_CHANNELS = ("pos", "web", "app", "app")
_MAIL_DOMAINS = ("example.com", "example.org", "example.net")
_CASH = category_number("cash")
_encoder = msgspec.json.Encoder()


class _Body(msgspec.Struct, omit_defaults=True, gc=False):
    """
    The fields of the wire that a synthetic transaction may have, in the order in which they are written.
    """

    transaction_id: str
    amount: str
    timestamp: str
    currency: str
    user_id: str | None = None
    card_id: str | None = None
    merchant: str | None = None
    merchant_category: str | None = None
    device_id: str | None = None
    ip: str | None = None
    email: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    channel: str | None = None
    type: str | None = None
    counterparty_id: str | None = None


def write_bodies(plan: SyntheticPlan, people: Population, rows: Rows, reported: NDArray[np.bool_]) -> Iterator[Labelled]:
    """
    Yield one labelled body per row.

    Transaction ids carry a hash of the plan, so that two worlds never share one; no id, token or number in a body can be
    taken for a card number (no run of 13 digits).
    """
    names = _Names(plan, people)
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        times = np.datetime_as_string(chunk["at_ms"].astype("datetime64[ms]"), timezone="UTC").tolist()
        values = zip(chunk.tolist(), times, reported[start : start + _CHUNK].tolist(), strict=True)
        for number, (row, time, fraud) in enumerate(values, start):
            body = names.body(number, row, time)
            yield Labelled(
                body=_encoder.encode(body),
                transaction_id=body.transaction_id,
                occurred_at_ms=row[0],
                fraud=fraud,
                scenario=SCENARIOS[row[12]].value,
            )


class _Names:
    """
    What the numbers of one world are called.
    """

    def __init__(self, plan: SyntheticPlan, people: Population) -> None:
        self._seed = plan.seed
        self._world = token("world", 0, _encoder.encode(plan))[:8]
        self._local = plan.local_currencies
        self._merchants = _merchant_names(plan, people)
        self._categories: list[int] = people.merchants.category.tolist()
        self._tokens: dict[tuple[str, int], str] = {}

    def body(self, number: int, row: tuple[int, ...], time: str) -> _Body:
        """
        Name everything in one row (in the order of ``rows.ROW``).
        """
        _, cents, user, card, merchant, device, ip, city, latitude, longitude, channel, counterparty, _, _ = row
        amount, currency = self._price(cents, city)
        user_id = self._name("user", user)
        return _Body(
            transaction_id=f"txn_{self._world}_{number}",
            amount=amount,
            timestamp=time,
            currency=currency,
            user_id=user_id,
            card_id=self._name("card", card),
            merchant=self._merchants[merchant] if merchant >= 0 else None,
            merchant_category=CATEGORIES[self._categories[merchant]].name if merchant >= 0 else None,
            device_id=self._name("device", device),
            ip=f"{ip >> 24}.{ip >> 16 & 255}.{ip >> 8 & 255}.{ip & 255}" if ip >= 0 else None,
            email=f"{user_id[5:]}@{_MAIL_DOMAINS[user % 3]}" if user_id is not None and device >= 0 else None,
            country=CITIES[city].country,
            latitude=round(latitude, 4),
            longitude=round(longitude, 4),
            channel=_CHANNELS[channel],
            type=self._type(channel, merchant),
            counterparty_id=self._name("user", counterparty),
        )

    def _name(self, kind: str, number: int) -> str | None:
        if number < 0:
            return None
        known = self._tokens.get((kind, number))
        if known is None:
            known = self._tokens[kind, number] = f"{kind}_{token(kind, number, self._seed.to_bytes(4))}"
        return known

    def _type(self, channel: int, merchant: int) -> str:
        if channel == Channel.TRANSFER:
            return "transfer"
        return "withdrawal" if self._categories[merchant] == _CASH else "payment"

    def _price(self, cents: int, city: int) -> tuple[str, str]:
        """
        Return an amount as a decimal string with its currency.
        """
        if not self._local:
            return f"{cents // 100}.{cents % 100:02d}", "USD"
        place = CITIES[city]
        digits = EXPONENTS[place.currency]
        return f"{cents / 100 * place.usd:.{digits}f}", place.currency


def _merchant_names(plan: SyntheticPlan, people: Population) -> list[str]:
    """
    Return readable names, each once in this world and in no other.
    """
    seed = plan.seed.to_bytes(4)
    return [
        f"{ADJECTIVES[number % len(ADJECTIVES)]} {CATEGORIES[category].noun} {token('merchant', number, seed)[:6]}"
        for number, category in enumerate(people.merchants.category.tolist())
    ]
