"""
The whole system as real processes, and the books that it must keep: sets and counters computed again by hand.
"""

import json
import os
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import xxhash
from redis import Redis

from fraudstream.adapters.redis_keys import GROUPS
from fraudstream.app.local_system import LocalSystem
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.layout import HASH_BYTES
from fraudstream.features.load import load_features
from fraudstream.local.worker import LocalWorker
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate
from fraudstream.telemetry.pages import counted
from tests.support.nursery import Order, start
from tests.support.servers import CopiedPostgres
from tests.support.wait import wait_until_sync

#: Times that make a death noticed within a second or two.
QUICK = {
    "FRAUDSTREAM_HEARTBEAT_LIFE_S": "1",
    "FRAUDSTREAM_CLAIM_IDLE_S": "1",
    "FRAUDSTREAM_DRAIN_TIMEOUT_S": "10",
    "FRAUDSTREAM_BLOCK_MS": "200",
}


class ForkedWorker(LocalWorker):
    """
    ``LocalWorker`` without the second of imports at each start: forked from the nursery, which also ends it when we die.
    """

    #: What is run; the words follow.
    module = "fraudstream"

    def _launch(self) -> None:
        words = self._command()[3:]
        with self.log.open("wb") as log:
            order = Order(self.module, words, self._environment(), str(self.folder))
            self._process = start(order, stdout=log, stderr=log)


class System(LocalSystem):
    """
    A system that is soon up: its workers are forks, its cluster is a copy.
    """

    worker: type[LocalWorker] = ForkedWorker

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.postgres.close()  # its folder is there already
        self.postgres = CopiedPostgres()

    def start_workers(self) -> None:
        first = len(self.workers)
        self.workers += [
            self.worker(groups, environment=self.environment(), folder=self.folder / f"{groups.replace(',', '-')}-{number}")
            for number, groups in enumerate(self._groups, first)
        ]
        for worker in self.workers[first:]:
            self._stack.callback(worker.kill)  # the test is over: who wants to see a drain calls stop_workers
        with ThreadPoolExecutor(len(self._groups)) as pool:
            list(pool.map(LocalWorker.start, self.workers[first:]))


def a_system(groups: Sequence[str], *, deadline_ms: int = 250, **settings: str) -> System:
    """
    Return a system that is not started yet; ``settings`` are environment names of ours, without the prefix.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FRAUDSTREAM_", "REDIS_", "POSTGRES_"))}
    given = {f"FRAUDSTREAM_{name.upper()}": value for name, value in settings.items()}
    return System(inherited={**kept, **QUICK, **given}, deadline_ms=deadline_ms, horizon_s=0, groups=groups)


def payments(count: int, *, seed: int = 5) -> list[bytes]:
    """
    Return synthetic bodies that end now.
    """
    return [one.body for one in generate(demo_plan(seed, end_ms=int(time.time() * 1000), transactions=count))]


def append(client: "Redis[bytes]", bodies: Iterable[bytes]) -> list[bytes]:
    """
    Write bodies as any client would, and return the entry ids.
    """
    pipeline = client.pipeline(transaction=False)
    for body in bodies:
        pipeline.xadd("transactions:raw", {"data": body})
    ids: list[bytes] = pipeline.execute()
    return ids


def open_entries(client: "Redis[bytes]", groups: Iterable[str]) -> dict[str, int]:
    """
    Return, by group, entries that are not read or not acknowledged; a group or stream that is not there yet counts as open.
    """
    found: dict[str, int] = {}
    for stream, names in GROUPS.items():
        wanted = [name for name in names if name in groups]
        if not wanted:
            continue
        infos = {info["name"].decode(): info for info in client.xinfo_groups(stream)} if client.exists(stream) else {}
        head = client.xinfo_stream(stream) if infos else {}
        for name in wanted:
            info = infos.get(name)
            read_all = info is not None and info["last-delivered-id"] == head["last-generated-id"]
            found[name] = 1 if info is None else info["pending"] + (0 if read_all else 1)
    return found


def wait_until_done(client: "Redis[bytes]", groups: Sequence[str], *, timeout_s: float = 120.0) -> None:
    """
    Return when every group has finished everything.
    """
    wait_until_sync(lambda: not any(open_entries(client, groups).values()), f"{groups} to finish", timeout_s=timeout_s)


def duplicates(system: LocalSystem) -> int:
    """
    Return how many second entries the rules met; a worker counts them a moment after it has acknowledged them.
    """
    pages = [worker.metrics() for worker in system.workers]
    return int(counted(pages, "fraudstream_events_processed_total", group="fraud-check", outcome="duplicate"))


async def rows(url: str, query: str, *args: Any) -> list[asyncpg.Record]:
    """
    Ask the database.
    """
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *args))
    finally:
        await connection.close()


async def recorded_ids(url: str) -> Counter[str]:
    """
    Return the transaction ids in both tables, with how often each stands there.
    """
    return Counter(row["transaction_id"] for row in await rows(url, "SELECT transaction_id FROM decisions"))


def shipped_features() -> FeatureSet:
    """
    Return the feature set that the workers of these tests load.
    """
    return load_features((Path(__file__).parents[2] / "models" / "default.features").read_text())


def log_errors(client: "Redis[bytes]", bodies: Iterable[bytes], features: FeatureSet) -> list[str]:
    """
    Compare every event log with the transactions that must stand in it, each once, whatever the order.
    """
    expected: dict[str, Counter[int]] = defaultdict(Counter)
    for transaction in _once(bodies):
        digest = xxhash.xxh3_64_intdigest(transaction.transaction_id.encode())
        for kind in features.logs:
            entity = getattr(transaction, {"card": "card_id", "user": "user_id", "device": "device_id", "ip": "ip"}[kind])
            if entity is not None:
                expected[f"log:{features.layouts[kind].id}:{kind}:{entity}"][digest % 256**HASH_BYTES] += 1
    found = {key.decode() for key in client.scan_iter("log:*", count=1000)}
    errors = [f"{key}: no transaction of ours moved it" for key in found - expected.keys()]
    for key, hashes in expected.items():
        raw = client.get(key) or b""
        size = features.layouts[key.split(":")[2]].size
        held = Counter(int.from_bytes(raw[at : at + HASH_BYTES], "little") for at in range(0, len(raw), size))
        full = len(raw) > (features.log_cap_records - features.log_cap_records // 4 - 1) * size
        if held != hashes and not (full and held <= hashes):
            errors.append(f"{key}: {sum((held - hashes).values())} too many, {sum((hashes - held).values())} missing")
    return errors


def ring_errors(client: "Redis[bytes]", bodies: Iterable[bytes], features: FeatureSet) -> list[str]:
    """
    Compare the newest bucket of the coarsest resolution of every ring with a recount.
    """
    resolution_ms, offset, slots = max(features.ring_resolutions)
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for transaction in _once(bodies):
        if transaction.merchant is not None:
            key = f"ring:{features.ring_layout}:merchant:{transaction.merchant}"
            counts[key][transaction.occurred_at_ms // 1000 * 1000 // resolution_ms] += 1
    errors = []
    for key, buckets in counts.items():
        newest = max(buckets)
        raw = client.get(key) or b""
        at = offset + 20 * (newest % slots)
        bucket, count = struct.unpack_from("<II", raw, at) if len(raw) >= at + 8 else (0, 0)
        if (bucket, count) != (newest, buckets[newest]):
            errors.append(f"{key}: bucket {bucket} holds {count}, should be {newest} with {buckets[newest]}")
    return errors


def _once(bodies: Iterable[bytes]) -> list[Any]:
    seen: dict[str, Any] = {}
    for body in bodies:
        transaction = parse_transaction(body, now_ms=2**62, default_currency="USD")
        seen.setdefault(transaction.transaction_id, transaction)
    return list(seen.values())


def letters(client: "Redis[bytes]") -> list[dict[str, str]]:
    """
    Return the dead letters as text.
    """
    return [
        {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()}
        for _, fields in client.xrange("transactions:dlq")
    ]


def body(**fields: Any) -> bytes:
    """
    Write one payment.
    """
    return json.dumps({"amount": 12.5, "timestamp": int(time.time()) - 5, **fields}).encode()


def ids_of(bodies: Iterable[bytes]) -> set[str]:
    """
    Return the transaction ids of bodies.
    """
    return {str(json.loads(one)["transaction_id"]) for one in bodies}
