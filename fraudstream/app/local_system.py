"""
Servers and workers of our own on this machine, as processes, for the demo, the benchmarks and the tests.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from fraudstream.local import LocalPostgres, LocalValkey
from fraudstream.local.worker import LocalWorker
from fraudstream.settings import Settings

#: The processes of the demo, by group.
DEMO_GROUPS = ("fraud-check", "ml-scoring", "recorder", "alerter")


class LocalSystem:
    """
    Servers and workers in one folder; leave the ``with`` and nothing is left running, unless ``keep`` was called.

    Args:
        inherited: What the processes need of our environment (paths, locale); settings in it apply to every worker.
        deadline_ms: Decision deadline of the workers.
        horizon_s: Deduplication horizon of the workers; 0 for events of any age.
        groups: One entry per process; several groups with commas share one.
        partitions: Parts that streams and states are laid out in.
        server_arguments: More of the command line of the Redis server.
    """

    def __init__(
        self,
        *,
        inherited: Mapping[str, str],
        deadline_ms: int,
        horizon_s: int,
        groups: Sequence[str] = DEMO_GROUPS,
        partitions: int = 1,
        server_arguments: Sequence[str] = (),
    ) -> None:
        self._partitions = partitions
        self._stack = ExitStack()
        self._inherited = dict(inherited)
        self._deadline_ms = deadline_ms
        self._horizon_s = horizon_s
        self._groups = list(groups)
        self.folder = Path(tempfile.mkdtemp(prefix="fraudstream-"))
        self.valkey = LocalValkey(arguments=server_arguments)
        self.postgres = LocalPostgres()
        self.workers: list[LocalWorker] = []

    def environment(self) -> dict[str, str]:
        """
        Return the environment of every process of the system.
        """
        return {
            "FRAUDSTREAM_ALERT_CHANNELS": "console",
            "FRAUDSTREAM_LOG_LEVEL": "warning",
            **self._inherited,
            "REDIS_URL": self.valkey.url,
            "POSTGRES_URL": self.postgres.url,
            "FRAUDSTREAM_DECISION_DEADLINE_MS": str(self._deadline_ms),
            "FRAUDSTREAM_DEDUP_HORIZON_S": str(self._horizon_s),
            "FRAUDSTREAM_PARTITIONS": str(self._partitions),
        }

    def set(self, **variables: str) -> None:
        """
        Add environment names for workers that start from now on.
        """
        self._inherited |= variables

    def inherit(self, settings: Mapping[str, str]) -> None:
        """
        Give workers that start from now on these settings too.
        """
        self._inherited |= settings

    def settings(self) -> Settings:
        """
        Return the settings that a producer shares with the workers.
        """
        return Settings(
            redis_url=self.valkey.url,
            postgres_url=self.postgres.url,
            decision_deadline_ms=self._deadline_ms,
            dedup_horizon_s=self._horizon_s,
            partitions=self._partitions,
        )

    def __enter__(self) -> Self:
        """
        Start the servers.
        """
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._stack.enter_context(self.valkey)
        self._stack.enter_context(self.postgres)
        return self

    def start_workers(self) -> None:
        """
        Start every worker process and wait until each answers.
        """
        first = len(self.workers)
        self.workers += [
            LocalWorker(groups, environment=self.environment(), folder=self.folder / f"{groups.replace(',', '-')}-{number}")
            for number, groups in enumerate(self._groups, first)
        ]
        for worker in self.workers[first:]:
            self._stack.callback(worker.close)
        with ThreadPoolExecutor(len(self._groups)) as pool:
            list(pool.map(LocalWorker.start, self.workers[first:]))

    def stop_workers(self) -> None:
        """
        Let every worker drain.
        """
        with ThreadPoolExecutor(max(1, len(self.workers))) as pool:
            list(pool.map(LocalWorker.stop, self.workers))

    def keep(self) -> list[int]:
        """
        Let everything outlive this process and return the process ids; somebody else must stop them.
        """
        pids = [server.leave_running() for server in (*self.workers, self.postgres, self.valkey)]
        self._stack.pop_all()
        return pids

    def __exit__(self, *_: object) -> None:
        """
        Stop everything that was started here.
        """
        self._stack.close()
