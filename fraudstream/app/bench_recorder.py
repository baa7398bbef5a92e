"""
How fast one recorder process turns a backlog of ``transactions:decisions`` into committed rows, and who used the CPU.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.postgres_partitions import maintain
from fraudstream.adapters.postgres_space import space
from fraudstream.adapters.redis_account import waiting
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_keys import DECISIONS
from fraudstream.adapters.redis_scripts import Argument, Call, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.app.connections import address
from fraudstream.app.local_system import LocalSystem
from fraudstream.app.processes import cpu_s
from fraudstream.domain.decision import DECISION_SCHEMA, Decision, Outcome
from fraudstream.domain.decision_codec import encode_decision
from fraudstream.domain.errors import TransientError
from fraudstream.domain.evidence import Action, Reason, RuleHit
from fraudstream.domain.moments import moment
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate

#: Decisions of one entry: what one completing call emits at most.
_ENTRY = 128
#: Entries of one pipeline while the backlog is written.
_PIPELINE = 16
#: Features of a vector, and the share of flagged decisions: those of the shipped rules and model on the demo's world.
_FEATURES, _FLAGGED_EVERY = 41, 40
#: The first rows pay for imports, connections and cold caches.
_WARM = 4 * _ENTRY
#: Where a decision is kept.
_STORED = ("approved_transactions", "fraud_transactions", "transaction_ledger")
#: Longest pause in which nothing is recorded, in seconds.
_STUCK_S = 60.0


class RecorderCost(msgspec.Struct, frozen=True, kw_only=True):
    """
    ``rows_per_second`` from the first entry that the process could read to the last committed row.

    CPU is in microseconds a row: of the recorder (reading, decoding, writing, acknowledging), of PostgreSQL with all its
    processes, of Redis. ``recorder_cores`` and ``postgres_cores`` are how much of a core each had meanwhile.
    ``bytes_per_row`` is what the tables and the ledger take with their indexes.
    """

    rows: int
    entries: int
    seconds: float
    rows_per_second: float
    recorder_us_per_row: float
    postgres_us_per_row: float
    redis_us_per_row: float
    recorder_cores: float
    postgres_cores: float
    rows_per_recorder_core_second: float
    bytes_per_row: float
    cores: int


async def bench_recorder(*, rows: int, inherited: Mapping[str, str]) -> RecorderCost:
    """
    Measure servers and a recorder of our own: durable PostgreSQL, append-only file on, every index of the migrations.

    Raises:
        ConfigurationError: A server of our own did not start.
        TransientError: The recorder stopped moving.
    """
    bodies = [encode_decision(one) for one in _decisions(rows + _WARM)]
    with LocalSystem(inherited=inherited, deadline_ms=0, horizon_s=0, groups=("recorder",)) as system:
        await migrate(system.postgres.url)
        await maintain(system.postgres.url)
        await _append(system, bodies[:_WARM])
        system.start_workers()
        await _recorded(system, _WARM)
        pids = {"recorder": system.workers[0].pid, "postgres": system.postgres.pid, "redis": system.valkey.pid}
        os.kill(pids["recorder"], signal.SIGSTOP)
        await _append(system, bodies[_WARM:])
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        started = time.monotonic()
        os.kill(pids["recorder"], signal.SIGCONT)
        await _recorded(system, rows)
        seconds = time.monotonic() - started
        used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
        tables = (await space(system.postgres.url)).tables
    return RecorderCost(
        rows=rows,
        entries=-(-rows // _ENTRY),
        seconds=round(seconds, 3),
        rows_per_second=round(rows / seconds, 1),
        recorder_us_per_row=round(used["recorder"] / rows * 1e6, 2),
        postgres_us_per_row=round(used["postgres"] / rows * 1e6, 2),
        redis_us_per_row=round(used["redis"] / rows * 1e6, 2),
        recorder_cores=round(used["recorder"] / seconds, 2),
        postgres_cores=round(used["postgres"] / seconds, 2),
        rows_per_recorder_core_second=round(rows / used["recorder"], 1),
        bytes_per_row=round(sum(one.bytes for one in tables if one.name in _STORED) / (rows + _WARM), 1),
        cores=len(os.sched_getaffinity(0)),
    )


def _decisions(count: int) -> Iterator[Decision]:
    """
    Yield decisions of the demo's payments, one in forty flagged, with a vector by chance.
    """
    now_ms = int(time.time() * 1000)
    rng = np.random.default_rng(7)
    for number, one in enumerate(generate(demo_plan(7, end_ms=now_ms, transactions=count))):
        paid = parse_transaction(one.body, now_ms=now_ms + 10**9, default_currency="USD")
        vector = rng.exponential(20, _FEATURES).astype("<f4").tobytes()
        yield _decided(paid, vector, now_ms, flagged=number % _FLAGGED_EVERY == 0)


def _decided(paid: Transaction, vector: bytes, now_ms: int, *, flagged: bool) -> Decision:
    hit = RuleHit(rule_id="many_cards", action=Action.REVIEW, reason="cards", explanation="cards (7) > 5", tags=("velocity",))
    reason = Reason(code="device_cards_1h", text="7 cards on this device within the hour", value=7.0, contribution=1.25)
    return Decision(
        schema=DECISION_SCHEMA,
        transaction=paid,
        outcome=Outcome.REVIEW if flagged else Outcome.APPROVE,
        score=0.91 if flagged else 0.0123,
        probability=0.81 if flagged else 0.0123,
        points=10.0 if flagged else 0.0,
        reasons=(reason, reason, reason) if flagged else (),
        rule_hits=(hit, hit) if flagged else (),
        shadow_hits=(),
        degraded=(),
        feature_set="0123456789abcdef",
        vector=vector,
        rule_set="a" * 64,
        lists={"blocked_cards": "b" * 64, "disposable_email": "c" * 64},
        model="d" * 64,
        occurred_at=moment(paid.occurred_at_ms),
        received_at=moment(now_ms - 20),
        decided_at=moment(now_ms),
    )


async def _append(system: LocalSystem, bodies: list[bytes]) -> None:
    """
    Write a backlog as the completing script does: one entry per batch, one field per decision.
    """
    entries = [bodies[at : at + _ENTRY] for at in range(0, len(bodies), _ENTRY)]
    async with connected(address(system.settings())) as client:
        for at in range(0, len(entries), _PIPELINE):
            calls: list[Call | Sequence[Argument]] = [
                ("XADD", DECISIONS, "*", *_fields(entry)) for entry in entries[at : at + _PIPELINE]
            ]
            await run(plain(client), calls)


def _fields(bodies: list[bytes]) -> Iterator[bytes]:
    for body in bodies:
        yield msgspec.json.decode(body)["transaction"]["transaction_id"].encode()
        yield body


async def _recorded(system: LocalSystem, rows: int) -> None:
    """
    Wait until the recorder has acknowledged everything; complain when nothing moves any more.
    """
    async with connected(address(system.settings())) as client:
        moved_at, before = time.monotonic(), -1
        while (left := (await waiting(client, ["recorder"])).get("recorder", rows)) > 0:
            if left != before:
                moved_at, before = time.monotonic(), left
            if time.monotonic() - moved_at > _STUCK_S:
                raise TransientError(
                    f"the recorder has not moved for {_STUCK_S:.0f} s; {left} entries left; see {system.folder}"
                )
            await asyncio.sleep(0.02)
