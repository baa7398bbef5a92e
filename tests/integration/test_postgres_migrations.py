import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from fraudstream.adapters import postgres_migrations
from fraudstream.adapters.postgres_migrations import migrate, migrations_folder
from fraudstream.adapters.postgres_queries import QUERIES
from fraudstream.adapters.postgres_rows import COLUMNS, row_of
from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.errors import ConfigurationError, DecisionStoreUnavailable
from fraudstream.domain.transaction import Transaction
from tests.support.builders import a_decision
from tests.support.wait import wait_until

TABLES = {
    *("approved_transactions", "fraud_transactions", "decisions", "transaction_ledger", "superseding_decisions"),
    *("alerts", "labels", "dead_letters", "rule_shadow_hits", "rule_snoozes", "audit_log", "schema_migrations"),
}


async def columns_of(url: str, table: str) -> list[tuple[str, str]]:
    client = await asyncpg.connect(url)
    try:
        rows = await client.fetch(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1 ORDER BY ordinal_position",
            table,
        )
    finally:
        await client.close()
    return [(row["column_name"], row["data_type"]) for row in rows]


async def test_every_named_table_is_there(database: str) -> None:
    client = await asyncpg.connect(database)
    found = {row["relname"] for row in await client.fetch("SELECT relname FROM pg_class WHERE relkind IN ('r', 'v', 'p')")}
    await client.close()

    assert found >= TABLES


async def test_the_columns_of_decisions_are_the_fields_of_a_decision(database: str) -> None:
    fields = (set(Transaction.__struct_fields__) | set(Decision.__struct_fields__)) - {
        "transaction",  # side by side with the decision
        "occurred_at_ms",  # stands in occurred_at
        "shadow_hits",  # in rule_shadow_hits: shadow rules have no part in a decision
    }

    names = [name for name, _ in await columns_of(database, "decisions")]

    assert set(names) == fields
    assert tuple(names) == COLUMNS


@pytest.mark.parametrize("table", ["approved_transactions", "fraud_transactions"])
async def test_both_tables_have_the_columns_of_the_view(database: str, table: str) -> None:
    assert await columns_of(database, table) == await columns_of(database, "decisions")


async def test_superseding_decisions_have_the_columns_of_the_view_and_who_and_why(database: str) -> None:
    found = await columns_of(database, "superseding_decisions")

    assert found[: len(COLUMNS)] == await columns_of(database, "decisions")
    assert {name for name, _ in found[len(COLUMNS) :]} == {"superseding_id", "superseded_at", "actor", "cause"}


async def test_the_columns_of_labels_hold_the_fields_of_a_label(database: str) -> None:
    names = {name for name, _ in await columns_of(database, "labels")}

    assert names >= set(Label.__struct_fields__)


def test_a_row_has_a_value_for_each_column() -> None:
    assert len(row_of(a_decision())) == len(COLUMNS)


async def test_the_second_call_changes_nothing(empty_database: str) -> None:
    first = await migrate(empty_database)

    second = await migrate(empty_database)

    assert first == sorted(name for name in first if not name.endswith(".timescale.sql"))
    assert len(first) >= 2
    assert second == []


async def test_calls_at_the_same_time_apply_each_migration_once(empty_database: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_database) for _ in range(4)))

    assert sorted(applied, key=len)[:3] == [[], [], []]
    assert len(max(applied, key=len)) >= 2


async def test_a_migration_that_fails_leaves_nothing_of_itself(empty_database: str, tmp_path: Path) -> None:
    (tmp_path / "0001_good.sql").write_text("CREATE TABLE kept (one int);")
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE half (one int); SELECT 1 / 0;")

    with pytest.raises(ConfigurationError, match=r"0002_bad.sql .* division by zero"):
        await migrate(empty_database, tmp_path)
    (tmp_path / "0002_bad.sql").write_text("CREATE TABLE half (one int);")

    assert await columns_of(empty_database, "half") == []
    assert await migrate(empty_database, tmp_path) == ["0002_bad.sql"]


async def test_a_migration_that_waits_for_a_writer_who_waits_for_it_is_tried_again(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_migrations, "_LOCKED_PAUSE_S", 0.01)
    (tmp_path / "0001_tables.sql").write_text("CREATE TABLE one (n int); CREATE TABLE two (n int);")
    await migrate(empty_database, tmp_path)
    (tmp_path / "0002_change.sql").write_text(
        "SET LOCAL deadlock_timeout = '20ms'; LOCK TABLE two; SELECT pg_advisory_xact_lock(7);"
        "ALTER TABLE one ADD COLUMN more int; ALTER TABLE two ADD COLUMN more int;"
    )
    writer, gate = [await asyncpg.connect(empty_database) for _ in range(2)]
    await writer.execute("SET deadlock_timeout = '1h'")
    await gate.execute("SELECT pg_advisory_lock(7)")

    async with writer.transaction():
        await writer.execute("INSERT INTO one VALUES (1)")
        changing = asyncio.create_task(migrate(empty_database, tmp_path))
        await wait_until(lambda: _waiting(gate, "advisory"), "the migration to hold one table")
        writing = asyncio.create_task(writer.execute("INSERT INTO two VALUES (1)"))
        await wait_until(lambda: _waiting(gate, "relation"), "the writer to wait for it")
        await gate.execute("SELECT pg_advisory_unlock(7)")
        await writing

    assert await changing == ["0002_change.sql"]
    assert await writer.fetchval("SELECT count(*) FROM one JOIN two USING (n)") == 1
    await asyncio.gather(writer.close(), gate.close())


async def _waiting(client: asyncpg.Connection, kind: str) -> bool:
    here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    return bool(await client.fetchval(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = $1 AND {here}", kind))


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(empty_database: str, tmp_path: Path) -> None:
    file = tmp_path / "0001_first.sql"
    file.write_text("CREATE TABLE kept (one int);")
    await migrate(empty_database, tmp_path)
    file.write_text("CREATE TABLE kept (one bigint);")

    with pytest.raises(ConfigurationError, match=r"0001_first\.sql differs"):
        await migrate(empty_database, tmp_path)


async def test_no_migrations_at_all_is_an_incomplete_installation(empty_database: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no migrations"):
        await migrate(empty_database, tmp_path)


async def test_a_server_that_is_away_is_unavailable() -> None:
    with pytest.raises(DecisionStoreUnavailable):
        await migrate("postgresql://127.0.0.1:1/nowhere")


async def test_files_for_timescale_wait_where_the_extension_is_missing(database: str) -> None:
    client = await asyncpg.connect(database)
    applied = {row["name"] for row in await client.fetch("SELECT name FROM schema_migrations")}
    await client.close()

    waiting = {file.name for file in migrations_folder().glob("*.timescale.sql")}
    assert waiting
    assert not waiting & applied


def test_migrations_are_numbered_without_gaps_or_twins() -> None:
    names = sorted(file.name for file in migrations_folder().glob("*.sql"))

    assert all(re.fullmatch(r"\d{4}_[a-z_]+(\.timescale|\.plain)?\.sql", name) for name in names)
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


@pytest.mark.parametrize("change", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"])
async def test_the_audit_log_is_only_ever_added_to(database: str, change: str) -> None:
    client = await asyncpg.connect(database)
    await client.execute(
        "INSERT INTO audit_log (actor, action, outcome, origin, resource) VALUES ('me', 'look', 'success', 'cli', 'letter')"
    )

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append only"):
        await client.execute(change)
    assert await client.fetchval("SELECT count(*) FROM audit_log") == 1
    await client.close()


async def test_one_id_is_found_without_reading_the_tables(database: str) -> None:
    client = await asyncpg.connect(database)
    await client.execute("SET enable_seqscan = off")

    plan = "\n".join(row[0] for row in await client.fetch(f"EXPLAIN {QUERIES['find_decision']}".replace("$1", "'txn_1'")))

    await client.close()
    assert "Seq Scan" not in plan
