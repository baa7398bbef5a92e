"""
What a payment costs when few cards are known and when millions are: the way through touch, states and features.
"""

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from fraudstream.adapters.redis_account import sizes
from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_cost import ServerMeter
from fraudstream.adapters.redis_keys import RAW, Keys
from fraudstream.adapters.redis_preload import Preload
from fraudstream.adapters.redis_touch import RedisEntityStore
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.app.bench import machine
from fraudstream.app.bench_features import NO_ENTRY, STANDING
from fraudstream.app.bench_load import Payments, stretch
from fraudstream.app.bench_system import bench_system
from fraudstream.app.demo import Progress
from fraudstream.app.loading import load_rulebook
from fraudstream.app.local_system import DEMO_GROUPS
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.kernel import compute
from fraudstream.features.records import records
from fraudstream.features.states import Standing
from fraudstream.local import LocalValkey
from fraudstream.settings import Settings

#: Cost may grow by this part from the fewest to the most cards.
BOUND = 0.10
#: Payments that a card has before anything is measured.
_EVENTS_PER_CARD = 4
#: Users, devices and merchants, the same whatever the number of cards.
_OTHERS = 1_000
_BATCH = 256
_GROUPS = ("fraud-check", "ml-scoring")
_WARM_UP = 3_000
#: Bytes that the server needs for a key beside its value, and the share of free memory that may be used.
_KEY_BYTES, _MEMORY_SHARE = 160, 0.6
_START_MS, _STEP_MS = 1_760_000_000_000, 60_000


class CardsCost(msgspec.Struct, frozen=True, kw_only=True):
    """
    Median CPU of a transaction, in microseconds, with so many known ``cards``; ``wanted`` is what was asked for where that
    does not fit into memory. ``client_us`` is one process for both groups, ``redis_us`` the server's, on the way that knows
    cards: touch, states, features. ``path_ratio`` is the median of the rounds' costs over those of the fewest cards in the
    same round; ``ratio`` is that of the whole transaction, of which everything else costs the same whatever is known (where
    that was left out, it is that of the way).
    """

    wanted: int
    cards: int
    used_mb: float
    client_us: float
    redis_us: float
    path_us: float
    path_ratio: float
    ratio: float


class CardsReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    All of them, measured in turns. ``whole_us`` is the CPU of a transaction by every process of a system with few cards.
    """

    machine: str
    commit: str
    server: str
    features: int
    events_per_card: int
    rounds: int
    transactions_per_round: int
    whole_us: float
    bound: float
    costs: list[CardsCost]

    @property
    def good(self) -> bool:
        """
        Whether a transaction costs the same.
        """
        return all(abs(one.ratio - 1) <= self.bound for one in self.costs)


class CardsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    ``numbers`` of cards, the fewest first; each has ``rounds`` turns of ``transactions``.

    ``whole`` transactions go through a whole system beside that, for the cost of everything; 0 leaves it out.
    """

    numbers: tuple[int, ...] = (1_000, 100_000, 1_000_000, 10_000_000)
    rounds: int = 20
    transactions: int = 1_000
    whole: int = 20_000
    inherited: dict[str, str] = {}
    commit: str = ""


async def run_bench_cards(plan: CardsPlan, progress: Progress) -> CardsReport:
    """
    Load each number of cards into a server of its own, then send the same payments through all of them in turns.

    Persistence of these servers is off: it costs by what is written, whatever is known.

    Raises:
        ConfigurationError: A server of our own did not start.
        TransientError: The system stopped moving.
    """
    whole_us = await _whole(plan, progress)
    features = load_rulebook(Settings()).features
    async with AsyncExitStack() as stack:
        towns = []
        for number in plan.numbers:
            server = stack.enter_context(LocalValkey(arguments=("--appendonly", "no")))
            client = await stack.enter_async_context(connected(RedisAddress(url=server.url), connections=2))
            other = await stack.enter_async_context(connected(RedisAddress(url=server.url), connections=1))
            clock = RedisClock()
            await clock.set(client)
            options = LedgerOptions(horizon_s=0, deadline_ms=0)
            stores = [
                RedisEntityStore(client, stream=RAW, group=group, features=features, keys=Keys(), options=options, clock=clock)
                for group in _GROUPS
            ]
            town = _Town(features, stores, ServerMeter(client), Preload(other, features, "card", "card-"), number)
            progress.step(f"loading {number:,} cards")
            await town.load()
            town.used_mb = round((await sizes(other)).used_bytes / 1e6, 1)
            towns.append(town)
        server_name = await _in_turns(towns, plan, progress)
    return CardsReport(
        machine=machine(), commit=plan.commit, server=server_name, features=len(features.names),
        events_per_card=_EVENTS_PER_CARD, rounds=plan.rounds, transactions_per_round=plan.transactions, whole_us=whole_us,
        bound=BOUND, costs=[_cost(one, towns[0], whole_us) for one in towns],
    )  # fmt: skip


async def _whole(plan: CardsPlan, progress: Progress) -> float:
    """
    Return the CPU of a transaction by all processes, from the stream to the row, in microseconds.
    """
    if not plan.whole:
        return 0.0
    async with bench_system(plan.inherited, DEMO_GROUPS, progress) as system:
        payments = Payments(system.folder / "payments.jsonl", _WARM_UP + plan.whole, progress)
        await stretch(system, payments, _WARM_UP, None, progress)
        progress.step("what a whole transaction costs")
        done = await stretch(system, payments, plan.whole, None, progress)
        payments.close()
    costs = done.after.micros_since(done.before, done.transactions)
    return round(sum(cost for name, cost in costs.items() if name != "producer"), 1)


async def _in_turns(towns: Sequence["_Town"], plan: CardsPlan, progress: Progress) -> str:
    """
    Let each have its turn, another one first each time; the first turn of each is not counted.
    """
    server = ""
    for turn in range(plan.rounds + 1):
        at = turn % len(towns)
        for town in (*towns[at:], *towns[:at]):
            server = await town.turn(turn, plan.transactions)
        progress.count("turns", turn, plan.rounds)
    for town in towns:
        del town.client_us[0], town.redis_us[0]
    return server


class _Town:
    """
    So many known cards on a server of their own.
    """

    def __init__(
        self, features: FeatureSet, stores: Sequence[RedisEntityStore], meter: ServerMeter, preload: Preload, wanted: int
    ) -> None:
        self._features = features
        self._stores = stores
        self._meter = meter
        self._preload = preload
        self._log = b""
        self._rng = random.Random(1)  # noqa: S311 made up, not secret
        self.wanted = wanted
        self.cards = 0
        self.used_mb = 0.0
        self.client_us: list[float] = []
        self.redis_us: list[float] = []

    async def load(self) -> None:
        for number in range(_EVENTS_PER_CARD):
            first = [_payment("before", number, 0)]
            await self._stores[0].touch([NO_ENTRY], first, records(self._features, first))
        self._log = await self._preload.value(0)
        room = _MEMORY_SHARE * _free_bytes() / (len(self._log) + _KEY_BYTES)
        self.cards = min(self.wanted, int(room))
        await self._preload.fill(self._log, self.cards)

    async def turn(self, turn: int, transactions: int) -> str:
        """
        Send payments through both groups; return what the server is. The cards are afterwards as they were before.
        """
        cards = [self._rng.randrange(self.cards) for _ in range(transactions)]
        if self.cards <= transactions:
            cards = [number % self.cards for number in range(transactions)]
        await self._preload.reset(self._log, set(cards))
        batches = list(_batches([_payment(f"{turn}", number, card) for number, card in enumerate(cards)]))
        await self._meter.begin()
        begin = time.process_time()
        for batch in batches:
            for store in self._stores:
                await self._pass(store, batch)
        client_s = time.process_time() - begin
        spent = await self._meter.end()
        self.client_us.append(client_s * 1e6 / transactions)
        self.redis_us.append(spent.cpu_s * 1e6 / transactions)
        await self._preload.reset(self._log, set(cards))
        return await self._meter.server()

    async def _pass(self, store: RedisEntityStore, batch: Sequence[Transaction]) -> None:
        rows = records(self._features, batch)
        touched = await store.touch([NO_ENTRY] * len(batch), batch, rows)
        compute(self._features, batch, rows, [STANDING.get(place, Standing.SEEN) for place in touched.places], touched.states)

    @property
    def totals_us(self) -> list[float]:
        """
        Client and server together, by turn.
        """
        return [client + server for client, server in zip(self.client_us, self.redis_us, strict=True)]


def _cost(town: _Town, fewest: _Town, whole_us: float) -> CardsCost:
    pairs = list(zip(town.totals_us, fewest.totals_us, strict=True))
    more_us = statistics.median(own - other for own, other in pairs)
    path_ratio = round(statistics.median(own / other for own, other in pairs), 3)
    return CardsCost(
        wanted=town.wanted,
        cards=town.cards,
        used_mb=town.used_mb,
        client_us=round(statistics.median(town.client_us), 2),
        redis_us=round(statistics.median(town.redis_us), 2),
        path_us=round(statistics.median(town.totals_us), 2),
        path_ratio=path_ratio,
        ratio=round((whole_us + more_us) / whole_us, 3) if whole_us else path_ratio,
    )


def _batches(payments: Sequence[Transaction]) -> Iterator[Sequence[Transaction]]:
    return (payments[at : at + _BATCH] for at in range(0, len(payments), _BATCH))


def _payment(name: str, number: int, card: int) -> Transaction:
    """
    Return the payment of that number: all of it but the card is the same whatever is known.
    """
    other = number % _OTHERS
    return Transaction(
        transaction_id=f"bench-{name}-{number}",
        amount_minor=100 + number * 37 % 50_000,
        currency="EUR",
        occurred_at_ms=_START_MS + number * _STEP_MS,
        card_id=f"card-{card}",
        user_id=f"user-{other}",
        device_id=f"device-{other}",
        merchant=f"merchant-{other % 200}",
        country="BE",
        latitude=50.5,
        longitude=4.5,
    )


def _free_bytes() -> int:
    """
    Return the memory that may still be used on this machine (Linux).
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
