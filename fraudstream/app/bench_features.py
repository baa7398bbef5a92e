"""
What features cost on this machine, client and server apart: 41 of them over four kinds of entity, one merchant holding 30 %.
"""

import gc
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from statistics import median

import msgspec

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_cost import AllKeys, ServerMeter
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
    CPU per transaction, in microseconds, and memory.

    ``client_us_per_transaction`` is one group's whole way: records, packing the calls, reading the replies, the kernel;
    ``kernel_us_per_transaction`` the part of records and kernel. ``redis_us_per_transaction`` is the server's CPU for
    the ``touch`` and the state reads of both groups, ``redis_us`` the part of it that stands in each command.
    Each is a mean over the batches of a round, where a batch counts as in its best round: all rounds do the same work from the
    same states, and what else a machine does, above all on the other thread of a core, can only add to it (the reasoning of
    ``timeit``). What brings the append-only file to the disk comes once a second and counts with its mean. ``median_us`` are
    whole rounds, the one in the middle: what a machine gave that was as busy as this one.
    ``bytes_per_card`` is the server's memory of a card's log before the measurement, ``events_per_card`` the events in it
    then.
    """

    features: int
    entity_kinds: int
    batch: int
    transactions: int
    rounds: int
    client_us_per_transaction: float
    kernel_us_per_transaction: float
    redis_us_per_transaction: float
    redis_us: dict[str, float]
    median_us: dict[str, float]
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


async def bench_features(
    *,
    cards: int,
    transactions: int,
    batch: int,
    rounds: int,
    seed: int = 1,
    told: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> FeaturesCost:
    """
    Fill the logs of so many cards, then send so many transactions more through both groups, one after the other.

    Args:
        cards: Each has a hundred payments before anything is measured.
        transactions: What is measured in a round.
        batch: Transactions of one touch.
        rounds: How often it is measured, each time from the same states.
        seed: Of the made-up payments.
        told: How far it is: of what, how many of how many.
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
            bench = _Bench(features, stores, ServerMeter(client), partial(AllKeys.of, client), payments)
            await bench.fill(cards * _EVENTS_PER_CARD, told)
            before = gc.get_threshold()
            collect_seldom()
            try:
                return await bench.measure(transactions, batch, rounds, told)
            finally:
                gc.unfreeze()
                gc.set_threshold(*before)


class _Pass(msgspec.Struct, frozen=True, kw_only=True):
    """
    Seconds of CPU that one batch took: one group's client in the mean, the server for both groups, of it ``main`` the thread
    that answers and ``aside`` the others.
    """

    client: float
    kernel: float
    redis: float
    main: float
    aside: float
    commands: dict[str, float]


class _Bench:
    """
    One run: the stores of both groups over one server.
    """

    def __init__(
        self,
        features: FeatureSet,
        stores: Sequence[RedisEntityStore],
        meter: ServerMeter,
        copied: Callable[[], Awaitable[AllKeys]],
        payments: Iterator[Transaction],
    ) -> None:
        self._features = features
        self._stores = stores
        self._meter, self._copied = meter, copied
        self._payments = payments

    async def fill(self, count: int, told: Callable[[str, int, int], None]) -> None:
        filled = 0
        for batch in self._batches(count, 512):
            await self._stores[0].touch([NO_ENTRY] * len(batch), batch, records(self._features, batch))
            filled += len(batch)
            told("payments of the past", filled, count)

    async def measure(self, count: int, size: int, rounds: int, told: Callable[[str, int, int], None]) -> FeaturesCost:
        batches = list(self._batches(count, size))
        cards = list(dict.fromkeys(str(one.card_id) for batch in batches for one in batch))[:_SAMPLED_CARDS]
        layout = self._features.layouts["card"]
        used, length = await self._meter.key_bytes([f"log:{layout.id}:card:{card}" for card in cards])
        begin, passes = await self._copied(), list[list[_Pass]]()
        for number in range(1, rounds + 1):
            await begin.put_back()
            passes.append([await self._both(batch) for batch in batches])
            told("rounds", number, rounds)
        times = _Times(passes, count)
        return FeaturesCost(
            features=len(self._features.names),
            entity_kinds=len(self._features.entities),
            batch=size,
            transactions=count,
            rounds=rounds,
            client_us_per_transaction=times.least("client"),
            kernel_us_per_transaction=times.least("kernel"),
            redis_us_per_transaction=round(times.least("main") + times.aside, 2),
            redis_us=times.commands,
            median_us={name: times.median(name) for name in ("client", "kernel", "redis")},
            bytes_per_card=round(used, 1),
            events_per_card=round(length / layout.size, 1),
            record_bytes={kind: one.size for kind, one in self._features.layouts.items()},
            server=await self._meter.server(),
        )

    async def _both(self, batch: Sequence[Transaction]) -> _Pass:
        await self._meter.begin()
        each = [await self._pass(store, batch) for store in self._stores]
        spent = await self._meter.end()
        return _Pass(
            client=sum(whole for whole, _ in each) / len(each),
            kernel=sum(kernel for _, kernel in each) / len(each),
            redis=spent.cpu_s,
            main=spent.cpu_s - spent.aside_s,
            aside=spent.aside_s,
            commands=spent.commands_s,
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


class _Times:
    """
    What the same batches took in each round.

    Args:
        passes: By round and batch.
        count: Transactions of a round.
    """

    def __init__(self, passes: Sequence[Sequence[_Pass]], count: int) -> None:
        self._passes = passes
        self._count = count

    def least(self, name: str) -> float:
        """
        Return the microseconds per transaction if each batch goes as well as it did in its best round.
        """
        return self._micros(sum(min(map(attrgetter(name), of_batch)) for of_batch in zip(*self._passes, strict=True)))

    def median(self, name: str) -> float:
        """
        Return the microseconds per transaction of the round in the middle.
        """
        return self._micros(median(sum(map(attrgetter(name), of_round)) for of_round in self._passes))

    @property
    def aside(self) -> float:
        """
        The microseconds per transaction of the server's other threads, which come once a second: the mean over all rounds.
        """
        return self._micros(sum(one.aside for of_round in self._passes for one in of_round) / len(self._passes))

    @property
    def commands(self) -> dict[str, float]:
        """
        The microseconds per transaction in each command, of the best round of each batch.
        """
        best = [min(of_batch, key=attrgetter("main")) for of_batch in zip(*self._passes, strict=True)]
        return {name: self._micros(sum(one.commands[name] for one in best)) for name in best[0].commands}

    def _micros(self, seconds: float) -> float:
        return round(seconds * 1e6 / self._count, 2)


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
