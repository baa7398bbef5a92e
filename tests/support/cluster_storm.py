"""
A fleet over a cluster whose workers and servers are killed, and the books that it must keep.

As a command it prints the figures of ``docs/scale-out.md``: ``python -m tests.support.cluster_storm SEED PAYMENTS PARTITIONS``.
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

from redis import Redis

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.redis_keys import DLQ, Partitions
from fraudstream.app.connections import intake
from fraudstream.local import LocalPostgres
from fraudstream.local.process import LocalServerFailed
from fraudstream.producers.produce import produce
from fraudstream.settings import Settings
from tests.support.cluster import Cluster, PartitionedView
from tests.support.servers import FAST
from tests.support.system import (
    QUICK,
    ForkedWorker,
    ids_of,
    log_errors,
    payments,
    recorded_ids,
    ring_errors,
    shipped_features,
)
from tests.support.wait import wait_until_sync

GROUPS = ("fraud-check", "ml-scoring", "recorder", "alerter")
#: What may live for ever: streams, and what is there once for each partition or for the fleet.
_PERMANENT = ("transactions:", "heartbeat:", "waiting:", "partitions:", "alert", "rules:", "lists:", "models:", "tokens:")


class Storm(NamedTuple):
    """
    How much is sent in how many rounds, each of which kills a worker, and before which rounds a server is killed too.
    """

    seed: int
    payments: int
    partitions: int
    rounds: int
    servers_die_in: Collection[int] = ()
    more_workers: Collection[str] = ("fraud-check", "ml-scoring")


class Books(NamedTuple):
    """
    What came of it: all but the first three and the seconds must be nothing.
    """

    payments: int
    workers_killed: int
    servers_killed: int
    seconds: float
    lost: int
    doubled: int
    strangers: int
    state_errors: list[str]
    letters: int
    left_for_ever: list[bytes]

    @property
    def balanced(self) -> bool:
        """
        Whether nothing is wrong.
        """
        return not any(self[4:])


class _Fleet:
    """
    Workers as processes, which come back when they are killed.
    """

    def __init__(self, environment: dict[str, str], groups: Collection[str], folder: Path, rng: random.Random) -> None:
        self._workers = [
            ForkedWorker(group, environment=environment, folder=folder / f"{group}-{number}")
            for number, group in enumerate(groups)
        ]
        self._pool = ThreadPoolExecutor(4)
        self._back: dict[ForkedWorker, Future[None]] = {}
        self._rng = rng
        self.kills = 0

    def start(self) -> None:
        list(self._pool.map(ForkedWorker.start, self._workers))

    def kill_one(self) -> None:
        """
        Kill a worker that is up, and have it come back.
        """
        up = [worker for worker in self._workers if worker not in self._back or self._back[worker].done()]
        if up:
            victim = self._rng.choice(up)
            victim.kill()
            self.kills += 1
            self._back[victim] = self._pool.submit(_again, victim)

    def whole(self) -> None:
        """
        Return once everybody is back.
        """
        for one in self._back.values():
            one.result()

    def close(self) -> None:
        self._pool.shutdown()
        for worker in self._workers:
            worker.kill()


def _again(worker: ForkedWorker) -> None:
    """
    Start a worker, as whoever supervises it would: it refuses while a server is away.
    """
    deadline = time.monotonic() + 30
    while True:
        try:
            worker.start()
        except LocalServerFailed:
            if time.monotonic() > deadline:
                raise
        else:
            return


async def storm(cluster: Cluster, database: str, folder: Path, plan: Storm) -> Books:
    """
    Run a fleet through it and compare what it has kept with what was sent.
    """
    rng, began, partitions = random.Random(plan.seed), time.monotonic(), Partitions(plan.partitions)
    settings = Settings(redis_url=cluster.url, postgres_url=database, partitions=plan.partitions, dedup_horizon_s=0)
    environment = {
        **QUICK, "REDIS_URL": cluster.url, "POSTGRES_URL": database, "FRAUDSTREAM_PARTITIONS": str(plan.partitions),
        "FRAUDSTREAM_DEDUP_HORIZON_S": "0", "FRAUDSTREAM_LOG_LEVEL": "warning", "PATH": os.environ["PATH"],
    }  # fmt: skip
    sent, view = payments(plan.payments, seed=plan.seed), PartitionedView(cluster, partitions)
    fleet, servers_killed = _Fleet(environment, [*GROUPS, *plan.more_workers], folder, rng), 0
    try:
        fleet.start()
        async with intake(settings) as target:
            size = -(-len(sent) // plan.rounds)
            for number in range(plan.rounds):
                some = sent[number * size : (number + 1) * size]
                await produce([*some, *rng.sample(sent[: (number + 1) * size], size // 30)], target)
                fleet.kill_one()
                if number in plan.servers_die_in:
                    # Not the first: a replica of it might take over, and we would look in the wrong place.
                    await asyncio.to_thread(_bounce, cluster, rng.choice((1, 2)))
                    servers_killed += 1
        fleet.whole()
        wait_until_sync(lambda: not view.open_entries(GROUPS), "everything to be done", timeout_s=90)
    finally:
        fleet.close()
    found, features, client = await recorded_ids(database), shipped_features(), cast("Redis[bytes]", view)
    return Books(
        payments=len(sent),
        workers_killed=fleet.kills,
        servers_killed=servers_killed,
        seconds=round(time.monotonic() - began, 1),
        lost=len(ids_of(sent) - found.keys()),
        doubled=sum(found.values()) - len(found),
        strangers=len(found.keys() - ids_of(sent)),
        state_errors=[*log_errors(client, sent, features), *ring_errors(client, sent, features)],
        letters=sum(cluster.at(keys.tag).xlen(keys.stream(DLQ)) for keys in partitions.all()),
        left_for_ever=_left_for_ever(cluster),
    )


def _bounce(cluster: Cluster, number: int) -> None:
    """
    Kill a server and start it again over its append-only file.
    """
    cluster.nodes[number].kill()
    cluster.nodes[number].start()
    for client in cluster.clients:
        client.connection_pool.disconnect()


def _left_for_ever(cluster: Cluster) -> list[bytes]:
    permanent = tuple(name.encode() for name in _PERMANENT)
    return [
        key
        for client in cluster.clients[:3]
        for key in client.scan_iter("*", count=1000)
        if client.ttl(key) == -1 and not key.startswith(permanent)
    ]


async def main(seed: int, count: int, partitions: int) -> None:
    """
    Print the books of one storm: forty workers and three servers die.
    """
    plan = Storm(seed, count, partitions, 40, (8, 20, 32), ("fraud-check", "ml-scoring", "fraud-check", "recorder"))
    with Cluster() as cluster, LocalPostgres(settings=FAST) as postgres, tempfile.TemporaryDirectory() as folder:
        await migrate(postgres.url)
        books = await storm(cluster, postgres.url, Path(folder), plan)
    sys.stdout.write(f"seed {seed}, {partitions} partitions: {books}, {'balanced' if books.balanced else 'WRONG'}\n")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4])))
