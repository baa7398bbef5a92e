"""
Partitions over a real cluster of three servers: nothing lost, nothing twice, and clients that follow a failover.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fraudstream.adapters.redis_checks import check_server
from fraudstream.adapters.redis_client import RedisAddress, connected, translated
from fraudstream.adapters.redis_keys import Partitions
from fraudstream.adapters.redis_scripts import run
from fraudstream.app.findings import Limits
from fraudstream.app.looking import looks
from fraudstream.domain.errors import InvalidSettings, StreamUnavailable, UnsuitableServer
from fraudstream.settings import Settings, load
from tests.support.cluster import Cluster
from tests.support.cluster_storm import GROUPS, Storm, storm
from tests.support.wait import wait_until, wait_until_sync


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(replicas=1) as formed:
        yield formed


async def test_a_fleet_over_a_cluster_loses_and_doubles_nothing_whoever_is_killed(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    plan = Storm(seed=1, payments=900, partitions=6, rounds=4, servers_die_in=(1,))

    books = await storm(cluster, database, tmp_path, plan)
    settings = Settings(redis_url=cluster.url, postgres_url=database, partitions=6)
    (look,) = [one async for one in looks(settings, Limits(groups=GROUPS), every_s=1, times=1)]

    assert books.balanced, books
    assert (books.workers_killed, books.servers_killed) == (4, 1)
    assert {one.stream for one in look.overview.groups if one.group == "fraud-check"} == {
        f"transactions:raw:{{p0{number}}}" for number in range(6)
    }
    assert sum(one.lag_entries or 0 for one in look.overview.groups if one.group in GROUPS) == 0


async def test_connections_follow_a_partition_to_the_server_that_took_over(cluster: Cluster) -> None:
    tag = next(keys.tag for keys in Partitions(64).all() if cluster.at(keys.tag) is cluster.clients[0])
    address, key = RedisAddress(url=cluster.url), f"followed:{tag}"
    replica = cluster.clients[3]
    waiting, blocking = address.commands(2, tag), address.blocking(tag)

    async def answers() -> bool:
        try:
            with translated("followed"):
                await run(waiting, [("INCR", key), ("GET", key), ("GET", key)])
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
