"""
What features cost on this machine, client and server apart: 41 of them over four kinds of entity, one merchant holding 30 %.
"""

import gc
import random
import time
from collections.abc import Iterator, Sequence

import msgspec

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_cost import ServerMeter
from fraudstream.adapters.redis_keys import RAW, Keys
from fraudstream.adapters.redis_touch import RedisEntityStore
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.app.memory import keep_freed_memory
from fraudstream.app.run import collect_seldom
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import compute, records
from fraudstream.features.load import load_features
from fraudstream.features.states import Standing
from fraudstream.local import LocalValkey
from fraudstream.stages.ports import Place

#: Payments of each card before anything is measured.
_EVENTS_PER_CARD = 100
#: Share of the hottest merchant, and how many others there are.
_HOT_SHARE, _MERCHANTS = 0.3, 5_000
_START_MS, _SPAN_MS = 1_760_000_000_000, 30 * 86_400_000
#: What stands for an entry id where no stream is read: ``touch`` looks at it only when it ends an entry.
NO_ENTRY = b"0-1"
_GROUPS = ("fraud-check", "ml-scoring")
STANDING = {Place.FIRST: Standing.TOUCHED, Place.LATE: Standing.LATE}
#: Cards whose memory is asked for.
_SAMPLED_CARDS = 200


class FeaturesCost(msgspec.Struct, frozen=True, kw_only=True):
    """
    Mean CPU per transaction, in microseconds, and memory.

    ``client_us_per_transaction`` is one group's whole way: records, packing the calls, reading the replies, the kernel;
    ``kernel_us_per_transaction`` the part of records and kernel. ``redis_us_per_transaction`` is the server's CPU for
    the ``touch`` and the state reads of both groups, ``redis_us`` the part of it that stands in each command.
    ``bytes_per_card`` is the server's memory of a card's log before the measurement, ``events_per_card`` the events in it
    then.
    """

    features: int
    entity_kinds: int
    batch: int
    transactions: int
    client_us_per_transaction: float
    kernel_us_per_transaction: float
    redis_us_per_transaction: float
    redis_us: dict[str, float]
    bytes_per_card: float
    events_per_card: float
    record_bytes: dict[str, int]
    server: str


def workload() -> FeatureSet:
    """
    Return 41 features: velocities by card, user, device and merchant, and what tells a stolen card from its owner.
    """
    lines = [
        "keep 256 records",
        "entity card log",
        "entity user log",
        "entity device log",
        "entity merchant buckets 1m x 64, 1h x 50",
    ]
    for kind, field in (("card", "card_id"), ("user", "user_id"), ("device", "device_id")):
        lines += [f"feature {kind}_count_{over} = count() by {field} over {over}" for over in ("10m", "1h", "24h", "7d")]
        lines += [f"feature {kind}_sum_{over} = sum(amount) by {field} over {over}" for over in ("1h", "24h", "7d")]
        lines += [
            f"feature {kind}_max_7d = max(amount) by {field} over 7d",
            f"feature {kind}_last = time_since_last() by {field}",
        ]
    lines += [
        "feature card_ratio_30d = ratio_to_baseline(amount) by card_id over 30d",
        "feature card_stddev_30d = stddev(amount) by card_id over 30d",
        "feature card_new_device = is_new(device_id) by card_id",
        "feature card_new_merchant = is_new(merchant) by card_id",
        "feature card_merchants_24h = distinct(merchant) by card_id over 24h",
        "feature card_speed = speed_kmh() by card_id over 7d",
        "feature user_ratio_30d = ratio_to_baseline(amount) by user_id over 30d",
        "feature user_first_seen = first_seen() by user_id over 90d",
        "feature device_cards_7d = distinct(card_id) by device_id over 7d",
        *(f"feature merchant_count_{over} = count() by merchant over {over}" for over in ("10m", "1h", "24h")),
        "feature merchant_sum_24h = sum(amount) by merchant over 24h",
        "feature merchant_avg_24h = avg(amount) by merchant over 24h",
    ]
    return load_features("\n".join(lines), name="<bench>")


async def bench_features(*, cards: int, transactions: int, batch: int, seed: int = 1) -> FeaturesCost:
    """
    Fill the logs of so many cards, then send so many transactions more through both groups, one after the other.

    Args:
        cards: Each has a hundred payments before anything is measured.
        transactions: What is measured.
        batch: Transactions of one touch.
        seed: Of the made-up payments.
    """
    features = workload()
    # As in a worker; so is the collector of cycles, below.
    keep_freed_memory()
    with LocalValkey() as server:
        async with connected(RedisAddress(url=server.url), connections=2) as client:
            clock, options = RedisClock(), LedgerOptions(horizon_s=0, deadline_ms=0)
            await clock.set(client)
            stores = [
                RedisEntityStore(client, stream=RAW, group=group, features=features, keys=Keys(), options=options, clock=clock)
                for group in _GROUPS
            ]
            payments = _payments(cards, transactions, random.Random(seed))  # noqa: S311 made up, not secret
            bench = _Bench(features, stores, ServerMeter(client), payments)
            await bench.fill(cards * _EVENTS_PER_CARD)
            before = gc.get_threshold()
            collect_seldom()
            try:
                return await bench.measure(transactions, batch)
            finally:
                gc.unfreeze()
                gc.set_threshold(*before)


class _Bench:
    """
    One run: the stores of both groups over one server.
    """

    def __init__(
        self, features: FeatureSet, stores: Sequence[RedisEntityStore], meter: ServerMeter, payments: Iterator[Transaction]
    ) -> None:
        self._features = features
        self._stores = stores
        self._meter = meter
        self._payments = payments

    async def fill(self, count: int) -> None:
        for batch in self._batches(count, 512):
            await self._stores[0].touch([NO_ENTRY] * len(batch), batch, records(self._features, batch))

    async def measure(self, count: int, size: int) -> FeaturesCost:
        batches = list(self._batches(count, size))
        cards = list(dict.fromkeys(str(one.card_id) for batch in batches for one in batch))[:_SAMPLED_CARDS]
        layout = self._features.layouts["card"]
        used, length = await self._meter.key_bytes([f"log:{layout.id}:card:{card}" for card in cards])
        await self._meter.begin()
        client_s = kernel_s = 0.0
        for batch in batches:
            for store in self._stores:
                whole, kernel = await self._pass(store, batch)
                client_s, kernel_s = client_s + whole, kernel_s + kernel
        spent = await self._meter.end()
        return FeaturesCost(
            features=len(self._features.names),
            entity_kinds=len(self._features.entities),
            batch=size,
            transactions=count,
            client_us_per_transaction=_micros(client_s, count * len(_GROUPS)),
            kernel_us_per_transaction=_micros(kernel_s, count * len(_GROUPS)),
            redis_us_per_transaction=_micros(spent.cpu_s, count),
            redis_us={name: _micros(seconds, count) for name, seconds in spent.commands_s.items()},
            bytes_per_card=round(used, 1),
            events_per_card=round(length / layout.size, 1),
            record_bytes={kind: one.size for kind, one in self._features.layouts.items()},
            server=spent.server,
        )

    async def _pass(self, store: RedisEntityStore, batch: Sequence[Transaction]) -> tuple[float, float]:
        """
        Send a batch through one group; return the seconds of CPU of all of it, and of records and kernel.
        """
        begin = time.process_time()
        rows = records(self._features, batch)
        packed = time.process_time()
        touched = await store.touch([NO_ENTRY] * len(batch), batch, rows)
        back = time.process_time()
        standings = [STANDING.get(place, Standing.SEEN) for place in touched.places]
        compute(self._features, batch, rows, standings, touched.states)
        end = time.process_time()
        return end - begin, end - back + packed - begin

    def _batches(self, count: int, size: int) -> Iterator[list[Transaction]]:
        while count > 0:
            yield [next(self._payments) for _ in range(min(size, count))]
            count -= size


def _micros(seconds: float, count: int) -> float:
    return round(seconds * 1e6 / count, 2)


def _payments(cards: int, more: int, rng: random.Random) -> Iterator[Transaction]:
    """
    Yield payments in the order of time, each card's turn coming as often as any other's.
    """
    total = cards * _EVENTS_PER_CARD + more
    weights = [1 / (rank + 1) for rank in range(_MERCHANTS)]
    others = rng.choices(range(1, _MERCHANTS + 1), weights, k=total)
    for at in range(total):
        card = at % cards if at < cards * _EVENTS_PER_CARD else rng.randrange(cards)
        yield Transaction(
            transaction_id=f"bench-{at}",
            amount_minor=rng.randrange(100, 50_000),
            currency="EUR",
            occurred_at_ms=_START_MS + _SPAN_MS * at // total,
            card_id=f"card-{card}",
            user_id=f"user-{card}",
            device_id=f"device-{card * 9 // 10}",
            merchant="merchant-0" if rng.random() < _HOT_SHARE else f"merchant-{others[at]}",
            country="BE",
            latitude=50.0 + rng.random(),
            longitude=4.0 + rng.random(),
        )
