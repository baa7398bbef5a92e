"""
Connections to Redis or Valkey with every setting pinned, and the one place that translates the client's errors.

The client's defaults retry commands by themselves, which doubles writes and strands reads; see docs/architecture.md.
"""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import redis
from redis.asyncio import BlockingConnectionPool, Connection, ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry

from fraudstream.adapters.redis_arrivals import PromptConnection, PromptTlsConnection
from fraudstream.adapters.redis_finders import Finder, PrimaryFinder, SeveralHosts, SlotFinder, several_hosts
from fraudstream.adapters.redis_following import (
    FollowingBlockingConnection,
    FollowingBlockingTlsConnection,
    FollowingConnection,
    FollowingTlsConnection,
)
from fraudstream.adapters.redis_keys import SHARED_TAG
from fraudstream.domain.errors import InvalidSettings, StreamUnavailable

_PROMPT: dict[type[Any], type[Any]] = {Connection: PromptConnection, SSLConnection: PromptTlsConnection}
#: Longest time that a reply may take, in seconds; a blocking read waits at most half of it.
SOCKET_TIMEOUT_S = 5.0
_AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    ReadOnlyError,
    AskError,
    MovedError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
    OutOfMemoryError,
    OSError,
)
#: Beginnings of error replies that pass by themselves.
_PASSING = (
    "LOADING",
    "BUSY ",
    "UNBLOCKED",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "MISCONF",
    "OOM",
    "READONLY",
    "NOSCRIPT",
)


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where Redis is, and how to trust it.

    ``url`` is ``redis://`` or ``rediss://``, or names several servers (see ``SeveralHosts``); the files are PEM, empty for the
    system's own. In a cluster every client talks to the one server that its hash tag lies on, wherever that is by then.
    """

    url: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def options(self) -> dict[str, Any]:
        """
        Return the connection settings that both kinds of client share.

        Raises:
            InvalidSettings: A certificate file is named that does not exist.
        """
        options: dict[str, Any] = {
            "protocol": 2,
            "decode_responses": False,
            "retry_on_error": [],
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": 2.0,
            "health_check_interval": 0,
        }
        if not self.url.startswith("unix://"):
            options["socket_keepalive"] = True
            options["socket_keepalive_options"] = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
        for name, path in (("ssl_ca_certs", self.ca_file), ("ssl_certfile", self.cert_file), ("ssl_keyfile", self.key_file)):
            if path and not Path(path).is_file():
                raise InvalidSettings(f"{name}: no file {path!r}; name the PEM file, or leave the setting empty")
            if path and self.url.startswith("rediss"):
                options[name] = path
        return options

    @property
    def clustered(self) -> bool:
        """
        Whether the address is that of a cluster, where every hash tag may lie on another server.
        """
        several = several_hosts(self.url)
        return several is not None and several.kind == "cluster"

    def reader(self, tag: str = SHARED_TAG) -> Redis:
        """
        Return a client with one connection of its own, for blocking reads.
        """
        several = several_hosts(self.url)
        if several is not None:
            return Redis(connection_pool=self._following(several, tag, 1), single_connection_client=True)
        client = Redis.from_url(self.url, single_connection_client=True, retry=AsyncRetry(NoBackoff(), 0), **self.options())
        _prompt(client.connection_pool)
        return client

    def commands(self, connections: int = 16, tag: str = SHARED_TAG) -> Redis:
        """
        Return a client over a pool that waits for a free connection.
        """
        several = several_hosts(self.url)
        if several is not None:
            return Redis.from_pool(self._following(several, tag, connections))
        pool = BlockingConnectionPool.from_url(
            self.url, max_connections=connections, timeout=2.0, retry=AsyncRetry(NoBackoff(), 0), **self.options()
        )
        _prompt(pool)
        return Redis.from_pool(pool)

    def blocking(self, tag: str = SHARED_TAG) -> "redis.Redis":
        """
        Return a client for a thread.
        """
        several = several_hosts(self.url)
        if several is None:
            return redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), **self.options())
        kind = FollowingBlockingTlsConnection if several.tls else FollowingBlockingConnection
        options = {**self.options(), **several.access(), "retry": Retry(NoBackoff(), 0)}
        pool = redis.ConnectionPool(connection_class=kind, finder=self._finder(several, tag), **options)
        return redis.Redis.from_pool(pool)

    def _following(self, several: SeveralHosts, tag: str, connections: int) -> BlockingConnectionPool:
        kind = FollowingTlsConnection if several.tls else FollowingConnection
        options = {**self.options(), **several.access(), "retry": AsyncRetry(NoBackoff(), 0)}
        return BlockingConnectionPool(
            connection_class=kind, finder=self._finder(several, tag), max_connections=connections, timeout=2.0, **options
        )

    def _finder(self, several: SeveralHosts, tag: str) -> Finder:
        if several.kind == "sentinel":
            return PrimaryFinder(several.hosts, several.service)
        access = {"username": several.username, "password": several.password}
        tls = {name: value for name, value in self.options().items() if name.startswith("ssl_")}
        return SlotFinder(several.hosts, tag, {**access, **({"ssl": True, **tls} if several.tls else {})})


def _prompt(pool: ConnectionPool) -> None:
    """
    Let a pool make connections that read replies as they come; over a Unix socket they are the client's own.
    """
    pool.connection_class = _PROMPT.get(pool.connection_class, pool.connection_class)


def is_no_group(exc: BaseException) -> bool:
    """
    Say whether a consumer group is gone: the server was flushed, or a failover lost it.
    """
    return isinstance(exc, ResponseError) and "NOGROUP" in str(exc)


def is_no_script(exc: BaseException) -> bool:
    """
    Say whether the server has forgotten a script: it was restarted.
    """
    return isinstance(exc, NoScriptError) or (isinstance(exc, ResponseError) and str(exc).startswith("NOSCRIPT"))


def is_passing(exc: BaseException) -> bool:
    """
    Say whether an error ends by itself, so that the same command may succeed later.
    """
    if isinstance(exc, _AWAY) or is_no_script(exc) or is_no_group(exc):
        return True
    return isinstance(exc, ResponseError) and str(exc).startswith(_PASSING)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """
    Turn the client's passing errors into ``StreamUnavailable``; a wrong command or a broken key stays an error of ours.
    """
    try:
        yield
    except (RedisError, OSError) as exc:
        if is_passing(exc):
            raise StreamUnavailable(f"{what}: {exc}") from exc
        raise


@asynccontextmanager
async def connected(address: RedisAddress, connections: int = 16, *, tag: str = SHARED_TAG) -> AsyncIterator[Redis]:
    """
    Lend a pooled client and close it afterwards.
    """
    client = address.commands(connections, tag)
    try:
        yield client
    finally:
        await client.aclose()
        await client.connection_pool.disconnect()
