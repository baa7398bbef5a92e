"""
A real sentinel that watches a primary and its replica.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from fraudstream.adapters.redis_finders import Found
from fraudstream.local import LocalValkey
from fraudstream.local.process import HOST
from tests.support.wait import wait_until_sync

SERVICE = "main"


class LocalSentinel(LocalValkey):
    """
    One sentinel: alone it decides that the primary is down, which no deployment should let one do.
    """

    def __init__(self, primary_port: int) -> None:
        super().__init__()
        self._primary_port = primary_port

    def _prepare(self) -> None:
        lines = (
            f"sentinel monitor {SERVICE} {HOST} {self._primary_port} 1",
            f"sentinel down-after-milliseconds {SERVICE} 300",
            f"sentinel failover-timeout {SERVICE} 2000",
        )
        (self.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        program = next(word for word in super()._command() if word.endswith("valkey-server"))
        options = ["--sentinel", "--port", str(self.port), "--bind", HOST, "--dir", str(self.folder)]
        return [program, str(self.folder / "sentinel.conf"), *options]

    def _answers(self) -> bool:
        # A sentinel knows no QUIT, which the question to other servers ends with.
        try:
            with Redis.from_url(self.url, socket_timeout=1.0) as client:
                return bool(client.ping())
        except RedisConnectionError:
            return False


class Watched(NamedTuple):
    """
    A primary, its replica and clients of both; ``url`` is what a deployment names.
    """

    primary: LocalValkey
    replica: LocalValkey
    clients: tuple[Any, Any]
    sentinels: list[Found]
    url: str

    def fail_over(self) -> None:
        """
        Kill the primary once the replica has everything, and return when the replica has taken over.
        """
        first, second = self.clients
        written = first.info("replication")["master_repl_offset"]
        wait_until_sync(lambda: second.info("replication")["slave_repl_offset"] >= written, "the replica to have everything")
        self.primary.kill()
        wait_until_sync(lambda: _is_primary(second), "the replica to take over", timeout_s=30)


def _is_primary(client: Any) -> bool:
    """
    Say whether a server is the primary; a sentinel that promotes it cuts off whoever is connected.
    """
    try:
        return bool(client.info("replication")["role"] == "master")
    except RedisConnectionError:
        return False


@contextmanager
def watched() -> Iterator[Watched]:
    """
    Lend the three servers, the sentinel knowing of both others.
    """
    with LocalValkey(arguments=["--repl-diskless-sync-delay", "0"]) as primary:
        options = ["--replicaof", f"{HOST} {primary.port}"]
        with LocalValkey(arguments=options) as replica, LocalSentinel(primary.port) as sentinel:
            clients = [Redis.from_url(one.url) for one in (primary, replica, sentinel)]
            wait_until_sync(
                lambda: clients[1].info("replication").get("master_link_status") == "up", "the replica to follow", timeout_s=30
            )
            wait_until_sync(
                lambda: len(clients[2].execute_command("SENTINEL", "REPLICAS", SERVICE)) == 1, "the sentinel to know both"
            )
            url = f"redis+sentinel://{HOST}:{sentinel.port}/{SERVICE}"
            yield Watched(primary, replica, (clients[0], clients[1]), [Found(HOST, sentinel.port)], url)
            for client in clients:
                client.close()
