"""
Partitions over a real cluster of three servers: nothing lost, nothing twice, and clients that follow a failover.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from redis import Redis

from fraudstream.adapters.redis_checks import check_server
from fraudstream.adapters.redis_client import RedisAddress, connected, translated
from fraudstream.adapters.redis_keys import DLQ, Partitions
from fraudstream.adapters.redis_scripts import run
from fraudstream.app.connections import intake
from fraudstream.app.findings import Limits
from fraudstream.app.looking import looks
from fraudstream.domain.errors import InvalidSettings, StreamUnavailable, UnsuitableServer
from fraudstream.producers.produce import produce
from fraudstream.settings import Settings, load
from tests.support.cluster import Cluster, PartitionedView
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
from tests.support.wait import wait_until, wait_until_sync

GROUPS = ("fraud-check", "ml-scoring", "recorder", "alerter")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(replicas=1) as formed:
        yield formed


async def test_a_fleet_over_a_cluster_loses_and_doubles_nothing_when_workers_die_and_come(
    cluster: Cluster, database: str, tmp_path: Any
) -> None:
    partitions = Partitions(6)
    settings = Settings(redis_url=cluster.url, postgres_url=database, partitions=6, dedup_horizon_s=0)
    environment = {
        **QUICK, "REDIS_URL": cluster.url, "POSTGRES_URL": database, "FRAUDSTREAM_PARTITIONS": "6", "PATH": "/usr/bin:/bin",
        "FRAUDSTREAM_DEDUP_HORIZON_S": "0", "FRAUDSTREAM_LOG_LEVEL": "warning",
    }  # fmt: skip
    names = [*GROUPS, "fraud-check", "ml-scoring"]
    workers = [
        ForkedWorker(name, environment=environment, folder=tmp_path / f"{name}-{number}") for number, name in enumerate(names)
    ]
    sent, view = payments(1_500), PartitionedView(cluster, partitions)
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(ForkedWorker.start, workers[:5]))
        async with intake(settings) as target:
            await produce(sent[:600], target)
            workers[0].kill()
            await asyncio.to_thread(workers[5].start)
            await produce([*sent[600:], *sent[:50]], target)
            workers[1].kill()
        wait_until_sync(lambda: not view.open_entries(GROUPS), "everything to be done", timeout_s=60)
        (look,) = [one async for one in looks(settings, Limits(groups=GROUPS), every_s=1, times=1)]
    finally:
        for worker in workers:
            worker.kill()

    features, client = shipped_features(), cast("Redis[bytes]", view)
    found = await recorded_ids(database)
    assert found.keys() == ids_of(sent)
    assert set(found.values()) == {1}
    assert log_errors(client, sent, features) == []
    assert ring_errors(client, sent, features) == []
    assert [cluster.at(keys.stream(DLQ)).xlen(keys.stream(DLQ)) for keys in partitions.all()] == [0] * 6
    assert len({group.stream for group in look.overview.groups}) == 6 * 4
    assert sum(one.lag_entries or 0 for one in look.overview.groups if one.group in GROUPS) == 0


async def test_connections_follow_a_partition_to_the_server_that_took_over(cluster: Cluster) -> None:
    tag = next(keys.tag for keys in Partitions(64).all() if cluster.at(keys.tag) is cluster.clients[0])
    address, key = RedisAddress(url=cluster.url), f"followed:{tag}"
    replica = cluster.clients[3]
    waiting, blocking = address.commands(2, tag), address.blocking(tag)

    async def answers() -> bool:
        try:
            with translated("followed"):
                await run(waiting, [("INCR", key)])
                blocking.incr(key)
        except StreamUnavailable:
            return False
        return True

    assert await answers()
    wait_until_sync(lambda: replica.execute_command("CLUSTER", "FAILOVER") is not None, "the replica to take over")
    wait_until_sync(lambda: replica.info("replication")["role"] == "master", "the replica to be the primary")
    await wait_until(answers, "both kinds of client to be on the new primary")

    before = int(replica.get(key))
    assert await answers()
    assert int(replica.get(key)) == before + 2
    await waiting.connection_pool.disconnect()
    blocking.close()


async def test_a_cluster_without_partitions_is_refused_in_words(cluster: Cluster) -> None:
    with pytest.raises(InvalidSettings, match="FRAUDSTREAM_PARTITIONS"):
        load({"REDIS_URL": cluster.url})
    async with connected(RedisAddress(url=cluster.nodes[0].url), 1) as client:
        with pytest.raises(UnsuitableServer, match="cluster"):
            await check_server(client, allow_no_persistence=False, clustered=False)
