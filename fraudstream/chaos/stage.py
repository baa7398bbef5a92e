"""
The stage of a run: servers behind proxies, a herd of workers, a producer and a tap; what is done to them stands in ``faults``.
"""

import asyncio
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from fraudstream.adapters.postgres_books import recorded
from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.redis_books import Letter, Tap, ask, direct, open_entries
from fraudstream.adapters.redis_intake import info
from fraudstream.chaos.absence import Absence
from fraudstream.chaos.controls import CONTROLS
from fraudstream.chaos.herd import Animal, Herd
from fraudstream.chaos.plan import Profile
from fraudstream.chaos.producer import Producer
from fraudstream.chaos.proxy import Proxy
from fraudstream.domain.errors import TransientError
from fraudstream.local import LocalPostgres, LocalValkey
from fraudstream.local.process import HOST
from fraudstream.settings import Settings

#: Times that make a death noticed within a second or two.
QUICK = {
    "FRAUDSTREAM_HEARTBEAT_LIFE_S": "1",
    "FRAUDSTREAM_CLAIM_IDLE_S": "1",
    "FRAUDSTREAM_DRAIN_TIMEOUT_S": "10",
    "FRAUDSTREAM_BLOCK_MS": "200",
    "FRAUDSTREAM_DEDUP_HORIZON_S": "0",
    "FRAUDSTREAM_ALERT_CHANNELS": "console",
    "FRAUDSTREAM_LOG_LEVEL": "warning",
    # Both groups must also meet at one payment: a model that waits for the rules as long as by default hardly ever does.
    "FRAUDSTREAM_FOLLOW_MS": "10",
}
#: How long a worker is stopped: longer than heartbeat life, claim time and the pause between two claims together, in seconds.
STOPPED_S = 3.3
#: Decision deadline while it is on, in milliseconds.
DEADLINE_MS = 250


class Stage:
    """
    Everything of one run; leave the ``async with`` and nothing is left running.

    Args:
        profile: What the herd is.
        seed: Of every choice that is made here.
        control: A negative control for all workers, or nothing.
        binary: Program of another server than the embedded one.
        inherited: What processes need of our environment.
    """

    def __init__(
        self,
        profile: Profile,
        seed: int,
        *,
        control: str,
        binary: str | None,
        inherited: Mapping[str, str],
    ) -> None:
        self._profile = profile
        self.binary = binary
        self._inherited = dict(inherited)
        self._control = control
        self.rng = random.Random(f"stage {seed}")  # noqa: S311 a replay needs the same
        self.faults: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.folder = Path(tempfile.mkdtemp(prefix="fraudstream-chaos-"))
        self.model_folder: Path | None = None
        self.keep_folder = True
        self.deadline_ms = 0
        self.tap = Tap()
        self.archive: list[Letter] = []
        self.rewritten: set[str] = set()
        self.without_model: dict[str, Absence] = {}
        self.promoted_entries_lost = 0
        self.drained_under_oom = True
        self._tasks: set[asyncio.Task[Any]] = set()
        self.rule_sets = 0
        self.last_connection_s = 0.0

    async def __aenter__(self) -> Self:
        self.valkey = await asyncio.to_thread(LocalValkey(binary=self.binary).start)
        self.postgres = await asyncio.to_thread(LocalPostgres().start)
        await migrate(self.postgres.url)
        self.admin = direct(self.valkey.url)
        about = info(await ask(self.admin, "INFO", "server"))
        self.server = f"{about.get('server_name', 'redis')} {about.get('valkey_version', about['redis_version'])}"
        self.redis_proxy = Proxy(self.valkey.port, self._connection_fault, word=b"XREADGROUP")
        self.postgres_proxy = Proxy(self.postgres.port, self._connection_fault, word=b"COMMIT;")
        await self.redis_proxy.open()
        await self.postgres_proxy.open()
        self.herd = Herd(self.folder, self._environment, self._profile.groups, self._control, self._heard)
        await self.herd.open()
        self.producer = Producer(f"redis://{HOST}:{self.redis_proxy.port}/0", self.rng)
        self.spawn(self.producer.run())
        self.spawn(self._read_tap())
        return self

    def spawn(self, work: Any) -> None:
        """
        Do something beside everything else; it ends with the run at the latest.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connection_fault(self, kind: str) -> None:
        self.last_connection_s = time.monotonic()
        self.faults["connection"] += 1
        self.kinds[kind] += 1

    def _environment(self, _group: str) -> dict[str, str]:
        own = {
            "REDIS_URL": f"redis://{HOST}:{self.redis_proxy.port}/0",
            "POSTGRES_URL": self.postgres.url.replace(f":{self.postgres.port}/", f":{self.postgres_proxy.port}/"),
            "CONSUMER_GROUP": _group,
            "FRAUDSTREAM_DECISION_DEADLINE_MS": str(self.deadline_ms),
        }
        if self.model_folder is not None:
            own["ML_MODEL_PATH"] = str(self.model_folder)
        return {**self._inherited, **QUICK, **(CONTROLS[self._control].settings if self._control else {}), **own}

    def _heard(self, animal: Animal, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "crashed":
                self.faults["crash_point"] += 1
            case "stopping":
                self.faults["sigstop"] += 1
                animal.stopped = True
                self.spawn(self.wake(animal, animal.ended))
            case "poisoned":
                self.kinds["killed_by_poison"] += 1

    async def wake(self, animal: Animal, life: asyncio.Event) -> None:
        """
        Let a stopped worker go on after a while, if this life of it has not ended by then.
        """
        await asyncio.sleep(STOPPED_S)
        if not life.is_set():
            animal.stopped = False
            animal.kill(signal.SIGCONT)

    async def _read_tap(self) -> None:
        while True:
            try:
                read = await self.tap.read(self.admin)
            except TransientError:
                read = 0
            if not read:
                await asyncio.sleep(0.2)

    async def roll(self) -> None:
        """
        Replace every worker, one of each group at a time, each allowed to drain.
        """
        for turn in self.herd.turns():
            await self.herd.all_ready()
            self.faults["sigterm"] += sum(await asyncio.gather(*map(self.herd.stop, turn)))
        await self.herd.all_ready()

    async def open_entries(self) -> dict[str, int]:
        """
        Return what is still open, by group of this run.
        """
        return await open_entries(self.admin, Settings(consumer_group=",".join(self._profile.groups)).groups)

    async def calm(self, timeout_s: float) -> bool:
        """
        Wait until everything that was offered is sent and finished; False when it did not come to that.
        """
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            with suppress(TransientError):
                if (
                    not self.producer.waiting
                    and not self.producer.quiet.locked()
                    and not any((await self.open_entries()).values())
                ):
                    return True
            await asyncio.sleep(0.1)
        return False

    async def all_told(self, timeout_s: float) -> None:
        """
        Wait until each flagged decision was told of; what is missing then is the auditor's to say.
        """
        rows = (await recorded(self.postgres.url)).rows
        flagged = {row.transaction_id for row in rows if row.outcome != "approve"} - self.rewritten
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if not flagged - self.herd.alerts().keys():
                return
            await asyncio.sleep(0.2)

    async def until_up(self) -> None:
        """
        Wait until Redis answers.
        """
        while True:
            try:
                await ask(self.admin, "PING")
            except TransientError:
                await asyncio.sleep(0.05)
            else:
                return

    async def __aexit__(self, *_: object) -> None:
        # More than once: a cancellation that meets the end of a reply can get lost in the client.
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=0.5)
        await self.herd.close()
        await self.producer.close()
        await self.redis_proxy.close()
        await self.postgres_proxy.close()
        await self.admin.aclose()
        await asyncio.to_thread(self.valkey.close)
        await asyncio.to_thread(self.postgres.close)
        if not self.keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
