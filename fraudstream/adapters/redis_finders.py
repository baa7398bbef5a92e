"""
Which server answers: looked up anew for every connection, so that a failover ends in a reconnect and in nothing else.

Neither of redis-py's own clients for Cluster and Sentinel is used: both send commands again by themselves, and a pipeline of
scripts goes through neither. Here every client is a plain one; only its connections ask where to go before they connect.
"""

from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from fraudstream.domain.errors import InvalidSettings

#: Longest time that a server is waited for which is only asked where the others are, in seconds.
_ASKED_S = 1.0


class Found(msgspec.Struct, frozen=True):
    """
    Host and port of a server.
    """

    host: str
    port: int


class Finder(Protocol):
    """
    Knows which server to connect to now.
    """

    def find(self) -> Found:
        """
        Look it up; blocks for a second per server that does not answer.

        Raises:
            redis.ConnectionError: None of those that should know answers, or none knows.
        """
        ...


class SeveralHosts(msgspec.Struct, frozen=True, kw_only=True):
    """
    An address that names several servers: ``redis+cluster://host:port,host:port`` or
    ``redis+sentinel://host:port,host:port/service/database``, with ``rediss`` for TLS, user and password as in other addresses.

    The sentinels themselves are asked without TLS and without a password.
    """

    kind: str
    tls: bool
    hosts: tuple[Found, ...]
    username: str | None = None
    password: str | None = None
    service: str = ""
    database: int = 0

    def access(self) -> dict[str, Any]:
        """
        Return what the client needs to be let in.
        """
        return {"username": self.username, "password": self.password, "db": self.database}


def several_hosts(url: str) -> SeveralHosts | None:
    """
    Read an address that names several servers; None for a plain one.

    Raises:
        InvalidSettings: It names none, or no service of the sentinels.
    """
    scheme, _, rest = url.partition("://")
    plain, _, kind = scheme.partition("+")
    if not kind:
        return None
    places, _, path = rest.partition("/")
    access, _, hosts = places.rpartition("@")
    user, _, password = access.partition(":")
    service, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
    found = tuple(_host(one, 26379 if kind == "sentinel" else 6379) for one in hosts.split(",") if one)
    if not found or (kind == "sentinel" and not service):
        raise InvalidSettings(
            f"REDIS_URL must look like redis+{kind}://host:port,host:port{'/service' if kind == 'sentinel' else ''}"
        )
    if database not in {"", "0"} and (kind == "cluster" or not database.isdecimal()):
        raise InvalidSettings(f"REDIS_URL: {database!r} is no database of a {kind}")
    return SeveralHosts(
        kind=kind,
        tls=plain == "rediss",
        hosts=found,
        username=unquote(user) or None,
        password=unquote(password) or None,
        service=service,
        database=int(database or 0),
    )


def _host(text: str, usual_port: int) -> Found:
    host, colon, port = text.rpartition(":")
    if not colon:
        return Found(text, usual_port)
    if not port.isdecimal():
        raise InvalidSettings(f"REDIS_URL: {port!r} is no port")
    return Found(host.strip("[]"), int(port))


class SlotFinder:
    """
    Finds the server of a cluster that a hash tag lies on. It remembers every server of the last answer: the first ones may go.

    Args:
        hosts: Servers that are asked first.
        tag: Hash tag in braces.
        options: Of the connections that ask: user, password, TLS.
    """

    def __init__(self, hosts: Sequence[Found], tag: str, options: dict[str, Any]) -> None:
        self._hosts = list(hosts)
        self._slot = key_slot(tag.encode())
        self._options = options

    def find(self) -> Found:
        """
        Ask one server after the other; see ``Finder``.
        """
        trouble: Exception | None = None
        for host in self._hosts:
            try:
                ranges = _ask(host, self._options, "CLUSTER", "SLOTS")
            except (RedisError, OSError) as exc:
                trouble = exc
                continue
            owner = self._owner(ranges, host)
            if owner is not None:
                return owner
        raise RedisConnectionError(f"no server of the cluster tells who has slot {self._slot}: {trouble}")

    def _owner(self, ranges: Sequence[Sequence[Any]], asked: Found) -> Found | None:
        owner, known = None, []
        for first, last, *nodes in ranges:
            # A server that was never told its own address leaves it empty: it is the one that was asked.
            places = [Found((node[0] or b"").decode() or asked.host, int(node[1])) for node in nodes]
            known += places
            if int(first) <= self._slot <= int(last):
                owner = places[0]
        if owner is not None:
            self._hosts = list(dict.fromkeys([*known, *self._hosts]))
        return owner


class PrimaryFinder:
    """
    Finds the primary of a service as the sentinels see it; the one that answered is asked first the next time.
    """

    def __init__(self, hosts: Sequence[Found], service: str) -> None:
        self._hosts = list(hosts)
        self._service = service

    def find(self) -> Found:
        """
        Ask one sentinel after the other; see ``Finder``.
        """
        trouble: Exception | None = None
        for host in list(self._hosts):
            try:
                found = _ask(host, {}, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            except ResponseError as exc:
                raise RedisConnectionError(f"{host.host}:{host.port} is no sentinel: {exc}") from exc
            except (RedisError, OSError) as exc:
                trouble = exc
                continue
            if found:
                self._hosts.remove(host)
                self._hosts.insert(0, host)
                return Found(found[0].decode(), int(found[1]))
        raise RedisConnectionError(f"no sentinel knows the primary of {self._service!r}: {trouble}")


def _ask(host: Found, options: dict[str, Any], *words: str) -> Any:
    client = redis.Redis(
        host=host.host,
        port=host.port,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_ASKED_S,
        socket_connect_timeout=_ASKED_S,
        single_connection_client=True,
        **options,
    )
    client.response_callbacks.clear()
    try:
        return client.execute_command(*words)
    finally:
        client.close()
