"""
Plain PostgreSQL: partitions by the time of decision, made and dropped by a command, beside a fleet that goes on writing.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec
import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.postgres_migrations import migrate, migrations_folder
from fraudstream.adapters.postgres_partitions import KEPT, maintain
from fraudstream.adapters.postgres_rows import COLUMNS, row_of
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.errors import DecisionStoreUnavailable
from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.domain.moments import moment
from tests.support.builders import NOW_MS, a_decision
from tests.support.shell import answer, servers_of

#: What recorders sent before there were partitions.
MAKE_INCOMING = (
    "CREATE TEMP TABLE IF NOT EXISTS incoming_decisions (LIKE fraud_transactions, shadow_hits jsonb) ON COMMIT DELETE ROWS"
)
RECORD_INCOMING = """
WITH fresh AS (
    INSERT INTO transaction_ledger (transaction_id, outcome, decided_at)
    SELECT transaction_id, outcome, decided_at FROM incoming_decisions
    ON CONFLICT (transaction_id) DO NOTHING
    RETURNING transaction_id
), approved AS (
    INSERT INTO approved_transactions ({columns})
    SELECT {columns} FROM incoming_decisions JOIN fresh USING (transaction_id) WHERE outcome = 'approve'
), flagged AS (
    INSERT INTO fraud_transactions ({columns})
    SELECT {columns} FROM incoming_decisions JOIN fresh USING (transaction_id) WHERE outcome <> 'approve'
), shadow AS (
    INSERT INTO rule_shadow_hits (transaction_id, rule_id, rule_set, hit, decided_at)
    SELECT transaction_id, hit ->> 'rule_id', rule_set, hit, decided_at
    FROM incoming_decisions JOIN fresh USING (transaction_id), jsonb_array_elements(shadow_hits) AS hit
)
SELECT transaction_id FROM fresh
""".replace("{columns}", ", ".join(COLUMNS))
TABLES = [kept.table for kept in KEPT]
SHADOW = (RuleHit(rule_id="quiet", action=Action.BLOCK),)


def shadow(decision: Decision) -> str | None:
    return msgspec.json.encode(decision.shadow_hits).decode() if decision.shadow_hits else None


async def record_as_before(connection: asyncpg.Connection, decisions: Sequence[Decision]) -> None:
    async with connection.transaction():
        await connection.execute(MAKE_INCOMING)
        await connection.copy_records_to_table(
            "incoming_decisions", records=[(*row_of(one), shadow(one)) for one in decisions], columns=(*COLUMNS, "shadow_hits")
        )
        await connection.fetch(RECORD_INCOMING)


def first_schema(folder: Path) -> Path:
    for file in migrations_folder().glob("000[12]_*.sql"):
        (folder / file.name).write_text(file.read_text())
    return folder


async def parts(url: str) -> dict[str, int]:
    """
    Return the rows of every partition that has any.
    """
    client = await asyncpg.connect(url)
    sql = " UNION ALL ".join(f"SELECT tableoid::regclass::text AS part FROM {table}" for table in TABLES)
    rows = await client.fetch(f"SELECT part, count(*) AS n FROM ({sql}) AS every_row GROUP BY part")
    await client.close()
    return {row["part"]: row["n"] for row in rows}


def one_of_each(**changes: object) -> list[Decision]:
    return [a_decision(outcome=outcome, shadow_hits=SHADOW, **changes) for outcome in (Outcome.APPROVE, Outcome.BLOCK)]


async def test_rows_of_the_first_schema_stay_where_they_are_and_are_found(empty_database: str, tmp_path: Path) -> None:
    before, after = one_of_each(), one_of_each(decided_at=datetime.now(UTC) + timedelta(days=9))
    await migrate(empty_database, first_schema(tmp_path))
    old = await asyncpg.connect(empty_database)
    await record_as_before(old, before)

    await migrate(empty_database)
    await record_as_before(old, after)
    await old.close()
    store = PostgresDecisionStore(empty_database)
    found = [await store.find(one.transaction.transaction_id) for one in (*before, *after)]
    await store.close()

    assert found == [*before, *after]
    tables = {f"{table}_{part}": rows for part, rows in (("before", 1), ("default", 1)) for table in TABLES}
    assert await parts(empty_database) == {**tables, "rule_shadow_hits_before": 2, "rule_shadow_hits_default": 2}


async def test_a_recorder_of_the_version_before_goes_on_while_its_tables_are_converted(
    empty_database: str, tmp_path: Path
) -> None:
    await migrate(empty_database, first_schema(tmp_path))
    old = await asyncpg.connect(empty_database)
    written: list[Decision] = []
    stop = asyncio.Event()

    async def record() -> None:
        while not stop.is_set():
            some = [*one_of_each(), *one_of_each()]
            await record_as_before(old, some)
            written.extend(some)

    recording = asyncio.create_task(record())
    await migrate(empty_database)
    await maintain(empty_database)
    stop.set()
    await recording
    count = await old.fetchval("SELECT count(*) FROM decisions")
    await old.close()

    assert count == len(written) > 0


async def test_partitions_are_made_ahead_and_rows_move_to_theirs(database: str) -> None:
    now = datetime(2026, 3, 4, 15, tzinfo=UTC)
    store = PostgresDecisionStore(database)
    early = [one for days in (0, 1, 1, 60) for one in one_of_each(decided_at=now - timedelta(days=days))]
    await store.record(early)

    done = await maintain(database, now=now)
    again = await maintain(database, now=now)
    late = one_of_each(decided_at=now + timedelta(days=7, hours=8))
    await store.record(late)
    found = [await store.find(one.transaction.transaction_id) for one in (*early, *late)]
    await store.close()

    assert (done.partitioned, done.moved, done.dropped) == (True, 16, ())
    assert (again.made, again.moved) == ((), 0)
    assert found == [*early, *late]
    assert await parts(database) == {
        "approved_transactions_20260103": 1,
        "approved_transactions_20260303": 2,
        "approved_transactions_20260304": 1,
        "approved_transactions_20260311": 1,
        "fraud_transactions_20251229": 1,
        "fraud_transactions_20260302": 3,
        "fraud_transactions_20260309": 1,
        "rule_shadow_hits_20260103": 2,
        "rule_shadow_hits_20260303": 4,
        "rule_shadow_hits_20260304": 2,
        "rule_shadow_hits_20260311": 2,
    }


async def test_what_is_older_than_its_table_is_kept_is_dropped_whole(database: str) -> None:
    now = datetime(2026, 3, 4, 15, tzinfo=UTC)
    store = PostgresDecisionStore(database)
    await store.record([one for days in (402, 300) for one in one_of_each(decided_at=now - timedelta(days=days))])
    await store.close()

    usual = await maintain(database, now=now)
    shorter = await answer(servers_of("", database), "db", "maintain", "--keep", "approved_transactions=1d")

    gone = {"approved_transactions_20250126", "rule_shadow_hits_20250126", "rule_shadow_hits_20250508"}
    assert set(usual.dropped) == gone
    assert "approved_transactions_20250508" in shorter["dropped"]
    assert set(await parts(database)) == {"fraud_transactions_20250120", "fraud_transactions_20250505"}


async def test_a_table_in_use_is_left_for_the_next_call(database: str) -> None:
    reader = await asyncpg.connect(database)
    async with reader.transaction():
        await reader.fetch("SELECT * FROM approved_transactions")
        with pytest.raises(DecisionStoreUnavailable, match="in use"):
            await maintain(database, patience_s=0.1)
    await reader.close()

    assert (await maintain(database)).made != ()


async def test_dashboards_read_aggregates_and_nothing_personal_and_change_nothing(database: str) -> None:
    client = await asyncpg.connect(database)
    async with client.transaction():
        await client.execute("SET LOCAL ROLE fraudstream_dashboards")
        allowed = [
            "SELECT * FROM decisions_by_minute", "SELECT * FROM latency_by_day", "SELECT * FROM rule_hits_by_hour",
            "SELECT outcome, score, merchant FROM decisions", "SELECT * FROM labels", "SELECT reason FROM dead_letters",
        ]  # fmt: skip
        for sql in allowed:
            await client.fetch(sql)
    await client.execute("SET ROLE fraudstream_dashboards")
    for sql in (
        "SELECT email FROM decisions", "SELECT * FROM decisions", "SELECT card_id FROM fraud_transactions",
        "SELECT fields FROM dead_letters", "SELECT * FROM audit_log", "DELETE FROM labels", "CREATE TABLE mine (one int)",
    ):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await client.execute(sql)
    await client.close()


async def test_aggregates_count_what_is_on_record(database: str) -> None:
    day = moment(NOW_MS).replace(hour=0)
    store = PostgresDecisionStore(database)
    await store.record([a_decision(received_at=moment(NOW_MS - 30)) for _ in range(99)])
    await store.record([a_decision(outcome=Outcome.BLOCK, received_at=moment(NOW_MS - 900), shadow_hits=SHADOW)])
    await store.close()
    client = await asyncpg.connect(database)

    (latency,) = await client.fetch("SELECT * FROM latency_by_day")
    (rate,) = await client.fetch("SELECT * FROM fraud_rate_by_day")
    hits = await client.fetch("SELECT rule_id, outcome, shadow, hits, amount_minor FROM rule_hits_by_day ORDER BY shadow")
    scores = await client.fetch("SELECT score_from, decisions FROM scores_by_minute ORDER BY score_from")
    await client.close()

    assert (latency["bucket"], latency["decisions"], latency["max_s"]) == (day, 100, 0.9)
    assert 0.025 <= latency["p50_s"] <= 0.05
    assert latency["p99_s"] <= 0.05
    assert (rate["decisions"], rate["flagged"], rate["blocked"], rate["flagged_ratio"]) == (100, 1, 1, 0.01)
    assert [tuple(row) for row in hits] == [("many_cards", "block", False, 1, 1250), ("quiet", None, True, 1, None)]
    assert [tuple(row) for row in scores] == [(0.1, 99), (0.9, 1)]


async def test_the_space_of_every_table_is_told(database: str) -> None:
    store = PostgresDecisionStore(database)
    await store.record([a_decision() for _ in range(500)])
    await store.close()
    client = await asyncpg.connect(database)
    await client.execute("ANALYZE")
    await client.close()

    found = await answer(servers_of("", database), "db", "space")

    tables = {one["name"]: one for one in found["tables"]}
    assert tables["approved_transactions"]["rows"] == tables["transaction_ledger"]["rows"] == 500
    assert tables["approved_transactions"]["kind"] == "partitioned"
    assert tables["approved_transactions"]["bytes"] > 100_000
