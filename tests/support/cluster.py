"""
A real cluster of local processes, and one look at all of it.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from fraudstream.adapters.redis_keys import GROUPS, Partitions
from fraudstream.local import LocalValkey
from fraudstream.local.process import HOST, free_port
from tests.support.wait import wait_until_sync


class Cluster:
    """
    Three servers that share the slots, and as many replicas of the first as wanted.

    Args:
        replicas: Of the first server.
        binary: Another server program; Valkey when not given.
    """

    def __init__(self, *, replicas: int = 0, binary: Path | str | None = None) -> None:
        self._stack = ExitStack()
        self._replicas = replicas
        self._buses = [free_port() for _ in range(3 + replicas)]
        self.nodes = [
            LocalValkey(
                binary=binary,
                arguments=["--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1500",
                           "--repl-diskless-sync-delay", "0"],
            )
            for bus in self._buses
        ]  # fmt: skip

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._stack.callback(node.close)
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(LocalValkey.start, self.nodes))
            #: Untyped: what it answers depends on how it was made, which its types do not tell.
            self.clients: list[Any] = [self._stack.enter_context(Redis.from_url(node.url)) for node in self.nodes]
            self._form()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _form(self) -> None:
        cuts = [REDIS_CLUSTER_HASH_SLOTS * number // 3 for number in range(4)]
        for number in range(3):
            self.clients[number].execute_command("CLUSTER", "ADDSLOTSRANGE", cuts[number], cuts[number + 1] - 1)
            self.clients[number].execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus in list(zip(self.nodes, self._buses, strict=True))[1:]:
            self.clients[0].execute_command("CLUSTER", "MEET", HOST, node.port, bus)
        wait_until_sync(lambda: all(map(self._formed, self.clients)), "the cluster to form", timeout_s=30)
        first = self.clients[0].execute_command("CLUSTER", "MYID")
        for client in self.clients[3:]:
            client.execute_command("CLUSTER", "REPLICATE", first)
        wait_until_sync(
            lambda: all(client.info("replication").get("master_link_status") == "up" for client in self.clients[3:]),
            "the replicas to follow", timeout_s=30,
        )  # fmt: skip

    def _formed(self, client: Any) -> bool:
        about = client.execute_command("CLUSTER INFO")
        return bool(about["cluster_state"] == "ok" and int(about["cluster_known_nodes"]) == len(self.nodes))

    @property
    def url(self) -> str:
        """
        The address that workers get: two of the servers.
        """
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes[:2])

    def at(self, name: str) -> Any:
        """
        Return a client of the server that a key lies on as long as nothing has moved.
        """
        return self.clients[key_slot(name.encode()) * 3 // REDIS_CLUSTER_HASH_SLOTS]


class PartitionedView:
    """
    States of a partitioned deployment under the names that they would have in one partition.
    """

    def __init__(self, cluster: Cluster, partitions: Partitions) -> None:
        self._cluster = cluster
        self._partitions = partitions

    def get(self, name: str) -> bytes | None:
        """
        Return a log or a ring, from the partition of its entity.
        """
        kind, layout, entity_kind, entity = name.split(":", 3)
        keys = self._partitions.keys(self._partitions.of(entity))
        placed = f"{keys.prefix(kind)}{layout}:{entity_kind}:{entity}"
        value: bytes | None = self._cluster.at(placed).get(placed)
        return value

    def scan_iter(self, pattern: str, count: int = 1000) -> Iterator[bytes]:
        """
        Yield the names of all states of a kind, wherever they lie.
        """
        for client in self._cluster.clients[:3]:
            for key in client.scan_iter(pattern, count=count):
                kind, _, rest = key.decode().split(":", 2)
                yield f"{kind}:{rest}".encode()

    def open_entries(self, groups: Iterable[str]) -> dict[str, int]:
        """
        Return, by stream and group, entries that are not read or not acknowledged.
        """
        wanted, found = set(groups), {}
        for keys in self._partitions.all():
            for stream, names in GROUPS.items():
                name = keys.stream(stream)
                client = self._cluster.at(name)
                infos = {one["name"].decode(): one for one in client.xinfo_groups(name)} if client.exists(name) else {}
                head = client.xinfo_stream(name) if infos else {}
                for group in wanted & set(names):
                    info = infos.get(group)
                    read = info is not None and info["last-delivered-id"] == head["last-generated-id"]
                    found[f"{name} {group}"] = 1 if info is None else info["pending"] + (0 if read else 1)
        return {name: count for name, count in found.items() if count}
