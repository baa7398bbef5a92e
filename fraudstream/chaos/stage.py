"""
The stage of a run: servers behind proxies, a herd of workers, a producer and a tap, and everything that can be done to them.
"""

import asyncio
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from fraudstream.adapters.postgres_books import recorded
from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.redis_books import Letter, Tap, ask, direct, flush, open_entries
from fraudstream.adapters.redis_intake import fields, info
from fraudstream.adapters.redis_keys import RAW
from fraudstream.adapters.redis_rules import RedisRuleSets
from fraudstream.app.demo import Progress
from fraudstream.chaos.absence import Absence, Crowd
from fraudstream.chaos.controls import CONTROLS
from fraudstream.chaos.herd import Animal, Herd, sleep_until
from fraudstream.chaos.plan import LATEST_S, Fault, Profile
from fraudstream.chaos.producer import Producer
from fraudstream.chaos.proxy import Proxy
from fraudstream.chaos.traffic import Item
from fraudstream.domain.errors import TransientError
from fraudstream.features.load import load_features
from fraudstream.local import LocalPostgres, LocalValkey
from fraudstream.local.process import HOST
from fraudstream.rules.load import load_lists, load_rules, read_rules
from fraudstream.scoring.load import read_model
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE, sha256_hex
from fraudstream.settings import Settings, locate

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
#: What the producer sends again after a failover reaches this far behind what is known to be lost, in seconds.
_MARGIN_S = 3.0
#: The same after a flush, beside everything that is not on record.
_FLUSH_WINDOW_S = 10.0
#: Between the last thing that a replica gets and its promotion, in seconds.
_LOST_SUFFIX_S = 0.7
#: How long the model is away, and which part of that is judged, in seconds.
_MODEL_AWAY_S, _SETTLING_S = 5.0, 1.0
#: How long the server may still hand out payments to the read of one that was killed: until it hears of that, or the read ends.
_DEAF_S = 0.5
#: How long those who step in are waited for after that, in seconds.
_STEPPED_IN_S = 20.0
_OOM_S = 3.0
#: How long what is there may take to be finished without memory: poison has its tries before it, more of them while nothing new
#: comes, and what two dead workers held is worked one by one. What needs memory would never be finished.
_DRAINED_S = 180.0
#: How long a half-open connection may hold up its user, in seconds.
_HALF_OPEN_S = 6.0


class Stage:
    """
    Everything of one run, and the faults as methods; leave the ``async with`` and nothing is left running.

    Args:
        profile: What the herd is.
        seed: Of every choice that is made here.
        control: A negative control for all workers, or nothing.
        binary: Program of another server than the embedded one.
        inherited: What processes need of our environment.
        progress: Told of the great faults.
    """

    def __init__(
        self,
        profile: Profile,
        seed: int,
        *,
        control: str,
        binary: str | None,
        inherited: Mapping[str, str],
        progress: Progress,
    ) -> None:
        self._profile = profile
        self._binary = binary
        self._inherited = dict(inherited)
        self._progress = progress
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
        self._rules = 0
        self._last_connection_s = 0.0

    async def __aenter__(self) -> Self:
        self.valkey = await asyncio.to_thread(LocalValkey(binary=self._binary).start)
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
        self._spawn(self.producer.run())
        self._spawn(self._read_tap())
        return self

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _connection_fault(self, kind: str) -> None:
        self._last_connection_s = time.monotonic()
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
                self._spawn(self._wake(animal, animal.ended))
            case "poisoned":
                self.kinds["killed_by_poison"] += 1

    async def _wake(self, animal: Animal, life: asyncio.Event) -> None:
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

    async def cause(self, fault: Fault, items: Sequence[Item]) -> None:
        """
        Do one fault; the great ones are over on return, and get the payments of their beat.
        """
        match fault.name:
            case "redis_kill":
                await self._kill_redis(items)
            case "flushall":
                await self._flush(items)
            case "promotion":
                await self._promote(items)
            case "oom":
                await self._fill(items)
            case "postgres_stop":
                await self._stop_postgres(items)
            case "model_stop":
                await self._stop_model(items)
            case "rules":
                self._spawn(self._change_rules())
            case _:
                self._spawn(self._light(fault))

    async def _light(self, fault: Fault) -> None:
        await asyncio.sleep(fault.after_s)
        if fault.name == "connection":
            self._trouble(fault.detail)
            return
        animals = self.herd.working(*(_STOPPED_IN.get(fault.detail, ())))
        while not animals:
            await asyncio.sleep(0.05)
            animals = self.herd.working(*(_STOPPED_IN.get(fault.detail, ())))
        animal = self.rng.choice(animals)
        match fault.name:
            case "sigkill":
                self.faults["sigkill"] += animal.kill(signal.SIGKILL)
            case "sigterm":
                self.faults["sigterm"] += await self.herd.stop(animal)
            case "sigstop" if fault.detail:
                self.herd.trap(animal, stop=[fault.detail])
            case "sigstop":
                animal.stopped = animal.kill(signal.SIGSTOP)
                self.faults["sigstop"] += animal.stopped
                await self._wake(animal, animal.ended)

    def _trouble(self, kind: str) -> None:
        if kind == "commit_lost":
            self.postgres_proxy.words_left += 1
        elif kind == "read_lost":
            self.redis_proxy.words_left += 1
        else:
            proxy = self.redis_proxy if self.rng.random() < 0.85 else self.postgres_proxy
            proxy.trouble(kind, self.rng)

    async def _kill_redis(self, items: Sequence[Item]) -> None:
        self.producer.offer(items)
        await asyncio.sleep(self.rng.uniform(0.0, 0.2))
        await asyncio.to_thread(self.valkey.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(self.valkey.start)
        self.faults["redis_kill"] += 1

    async def _stop_postgres(self, items: Sequence[Item]) -> None:
        self.producer.offer(items)
        await asyncio.sleep(self.rng.uniform(0.0, 0.2))
        await asyncio.to_thread(self.postgres.kill)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(self.postgres.start)
        self.faults["postgres_stop"] += 1

    async def _flush(self, items: Sequence[Item]) -> None:
        """
        Take all of Redis away while work is under way, and send again what is not on record, and the last seconds.
        """
        self.producer.offer(items[::2])
        await asyncio.sleep(self.rng.uniform(0.02, 0.1))
        async with self.producer.quiet:
            await self._until_up()
            letters = await flush(self.admin)
            self.tap.restart()
            books = await recorded(self.postgres.url)
            # A letter whose decision is not on record is lost with everything else: its entry is sent again.
            self.archive += [letter for letter in letters if _undecodable(letter) or key_of(letter) in books.ledger]
            ended = {*books.ledger, *books.labels, *map(key_of, self.archive)}
            recent = self.producer.since(time.monotonic() - _FLUSH_WINDOW_S)
            again = {key: item for key, item in self.producer.sent.items() if key not in ended}
            again |= {item.key: item for item in recent if not (_poison(item) and item.key in ended)}
            self.rewritten |= self.producer.sent.keys()
            self.producer.history.clear()
        self.producer.offer(again.values())
        self.producer.offer(items[1::2])
        self.faults["flushall"] += 1

    async def _promote(self, items: Sequence[Item]) -> None:
        """
        Let a replica that lost the last moments take over, and send those again.
        """
        await self._until_up()
        self.producer.offer(items[::2])
        replica = await asyncio.to_thread(LocalValkey(binary=self._binary).start)
        admin = direct(replica.url)
        await ask(self.admin, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
        await ask(admin, "REPLICAOF", HOST, self.valkey.port)
        await _linked(admin)
        since = time.monotonic() - _MARGIN_S
        await ask(admin, "REPLICAOF", "NO", "ONE")
        self.producer.offer(items[1::2])
        await asyncio.sleep(_LOST_SUFFIX_S)
        async with self.producer.quiet:
            with suppress(TransientError):
                self.promoted_entries_lost += await _added(self.admin) - await _added(admin)
            old, self.valkey = self.valkey, replica
            await asyncio.to_thread(old.kill)
            before, self.admin = self.admin, admin
            await self.tap.forget_lost(admin)
            self.redis_proxy.move(replica.port)
            again = self.producer.since(since)
            self.rewritten |= {item.key for item in again}
        self.producer.offer(again)
        await before.aclose()
        await asyncio.to_thread(old.close)
        self.faults["promotion"] += 1

    async def _fill(self, items: Sequence[Item]) -> None:
        """
        Let Redis run out of memory: producers are refused, and what is there must be finished all the same.
        """
        await self._until_up()
        self.producer.offer(items[::2])
        await asyncio.sleep(0.05)
        used = int(info(await ask(self.admin, "INFO", "memory"))["used_memory"])
        await ask(self.admin, "CONFIG", "SET", "maxmemory", used // 2)
        self.producer.offer(items[1::2])
        await asyncio.sleep(_OOM_S)
        # What a worker held that was killed meanwhile must first be taken over.
        bound = time.monotonic() + _DRAINED_S
        while left := any((await self.open_entries()).values()):
            if time.monotonic() > bound:
                break
            await asyncio.sleep(0.2)
        self.drained_under_oom &= not left
        await ask(self.admin, "CONFIG", "SET", "maxmemory", 0)
        self.faults["oom"] += 1

    async def _stop_model(self, items: Sequence[Item]) -> None:
        """
        Have nobody score for a while: the other group must step in within the deadline.
        """
        await self._let_faults_pass()
        animals = [one for one in self.herd.animals if "ml-scoring" in one.serves]
        for animal in animals:
            animal.wanted = False
            self.faults["sigkill"] += animal.kill(signal.SIGKILL)
        await asyncio.sleep(_DEAF_S)
        portions, crowd = 10, Crowd()
        for n in range(portions):
            self.producer.offer(items[n::portions])
            await asyncio.sleep((_MODEL_AWAY_S - _SETTLING_S) / portions)
            crowd.look()
        await asyncio.sleep(_SETTLING_S)
        # All of them are decided by now; where the machine is too busy for that, the model stays away until they are.
        await self.calm(_STEPPED_IN_S)
        absence = Absence(time.time(), crowd.allowed_s(self.deadline_ms / 1000))
        self.without_model |= {item.key: absence for item in items if item.kind == "payment"}
        for animal in animals:
            self.herd.revive(animal)
        self.kinds["model_stop"] += 1

    async def _let_faults_pass(self) -> None:
        """
        Wait until no other fault can be blamed on the model's absence: those of the same beat, what a stopped worker holds, a
        place where one would die or stop later, a reply that is still to be lost, and what went into a half-open connection,
        until the client gives that up.
        """
        await asyncio.sleep(2 * LATEST_S)
        self._disarm()
        await sleep_until(self._last_connection_s + _HALF_OPEN_S)
        await asyncio.sleep(STOPPED_S)
        self._disarm()  # those that were stopped heard of nothing before
        await self.calm(60.0)

    def _disarm(self) -> None:
        self.herd.disarm()
        self.redis_proxy.spare()
        self.postgres_proxy.spare()

    async def _change_rules(self) -> None:
        """
        Put another rule set in force, as ``fraudstream rules activate`` does.
        """
        self._rules += 1
        settings = Settings()
        text = read_rules(locate(settings.rules_path))
        text += f'\nrule chaos_{self._rules}\n  review if :amount: > {9_000_000 + self._rules}\n  reason "chaos"\n'
        names = load_features(locate(settings.features_path).read_text()).names
        rules = load_rules(text, features=names, lists=load_lists(locate(settings.lists_path)))
        sets = RedisRuleSets(self.admin)
        with suppress(TransientError):
            await sets.push(rules.id, rules.source, author="chaos", reason="chaos", name="chaos")
            await sets.activate(await sets.pointer(), rules.id, kind="activate", actor="chaos", reason="chaos")
            self.kinds["rule_change"] += 1

    def other_model(self) -> None:
        """
        Have workers that start from now on load another model: the same trees under another hash.
        """
        model, manifest = read_model(locate(Settings().model_path))
        model += b"\x32\x05chaos"  # one more doc_string: the last one counts
        target = self.folder / "model"
        target.mkdir()
        (target / MODEL_FILE).write_bytes(model)
        described = {**msgspec.json.decode(manifest), "sha256": sha256_hex(model), "version": "chaos"}
        (target / MANIFEST_FILE).write_bytes(msgspec.json.encode(described))
        self.model_folder = target

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

    async def _until_up(self) -> None:
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


#: Who passes the places at which a worker is stopped.
_DECIDING = ("fraud-check", "ml-scoring")
_STOPPED_IN = {
    **dict.fromkeys(("touched", "judged", "computed"), _DECIDING),
    **dict.fromkeys(("recording", "recorded"), ("recorder",)),
    "sending": ("alerter",),
}


def key_of(letter: Letter) -> str:
    """
    Return the key of the item that a dead letter is about; empty when it is about none of ours.
    """
    body = letter.fields.get(b"data", b"")
    at = body.find(b"poison-undecodable-")
    if at >= 0:
        return body[at : body.find(b"-", at + len(b"poison-undecodable-"))].decode()
    try:
        return str(msgspec.json.decode(body)["transaction_id"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return ""


def _undecodable(letter: Letter) -> bool:
    return key_of(letter).startswith("poison-undecodable-")


def _poison(item: Item) -> bool:
    return item.kind in ("poison", "undecodable")


async def _linked(replica: Any) -> None:
    while True:
        if info(await ask(replica, "INFO", "replication")).get("master_link_status") == "up":
            return
        await asyncio.sleep(0.02)


async def _added(client: Any) -> int:
    return int(fields(await ask(client, "XINFO", "STREAM", RAW))["entries-added"])
