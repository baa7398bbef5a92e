"""
Fault drills on a real fleet: a fault is made, and what the alerts, ``fraudstream status`` and ``doctor`` say of it is kept.

As a command it prints the table of ``docs/operations.md``: ``python -m tests.support.drills``.
"""

import asyncio
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, Self

import asyncpg
from redis import Redis
from typer.testing import CliRunner

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.cli.main import app
from fraudstream.local.worker import LocalWorker
from tests.support.fake_slack import FakeSlack
from tests.support.prometheus import Prometheus
from tests.support.system import a_system, append, payments
from tests.support.wait import wait_until_sync

#: By how much everything is faster than it is shipped.
FASTER = 30
#: Payments per second; enough for every rate to be one.
_RATE = 60
#: How long after the alerts both commands may take to name the cause, in seconds: workers complain every two.
_NAMED_S = 60.0
#: Longest time until alerts end or fire, in seconds; a busy machine scrapes and evaluates late.
_ALERTS_S = 120.0
#: Pause between two questions to Prometheus, in seconds; it scrapes twice a second.
_LOOK_S = 0.1
_MEMORY_BYTES = 160 * 2**20


class Seen(NamedTuple):
    """
    What came of one fault: seconds until each alert, and the findings of both commands that are not fine.
    """

    fault: str
    alerts: dict[str, float]
    status: list[dict[str, str]]
    doctor: list[dict[str, str]]
    exits: tuple[int, int]

    def says(self, command: str) -> str:
        """
        Return the findings of ``status`` or ``doctor`` as text.
        """
        return "\n".join(f"{one['level']} {one['about']}: {one['says']} -> {one['command']}" for one in getattr(self, command))


class _Worker(LocalWorker):
    """
    ``fraudstream worker start``, or another command of ours, that can be told to fail.
    """

    words: Sequence[str] = ()

    def _command(self) -> list[str]:
        words = self.words or ("worker", "start", "--group", self.groups)
        script = Path(__file__).with_name("drill_worker.py")
        return [sys.executable, str(script), *words, "--metrics-port", str(self.port)]

    def signal(self, number: int) -> None:
        """
        Tell it to fail, or to stop failing.
        """
        assert self._process is not None
        os.kill(self._process.pid, number)


class Fleet:
    """
    Servers, one worker of each group, the monitor, Slack, Prometheus, and payments that keep coming.
    """

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._folder = folder
        self.slack = _Slack()
        self._before: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        stack = self._stack
        try:
            self._start(stack)
        except BaseException:
            stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        stack.enter_context(self.slack)
        self.system = stack.enter_context(
            a_system(
                [],
                metrics_dir=str(self._folder / "targets"),
                alert_channels="slack",
                slack_bot_token="xoxb-drill",
                slack_channel="C0DRILL",
                slack_base_url=self.slack.url,
                log_level="error",
            )
        )
        self.system.set(PYTHONPATH=str(Path(__file__).parents[2]))
        self.client = stack.enter_context(Redis.from_url(self.system.valkey.url))
        self.client.config_set("maxmemory", _MEMORY_BYTES)
        asyncio.run(migrate(self.system.postgres.url))
        self.prometheus = Prometheus(self._folder, divided_by=FASTER)
        stack.callback(self.prometheus.stop)
        self.workers = {name: self._worker(name) for name in ("fraud-check", "ml-scoring", "recorder", "alerter", "monitor")}
        for worker in self.workers.values():
            stack.callback(worker.close)
        _together([worker.start for worker in self.workers.values()])
        stack.enter_context(self._payments())

    def _worker(self, name: str) -> _Worker:
        worker = _Worker(name, environment=self.system.environment(), folder=self.system.folder / name)
        if name == "monitor":
            worker.words = ("monitor", "start", "--interval", "250ms")
        return worker

    @contextmanager
    def _payments(self) -> Iterator[None]:
        stop = threading.Event()
        bodies = itertools.cycle(payments(4000))
        fresh = itertools.count()

        def go() -> None:
            with Redis.from_url(self.system.valkey.url) as client:
                while not stop.wait(0.25):
                    batch = [json.loads(next(bodies)) for _ in range(_RATE // 4)]
                    append(
                        client,
                        [
                            json.dumps({**one, "transaction_id": f"d{next(fresh)}", "timestamp": int(time.time())}).encode()
                            for one in batch
                        ],
                    )

        thread = threading.Thread(target=go, name="payments")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def ready(self, *alerts: str, timeout_s: float = _ALERTS_S) -> None:
        """
        Wait until none of these fires, and note what there is to say before the fault.
        """
        wait_until_sync(
            lambda: not set(alerts) & self.prometheus.firing(), f"{alerts} to end", timeout_s=timeout_s, every_s=_LOOK_S
        )
        self._before = {(one["level"], one["about"]) for one in self.ask("status")[1]}

    def drill(self, names: Sequence[str], fault: str, *expected: str, timeout_s: float = _ALERTS_S) -> Seen:
        """
        Watch what comes of a fault that was just made, until every expected alert fires; then ask both commands, until they
        name every cause that is known by ``names``, or have had time enough.
        """
        started = time.monotonic()
        fired: dict[str, float] = {}

        def look() -> bool:
            for name in self.prometheus.firing():
                fired.setdefault(name, round(time.monotonic() - started, 1))
            return set(expected) <= set(fired)

        wait_until_sync(look, f"{fault}: {expected} to fire", timeout_s=timeout_s, every_s=_LOOK_S)
        seen, until = Seen(fault, {name: fired[name] for name in expected}, [], [], (0, 0)), time.monotonic() + _NAMED_S

        def named() -> bool:
            nonlocal seen
            seen = self._asked(seen, names)
            causes = [("fail " if name in ACT else "") + CAUSES[name] for name in names]
            return all(cause in seen.says(command) for cause in causes for command in ("status", "doctor"))

        wait_until_sync(lambda: named() or time.monotonic() > until, "the cause to be named", timeout_s=2 * _NAMED_S)
        return seen

    def _asked(self, seen: Seen, names: Sequence[str]) -> Seen:
        """
        Ask both commands, and keep what they did not say before the fault; on a busy machine they may have said the cause too.
        """

        def new(one: dict[str, str]) -> bool:
            said = f"{one['about']}: {one['says']}"
            return (one["level"], one["about"]) not in self._before or any(said.startswith(CAUSES[name]) for name in names)

        exits, findings = zip(*(self.ask(*words) for words in (("status",), ("doctor", "--between", "200ms"))), strict=True)
        status, doctor = ([one for one in found if new(one)] for found in findings)
        return seen._replace(status=status, doctor=doctor, exits=exits)

    def ask(self, *words: str) -> tuple[int, list[dict[str, str]]]:
        """
        Return the exit code of a command and what it found that is not fine.
        """
        given = {
            name: value
            for name, value in self.system.environment().items()
            if name.startswith(("FRAUDSTREAM_", "REDIS_", "POSTGRES_"))
        }
        result = CliRunner().invoke(app, [*words, "--json"], env=given)
        found = json.loads(result.stdout)["data"]["findings"]
        return result.exit_code, [one for one in found if one["level"] != "ok"]


class _Slack:
    """
    Slack in a thread of its own: ``blocked`` makes every request fail.
    """

    def __init__(self) -> None:
        self.blocked = False
        self.fake = FakeSlack(lambda: "503" if self.blocked else "ok")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="slack")

    @property
    def url(self) -> str:
        return self.fake.base_url

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.fake.start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.fake.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _together(calls: Sequence[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def kill_a_group(fleet: Fleet) -> Seen:
    """
    Kill every worker of ml-scoring, and start one again.
    """
    fleet.ready("FraudstreamGroupGone")
    fleet.workers["ml-scoring"].kill()
    seen = fleet.drill(["group"], "every worker of `ml-scoring` is killed", "FraudstreamGroupGone")
    fleet.workers["ml-scoring"].start()
    return seen


def stop_the_database(fleet: Fleet) -> Seen:
    """
    Stop PostgreSQL.
    """
    fleet.ready("FraudstreamSinkStale", "FraudstreamPendingTooOld")
    fleet.system.postgres.stop()
    return fleet.drill(["database"], "PostgreSQL is stopped", "FraudstreamSinkStale", "FraudstreamPendingTooOld")


def fill_redis(fleet: Fleet) -> Seen:
    """
    Fill nine tenths of the memory of Redis, and empty them.
    """
    fleet.ready("FraudstreamRedisFull")
    pieces = int((0.9 * _MEMORY_BYTES - fleet.client.info("memory")["used_memory"]) / 2**20)
    for number in range(pieces):
        fleet.client.set(f"ballast:{number}", b"x" * 2**20)
    seen = fleet.drill(["redis"], "Redis is filled to nine tenths", "FraudstreamRedisFull")
    fleet.client.delete(*(f"ballast:{number}" for number in range(pieces)))
    return seen


def break_the_model(fleet: Fleet) -> Seen:
    """
    Let the model raise, and mend it.
    """
    fleet.ready("FraudstreamModelFallback")
    fleet.workers["ml-scoring"].signal(signal.SIGUSR1)
    seen = fleet.drill(["model"], "the model raises on every batch", "FraudstreamModelFallback")
    fleet.workers["ml-scoring"].signal(signal.SIGUSR1)
    return seen


def block_a_loop(fleet: Fleet) -> Seen:
    """
    Hold up the loop of the ml-scoring worker while its process lives, and let it go.
    """
    fleet.ready("FraudstreamWorkerStuck")
    fleet.workers["ml-scoring"].signal(signal.SIGUSR2)
    seen = fleet.drill(["stuck"], "the loop of a worker hangs, its process lives", "FraudstreamWorkerStuck")
    fleet.workers["ml-scoring"].signal(signal.SIGUSR2)
    return seen


def poison_slack_and_a_slow_sink(fleet: Fleet) -> dict[str, Seen]:
    """
    Let Slack refuse everything, one entry in ten be no JSON, and every write wait for a lock: three faults that do not touch.
    """
    alerts = {
        "slack": ("Slack refuses everything", "FraudstreamNotificationTriesFailing"),
        "poison": ("one entry in ten is poison", "FraudstreamDeadLettersHigh"),
        "slow": ("every write waits for a lock", "FraudstreamSinkSlow"),
    }
    fleet.ready(*(alert for _, alert in alerts.values()))
    with _beside(partial(_poison, fleet)), _beside(partial(_hold_locks, fleet)):
        fleet.slack.blocked = True
        seen = fleet.drill(list(alerts), "all three", *(alert for _, alert in alerts.values()))
        fleet.slack.blocked = False
    return {name: seen._replace(fault=fault, alerts={alert: seen.alerts[alert]}) for name, (fault, alert) in alerts.items()}


def _poison(fleet: Fleet, stop: threading.Event) -> None:
    with Redis.from_url(fleet.system.valkey.url) as client:
        while not stop.wait(0.25):
            append(client, [b"no json"] * 2)


def _hold_locks(fleet: Fleet, stop: threading.Event) -> None:
    async def hold() -> None:
        connection = await asyncpg.connect(fleet.system.postgres.url)
        try:
            while not stop.is_set():
                async with connection.transaction():
                    await connection.execute("LOCK TABLE transaction_ledger IN ACCESS EXCLUSIVE MODE")
                    await asyncio.to_thread(stop.wait, 1.6)
                await asyncio.sleep(0.05)
        finally:
            await connection.close()

    asyncio.run(hold())


@contextmanager
def _beside(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """
    Do something in a thread until the block ends.
    """
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def run_all(folder: Path) -> dict[str, Seen]:
    """
    Make every fault, one after the other, on one fleet.
    """
    with Fleet(folder) as fleet:
        wait_until_sync(
            lambda: (fleet.prometheus.value("sum(rate(fraudstream_decisions_total[10s]))") or 0) > _RATE / 3,
            "decisions to be seen",
            timeout_s=120,
            every_s=_LOOK_S,
        )
        found = {"model": break_the_model(fleet), "redis": fill_redis(fleet), "stuck": block_a_loop(fleet)}
        found |= poison_slack_and_a_slow_sink(fleet)
        found["group"] = kill_a_group(fleet)
        found["database"] = stop_the_database(fleet)
        return found


#: What each fault is called by the commands: the beginning of the finding that names its cause.
CAUSES = {
    "model": "model: the model failed on",
    "redis": "memory: ",
    "stuck": "group ml-scoring: no worker serves ml-scoring",
    "slack": "alerts: ",
    "poison": "dead letters: ",
    "slow": "group recorder: ",
    "group": "group ml-scoring: no worker serves ml-scoring",
    "database": "database: PostgreSQL is not reachable",
}
#: The faults that somebody must act on: both commands call the system unhealthy.
ACT = ("group", "database", "redis", "model", "slack", "stuck")


def table(found: dict[str, Seen]) -> str:
    """
    Return the rows of the table in the documentation.
    """
    lines = ["| fault | alert, after (x 30 as shipped) | `status` and `doctor` name it |", "| --- | --- | --- |"]
    for name, seen in found.items():
        alerts = "<br>".join(f"`{alert}` {after:.1f} s" for alert, after in seen.alerts.items())
        words = [one for one in seen.says("doctor").splitlines() if CAUSES[name] in one]
        lines.append(f"| {seen.fault} | {alerts} | {words[0].partition(' -> ')[0] if words else 'NOT NAMED'} |")
    return "\n".join(lines)


def main() -> None:
    """
    Print the table.
    """
    folder = Path(tempfile.mkdtemp(prefix="fraudstream-drills-"))
    try:
        sys.stdout.write(table(run_all(folder)) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
