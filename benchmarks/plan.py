"""
Plan a deployment: ``python benchmarks/plan.py --rate 1000000``; ``--measure`` takes the costs that it rests on anew.

Costs of whole payments (CPU of each kind of process, bytes on the way) are those that ``fraudstream bench scaling --json``
printed, rows a second those of ``fraudstream bench recorder --json``: give them as ``--scaling FILE`` and ``--rows N``. What
partitions cost more, and bytes in memory, are measured here on a server of our own.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_cost import ServerMeter, flow
from fraudstream.adapters.redis_keys import RAW, Keys, Partitions
from fraudstream.adapters.redis_partitions import Part
from fraudstream.adapters.redis_scattered import RedisScatteredStore
from fraudstream.adapters.redis_scripts import run
from fraudstream.adapters.redis_touch import RedisEntityStore
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.app.capacity import Measured, Traffic, need, simulate
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.features.load import load_features
from fraudstream.features.records import records
from fraudstream.local import LocalValkey
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate

HERE = Path(__file__).parent
COUNTS = (1, 2, 4, 16, 64, 256, 1024)
BATCH, PAYMENTS, KEYS = 256, 5_120, 20_000
#: 2026-02-02 00:00:00 UTC; the bodies are the same in every run.
END_MS = 1_769_990_400_000
FEATURES = load_features((HERE.parent / "models" / "default.features").read_text(encoding="utf-8"))
OPTIONS = LedgerOptions(horizon_s=0, deadline_ms=0)


def payments(count: int) -> list[Transaction]:
    """
    Return synthetic payments.
    """
    rows = generate(demo_plan(3, end_ms=END_MS, transactions=count))
    return [parse_transaction(row.body, now_ms=END_MS, default_currency="USD") for row in rows][:count]


async def touched(client: Redis, meter: ServerMeter, sent: Sequence[Transaction], count: int) -> tuple[float, float]:
    """
    Return what a first touch with so many partitions costs for each payment: CPU of the server and of this process, in us.

    Every batch holds payments of one home, as a worker reads them, and is as large as with one partition.
    """
    await client.flushall()
    parts, clock = [Part(keys, client) for keys in Partitions(count).all()], RedisClock()
    store: RedisEntityStore | RedisScatteredStore = (
        RedisEntityStore(client, stream=RAW, group="fraud-check", features=FEATURES, keys=Keys(), options=OPTIONS, clock=clock)
        if count == 1
        else RedisScatteredStore(0, parts, group="fraud-check", features=FEATURES, options=OPTIONS, clock=clock)
    )
    client_s = 0.0
    for part, some in enumerate((sent[:1_024], sent[1_024:])):
        if part:  # the first batches load scripts and fill what is remembered
            await meter.begin()
            client_s = time.process_time()
        for at in range(0, len(some), BATCH):
            batch = some[at : at + BATCH]
            await store.touch([b"0-1"] * len(batch), batch, records(FEATURES, batch))
    spent = time.process_time() - client_s
    server = (await meter.end()).cpu_s
    return server / len(some) * 1e6, spent / len(some) * 1e6


async def held(client: Redis, looker: Redis, commands: Sequence[Sequence[bytes | str | int]]) -> float:
    """
    Return the bytes of memory that each of these commands adds.
    """
    await client.flushall()
    before = await flow(looker)
    for at in range(0, len(commands), 1_000):
        await run(client, commands[at : at + 1_000])
    return (await flow(looker)).since(before, len(commands))["held"]


async def at_one_merchant(client: Redis, meter: ServerMeter, sent: Sequence[Transaction]) -> float:
    """
    Return the server's CPU for each payment in the partition of a merchant that all of them are at, and of nothing else.
    """
    await client.flushall()
    parts = [Part(keys, client) for keys in Partitions(2).all()]
    merchant = next(name for name in map(str, range(100)) if Partitions(2).of(name) == 1)
    only = [Transaction(transaction_id=one.transaction_id, amount_minor=one.amount_minor, currency="USD", merchant=merchant,
                        occurred_at_ms=one.occurred_at_ms) for one in sent]  # fmt: skip
    store = RedisScatteredStore(0, parts, group="fraud-check", features=FEATURES, options=OPTIONS, clock=RedisClock())
    bare = [msgspec.structs.replace(one, merchant=None, transaction_id=f"bare-{at}") for at, one in enumerate(only)]
    spent = []
    for batches in (only[:BATCH], only, bare):
        await meter.begin()
        for at in range(0, len(batches), BATCH):
            batch = batches[at : at + BATCH]
            await store.touch([b"0-1"] * len(batch), batch, records(FEATURES, batch))
        spent.append((await meter.end()).cpu_s / len(batches) * 1e6)
    return spent[1] - spent[2]


async def measure(alone: dict[str, Any], rows_per_s: float) -> Measured:
    """
    Measure what partitions and keys cost, and take the rest from what was measured end to end.
    """
    sent = payments(PAYMENTS)
    size = FEATURES.layouts["card"].size
    with LocalValkey() as server:
        address = RedisAddress(url=server.url)
        async with connected(address, 2) as client, connected(address, 1) as looker:
            meter = ServerMeter(looker)
            costs = {count: await touched(client, meter, sent, count) for count in COUNTS}
            hot_us = await at_one_merchant(client, meter, sent)
            identity = "{:020d}".format
            record = await held(
                client, looker, [("SET", f"txn:{{p0000}}:{identity(at)}", "D", "EX", 3900) for at in range(KEYS)]
            )
            mark = await held(
                client, looker, [("SET", f"moved:{{p0000}}:{identity(at)}", "T", "EX", 3900) for at in range(KEYS)]
            )
            log = await held(
                client,
                looker,
                [
                    ("SET", f"log:{{p0000}}:abcdef01:card:{identity(at)}", b"x" * (100 * size), "EX", 9999)
                    for at in range(2_000)
                ],
            )
            ring_size = max(offset + 20 * slots for _, offset, slots in FEATURES.ring_resolutions)
            ring = await held(
                client,
                looker,
                [
                    ("SET", f"ring:{{p0000}}:abcdef01:merchant:{identity(at)}", b"x" * ring_size, "EX", 9999)
                    for at in range(2_000)
                ],
            )
            bodies = [row.body for row in generate(demo_plan(3, end_ms=END_MS, transactions=KEYS))]
            stream = await held(client, looker, [("XADD", "transactions:raw:{p0000}", "*", "data", body) for body in bodies])
    workers = {name: micros for name, micros in alone["cpu_us_per_transaction"].items() if name != "redis"}
    return Measured(
        redis_us=alone["cpu_us_per_transaction"]["redis"],
        spread_us={count: round(max(0.0, cost[0] - costs[1][0]), 1) for count, cost in costs.items()},
        spread_client_us={count: round(max(0.0, cost[1] - costs[1][1]), 1) for count, cost in costs.items()},
        hot_us=round(hot_us, 2),
        worker_us=workers,
        record_bytes=record, mark_bytes=mark, log_bytes=log, ring_bytes=ring, stream_bytes=stream,
        network_in_bytes=alone["redis_bytes"]["came"],
        network_out_bytes=alone["redis_bytes"]["went"],
        append_bytes=alone["redis_bytes"]["appended"],
        row_bytes=1070.0,
        recorder_rows_per_s=rows_per_s,
    )  # fmt: skip


def main() -> None:
    """
    Print a plan, or measure what plans rest on.
    """
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rate", type=float, default=1e6, help="payments per second")
    words.add_argument("--hottest", type=float, default=0.02, help="share of payments at one merchant")
    words.add_argument("--measured", type=Path, default=HERE / "measured.json")
    words.add_argument("--measure", action="store_true")
    words.add_argument("--scaling", type=Path, help="what fraudstream bench scaling --json printed")
    words.add_argument("--rows", type=float, default=58_925.0, help="rows a second of fraudstream bench recorder")
    given = words.parse_args()
    if given.measure:
        runs = json.loads(given.scaling.read_text())["data"]["runs"]
        costs = asyncio.run(measure(next(one for one in runs if one["partitions"] == 1), given.rows))
        given.measured.write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=2) + b"\n")
        return
    measured = msgspec.json.decode(given.measured.read_bytes(), type=Measured)
    traffic = Traffic(rate_tps=given.rate, hottest_share=given.hottest)
    for title, found in (("traffic", traffic), ("need", need(measured, traffic)), ("simulated", simulate(measured, traffic))):
        print(title)
        for name, value in msgspec.to_builtins(found).items():
            print(f"  {name:<28} {value}")


if __name__ == "__main__":
    main()
