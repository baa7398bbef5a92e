"""
``rediss://`` with a CA of our own and a client certificate, against Debian's redis-server: the wheels' servers have no TLS.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import ConnectionPool
from redis import Redis as BlockingRedis
from redis.asyncio import BlockingConnectionPool, Redis

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_finders import Found
from fraudstream.adapters.redis_following import FollowingBlockingTlsConnection, FollowingTlsConnection
from fraudstream.adapters.redis_intake import AdmissionLimits, RedisIntake
from fraudstream.adapters.redis_keys import Keys
from fraudstream.adapters.redis_stream import RedisHeart, RedisTransactionStream, StreamOptions, consumer_name
from fraudstream.domain.errors import InvalidSettings, StreamUnavailable
from fraudstream.local import LocalValkey
from fraudstream.local.process import free_port
from tests.support.certificates import Authority, Pair
from tests.support.debian import debian_redis


class Guarded(NamedTuple):
    url: str
    authority: Authority
    stranger: Authority
    client: Pair


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("redis-tls")
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    pair, port = authority.sign("redis-server"), free_port()
    arguments = ["--tls-port", str(port), "--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key)]
    arguments += ["--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "yes"]
    with LocalValkey(binary=debian_redis(), arguments=arguments):
        yield Guarded(f"rediss://127.0.0.1:{port}/0", authority, stranger, authority.sign("worker"))


def trusted(guarded: Guarded) -> RedisAddress:
    return RedisAddress(
        url=guarded.url,
        ca_file=str(guarded.authority.certificate),
        cert_file=str(guarded.client.certificate),
        key_file=str(guarded.client.key),
    )


async def test_streams_and_heartbeats_work_over_tls(guarded: Guarded) -> None:
    address, keys, options = trusted(guarded), Keys(), StreamOptions()
    reader = address.reader()
    async with connected(address) as client:
        stream = RedisTransactionStream(
            reader, client, stream="transactions:raw", group="fraud-check", consumer=consumer_name(), keys=keys, options=options
        )
        heart = RedisHeart(address, stream, keys, options)
        await RedisIntake(client, stream="transactions:raw", limits=AdmissionLimits()).append([b"{}", b"{}"])

        await stream.open()
        deliveries = await stream.read(10, 100)
        lost = heart.beat([delivery.entry_id for delivery in deliveries])

        assert [delivery.fields for delivery in deliveries] == [{b"data": b"{}"}] * 2
        assert lost == []
        heart.close()
        await reader.aclose()


class There:
    """
    A finder that knows one place.
    """

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2].partition("/")[0])

    def find(self) -> Found:
        return Found("127.0.0.1", self._port)


async def test_connections_that_look_for_their_server_speak_tls(guarded: Guarded) -> None:
    options = {**trusted(guarded).options(), "finder": There(guarded.url)}
    waiting = Redis.from_pool(BlockingConnectionPool(connection_class=FollowingTlsConnection, max_connections=1, **options))
    blocking = BlockingRedis.from_pool(ConnectionPool(connection_class=FollowingBlockingTlsConnection, **options))

    assert await waiting.set("found", "1") is not None
    assert blocking.get("found") == b"1"
    await waiting.connection_pool.disconnect()
    blocking.connection_pool.disconnect()


async def test_a_server_of_a_stranger_is_not_trusted(guarded: Guarded) -> None:
    address = RedisAddress(
        url=guarded.url,
        ca_file=str(guarded.stranger.certificate),
        cert_file=str(guarded.client.certificate),
        key_file=str(guarded.client.key),
    )

    async with connected(address) as client:
        with pytest.raises(StreamUnavailable):
            await RedisIntake(client, stream="transactions:raw", limits=AdmissionLimits()).append([b"{}"])


async def test_a_client_without_a_certificate_is_turned_away(guarded: Guarded) -> None:
    address = RedisAddress(url=guarded.url, ca_file=str(guarded.authority.certificate))

    async with connected(address) as client:
        with pytest.raises(StreamUnavailable):
            await RedisIntake(client, stream="transactions:raw", limits=AdmissionLimits()).append([b"{}"])


def test_a_certificate_file_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"

    with pytest.raises(InvalidSettings, match="ssl_ca_certs"):
        RedisAddress(url="rediss://127.0.0.1:1/0", ca_file=str(missing)).options()
