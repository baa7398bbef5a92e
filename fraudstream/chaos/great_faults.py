"""
The great faults: a server that dies, forgets, is taken over or runs full, a database or a model that is away.

Each is over on return, and gets the payments of its beat; what must be sent again for it is sent again.
"""

import asyncio
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from fraudstream.adapters.postgres_books import recorded
from fraudstream.adapters.redis_books import ask, direct, flush
from fraudstream.adapters.redis_intake import fields, info
from fraudstream.adapters.redis_keys import RAW
from fraudstream.chaos.absence import Absence, Crowd
from fraudstream.chaos.herd import sleep_until
from fraudstream.chaos.letters import is_undecodable, key_of
from fraudstream.chaos.plan import LATEST_S
from fraudstream.chaos.stage import STOPPED_S, Stage
from fraudstream.chaos.traffic import Item
from fraudstream.domain.errors import TransientError
from fraudstream.local import LocalValkey
from fraudstream.local.process import HOST, LocalServer

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


async def restart(stage: Stage, fault: str, server: LocalServer, items: Sequence[Item], *, away_s: float) -> None:
    """
    Kill a server under the payments, and start it again after a while from what it has on disk.
    """
    stage.producer.offer(items)
    await asyncio.sleep(stage.rng.uniform(0.0, 0.2))
    await asyncio.to_thread(server.kill)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(server.start)
    stage.faults[fault] += 1


async def wipe(stage: Stage, items: Sequence[Item]) -> None:
    """
    Take all of Redis away while work is under way, and send again what is not on record, and the last seconds.
    """
    stage.producer.offer(items[::2])
    await asyncio.sleep(stage.rng.uniform(0.02, 0.1))
    async with stage.producer.quiet:
        await stage.until_up()
        letters = await flush(stage.admin)
        stage.tap.restart()
        books = await recorded(stage.postgres.url)
        # A letter whose decision is not on record is lost with everything else: its entry is sent again.
        stage.archive += [letter for letter in letters if is_undecodable(letter) or key_of(letter) in books.ledger]
        ended = {*books.ledger, *books.labels, *map(key_of, stage.archive)}
        recent = stage.producer.since(time.monotonic() - _FLUSH_WINDOW_S)
        again = {key: item for key, item in stage.producer.sent.items() if key not in ended}
        again |= {item.key: item for item in recent if not (_poison(item) and item.key in ended)}
        stage.rewritten |= stage.producer.sent.keys()
        stage.producer.history.clear()
    stage.producer.offer(again.values())
    stage.producer.offer(items[1::2])
    stage.faults["flushall"] += 1


async def promote(stage: Stage, items: Sequence[Item]) -> None:
    """
    Let a replica that lost the last moments take over, and send those again.
    """
    await stage.until_up()
    stage.producer.offer(items[::2])
    replica = await asyncio.to_thread(LocalValkey(binary=stage.binary).start)
    admin = direct(replica.url)
    await ask(stage.admin, "CONFIG", "SET", "repl-diskless-sync-delay", "0")
    await ask(admin, "REPLICAOF", HOST, stage.valkey.port)
    await _linked(admin)
    since = time.monotonic() - _MARGIN_S
    await ask(admin, "REPLICAOF", "NO", "ONE")
    stage.producer.offer(items[1::2])
    await asyncio.sleep(_LOST_SUFFIX_S)
    async with stage.producer.quiet:
        with suppress(TransientError):
            stage.promoted_entries_lost += await _added(stage.admin) - await _added(admin)
        old, stage.valkey = stage.valkey, replica
        await asyncio.to_thread(old.kill)
        before, stage.admin = stage.admin, admin
        await stage.tap.forget_lost(admin)
        stage.redis_proxy.move(replica.port)
        again = stage.producer.since(since)
        stage.rewritten |= {item.key for item in again}
    stage.producer.offer(again)
    await before.aclose()
    await asyncio.to_thread(old.close)
    stage.faults["promotion"] += 1


async def fill(stage: Stage, items: Sequence[Item]) -> None:
    """
    Let Redis run out of memory: producers are refused, and what is there must be finished all the same.
    """
    await stage.until_up()
    stage.producer.offer(items[::2])
    await asyncio.sleep(0.05)
    used = int(info(await ask(stage.admin, "INFO", "memory"))["used_memory"])
    await ask(stage.admin, "CONFIG", "SET", "maxmemory", used // 2)
    stage.producer.offer(items[1::2])
    await asyncio.sleep(_OOM_S)
    # What a worker held that was killed meanwhile must first be taken over.
    bound = time.monotonic() + _DRAINED_S
    while left := any((await stage.open_entries()).values()):
        if time.monotonic() > bound:
            break
        await asyncio.sleep(0.2)
    stage.drained_under_oom &= not left
    await ask(stage.admin, "CONFIG", "SET", "maxmemory", 0)
    stage.faults["oom"] += 1


async def stop_model(stage: Stage, items: Sequence[Item]) -> None:
    """
    Have nobody score for a while: the other group must step in within the deadline.
    """
    await _let_faults_pass(stage)
    animals = [one for one in stage.herd.animals if "ml-scoring" in one.serves]
    for animal in animals:
        animal.wanted = False
        stage.faults["sigkill"] += animal.kill(signal.SIGKILL)
    await asyncio.sleep(_DEAF_S)
    portions, crowd = 10, Crowd()
    for n in range(portions):
        stage.producer.offer(items[n::portions])
        await asyncio.sleep((_MODEL_AWAY_S - _SETTLING_S) / portions)
        crowd.look()
    await asyncio.sleep(_SETTLING_S)
    # All of them are decided by now; where the machine is too busy for that, the model stays away until they are.
    await stage.calm(_STEPPED_IN_S)
    absence = Absence(time.time(), crowd.allowed_s(stage.deadline_ms / 1000))
    stage.without_model |= {item.key: absence for item in items if item.kind == "payment"}
    for animal in animals:
        stage.herd.revive(animal)
    stage.kinds["model_stop"] += 1


async def _let_faults_pass(stage: Stage) -> None:
    """
    Wait until no other fault can be blamed on the model's absence: those of the same beat, what a stopped worker holds, a
    place where one would die or stop later, a reply that is still to be lost, and what went into a half-open connection,
    until the client gives that up.
    """
    await asyncio.sleep(2 * LATEST_S)
    _disarm(stage)
    await sleep_until(stage.last_connection_s + _HALF_OPEN_S)
    await asyncio.sleep(STOPPED_S)
    _disarm(stage)  # those that were stopped heard of nothing before
    await stage.calm(60.0)


def _disarm(stage: Stage) -> None:
    stage.herd.disarm()
    stage.redis_proxy.spare()
    stage.postgres_proxy.spare()


def _poison(item: Item) -> bool:
    return item.kind in ("poison", "undecodable")


async def _linked(replica: Any) -> None:
    while True:
        if info(await ask(replica, "INFO", "replication")).get("master_link_status") == "up":
            return
        await asyncio.sleep(0.02)


async def _added(client: Any) -> int:
    return int(fields(await ask(client, "XINFO", "STREAM", RAW))["entries-added"])
