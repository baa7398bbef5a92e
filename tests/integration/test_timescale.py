"""
The same tables on TimescaleDB: hypertables, compression, retention, continuous aggregates, and the same names and columns.

The policies run in the background of a server; here their work is called by hand.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from fraudstream.adapters import postgres_digest, postgres_space
from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.postgres_migrations import is_for, migrations_folder
from fraudstream.adapters.postgres_queries import QUERIES
from fraudstream.adapters.postgres_rows import COLUMNS, row_of
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.domain.moments import moment
from tests.support.builders import NOW_MS, a_decision, a_transaction
from tests.support.pglite import timescale

HYPERTABLES = ["approved_transactions", "fraud_transactions", "rule_shadow_hits"]
SHOWN = [
    f"{name}_by_{width}"
    for name in ("decisions", "fraud_rate", "scores", "latency", "rule_hits")
    for width in ("minute", "hour", "day")
]
COLUMNS_OF_VIEWS = """
SELECT table_name, column_name, data_type FROM information_schema.columns
WHERE table_schema = 'public' AND (table_name ~ '_by_(minute|hour|day)$' OR table_name = ANY($1::text[]))
ORDER BY table_name, ordinal_position
"""


@asynccontextmanager
async def connected() -> AsyncIterator[asyncpg.Connection]:
    with timescale() as url:
        connection = await asyncpg.connect(url, timeout=30, server_settings={"timezone": "UTC"})
        try:
            yield connection
        finally:
            connection.terminate()


async def apply(connection: asyncpg.Connection, first: int, last: int) -> None:
    for file in sorted(migrations_folder().glob("[0-9]*.sql")):
        if first <= int(file.name[:4]) <= last and is_for(file.name, timescale=True):
            async with connection.transaction():
                await connection.execute(file.read_text())


def over_two_days() -> list[Decision]:
    """
    Decisions of two days and three hours, of each outcome, with rule hits, other currencies and other delays.
    """
    quiet = (RuleHit(rule_id="quiet", action=Action.BLOCK),)
    made = []
    for number in range(60):
        at_ms = NOW_MS + number * 3_200_000
        made.append(
            a_decision(
                a_transaction(amount_minor=100 + number, currency=("USD", "EUR", "JPY")[number % 3]),
                outcome=list(Outcome)[number % 4],
                score=number / 59,
                shadow_hits=quiet if number % 7 == 0 else (),
                received_at=moment(at_ms - 3 * number * number),
                decided_at=moment(at_ms),
                degraded=("model_deadline",) if number % 11 == 0 else (),
            )
        )
    return made


async def insert(connection: asyncpg.Connection, decisions: Sequence[Decision]) -> None:
    """
    Write rows statement by statement: this server takes no COPY.
    """
    places = ", ".join(f"${n}" for n in range(1, len(COLUMNS) + 1))
    for one in decisions:
        table = "fraud_transactions" if one.flagged else "approved_transactions"
        await connection.execute(f"INSERT INTO {table} ({', '.join(COLUMNS)}) VALUES ({places})", *row_of(one))
        paid = one.transaction.transaction_id
        await connection.execute("INSERT INTO transaction_ledger VALUES ($1, $2, $3)", paid, one.outcome, one.decided_at)
        for hit in one.shadow_hits:
            body = msgspec.json.encode(hit).decode()
            await connection.execute(
                "INSERT INTO rule_shadow_hits VALUES ($1, $2, $3, $4, $5)",
                paid,
                hit.rule_id,
                one.rule_set,
                body,
                one.decided_at,
            )


async def answers(connection: asyncpg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """
    Return every row of every view that people ask, in an order that both servers have; sums of fractions to nine digits.
    """
    found = {name: await connection.fetch(f"SELECT * FROM {name}") for name in SHOWN}
    return {name: sorted((tuple(map(rounded, row)) for row in rows), key=repr) for name, rows in found.items()}


def rounded(value: Any) -> Any:
    return round(value, 9) if isinstance(value, float) else value


async def digested(connection: asyncpg.Connection) -> list[list[tuple[Any, ...]]]:
    """
    Return what a digest of the second day asks.
    """
    since = moment(NOW_MS).replace(hour=0)
    asked = (since, since + timedelta(days=2), "Europe/Berlin")
    names = ("_TOTALS", "_RULES", "_MERCHANTS", "_LATENCY", "_LABELS", "_ALERTS")
    found = [await connection.fetch(getattr(postgres_digest, name), *asked) for name in names]
    return [sorted((tuple(map(rounded, row)) for row in rows), key=repr) for rows in found]


async def run_policies(connection: asyncpg.Connection, name: str, *, at_most: int = 99) -> int:
    jobs = await connection.fetch("SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = $1 ORDER BY job_id", name)
    for job in jobs[:at_most]:
        await connection.execute(f"CALL run_job({job['job_id']})")
    return len(jobs)


async def test_rows_of_the_first_schema_become_hypertables_that_answer_like_plain_postgres(database: str) -> None:
    decisions = over_two_days()
    store = PostgresDecisionStore(database)
    await store.record(decisions)
    await store.close()
    plain = await asyncpg.connect(database, server_settings={"timezone": "UTC"})
    async with connected() as connection:
        await apply(connection, 1, 2)
        await insert(connection, decisions)

        await apply(connection, 3, 9999)

        hypertables = await connection.fetch(
            "SELECT hypertable_name, num_chunks > 1 AS divided, compression_enabled FROM timescaledb_information.hypertables "
            "WHERE hypertable_name = ANY($1::text[]) ORDER BY hypertable_name", HYPERTABLES
        )  # fmt: skip
        views = await connection.fetch("SELECT view_name FROM timescaledb_information.continuous_aggregates")
        assert [tuple(row) for row in hypertables] == [(name, name != "fraud_transactions", True) for name in HYPERTABLES]
        assert len(views) == 15
        columns = await connection.fetch(COLUMNS_OF_VIEWS, [*HYPERTABLES, "decisions"])
        assert columns == await plain.fetch(COLUMNS_OF_VIEWS, [*HYPERTABLES, "decisions"])
        expected, told = await answers(plain), await digested(plain)
        await plain.close()
        live = await answers(connection)
        for name in SHOWN:
            assert live[name] == expected[name], name
        assert await digested(connection) == told
        tables = {row["name"]: row for row in await connection.fetch(f"{postgres_space._TIMESCALE} {postgres_space._OTHERS}")}
        assert {name: (tables[name]["kind"], tables[name]["parts"] > 0) for name in HYPERTABLES} == dict.fromkeys(
            HYPERTABLES, ("hypertable", True)
        )
        for row in views:
            await connection.execute(f"CALL refresh_continuous_aggregate('{row['view_name']}', NULL, NULL)")
        materialized = await answers(connection)
        for name in SHOWN:
            assert materialized[name] == expected[name], name


async def test_policies_compress_keep_and_drop_from_nothing() -> None:
    async with connected() as connection:
        await apply(connection, 1, 9999)
        now = await connection.fetchval("SELECT now()")
        old, recent, fresh = (now - timedelta(days=days) for days in (401, 10, 0))
        await insert(connection, [a_decision(decided_at=at) for at in (old, recent, fresh)])
        await insert(
            connection, [a_decision(decided_at=at, outcome=Outcome.BLOCK) for at in (now - timedelta(days=8 * 365), old)]
        )

        dropped = await run_policies(connection, "policy_retention")
        compressed = await run_policies(connection, "policy_compression")
        refreshed = await run_policies(connection, "policy_refresh_continuous_aggregate", at_most=1)

        kept = [row["decided_at"] for row in await connection.fetch("SELECT decided_at FROM approved_transactions ORDER BY 1")]
        flagged = [row["decided_at"] for row in await connection.fetch("SELECT decided_at FROM fraud_transactions")]
        chunks = await connection.fetch(
            "SELECT hypertable_name, is_compressed FROM timescaledb_information.chunks "
            "WHERE hypertable_name = ANY($1::text[]) ORDER BY hypertable_name, range_start", HYPERTABLES
        )  # fmt: skip
        by_day = await connection.fetch("SELECT * FROM approved_by_day")
        assert (dropped, compressed, refreshed) == (13, 3, 15)
        assert kept == [recent, fresh], "401 days are too many for an approved decision"
        assert flagged == [old], "a flagged decision is kept for seven years"
        assert [tuple(row) for row in chunks] == [
            ("approved_transactions", True), ("approved_transactions", False), ("fraud_transactions", True),
        ]  # fmt: skip
        assert sum(row["decisions"] for row in by_day) == 2
        found = await connection.fetchrow(QUERIES["find_decision"], "nobody")
        assert found is None
