"""
Every table of ours as rows that can be put back: read by COPY in one snapshot, joined to what is there in one transaction.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import IO, Any, Protocol

import asyncpg
import msgspec

from fraudstream.adapters.postgres_connection import OneConnection
from fraudstream.adapters.postgres_errors import RowsRefused, translated
from fraudstream.domain.errors import DamagedArchive

#: Bytes of rows in one member, before they are compressed.
PART_BYTES = 64 << 20
_READ_BYTES = 1 << 18
#: A file is small beside its table: each of its rows is looked up, and the table is never read whole for it.
_BY_INDEX = "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off"
_OWN_DECISION = """EXISTS (SELECT 1 FROM transaction_ledger AS ledger
WHERE ledger.transaction_id = new.transaction_id AND ledger.decided_at = new.decided_at)"""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """
    One table: ``time`` is what a range of time is about, ``key`` what makes two rows the same one.

    ``counted`` is a number that the database gives; it is kept where the table was empty. ``decided`` tables take only the rows
    of the decision that the ledger names.
    """

    name: str
    time: str
    key: tuple[str, ...]
    counted: str = ""
    decided: bool = False


#: The ledger first: it says which rows of the next ones count.
TABLES = (
    Table(name="transaction_ledger", time="decided_at", key=("transaction_id",)),
    Table(name="approved_transactions", time="decided_at", key=("transaction_id", "decided_at"), decided=True),
    Table(name="fraud_transactions", time="decided_at", key=("transaction_id", "decided_at"), decided=True),
    Table(name="rule_shadow_hits", time="decided_at", key=("transaction_id", "rule_id", "decided_at"), decided=True),
    Table(
        name="superseding_decisions", time="superseded_at", key=("transaction_id", "superseded_at"), counted="superseding_id"
    ),
    Table(name="labels", time="recorded_at", key=("label_id",)),
    Table(name="alerts", time="settled_at", key=("transaction_id", "channel")),
    Table(name="alert_groups", time="last_at", key=("alert_id",)),
    Table(name="alert_events", time="at", key=("event_id",)),
    Table(name="dead_letters", time="dead_at", key=("stream", "entry_id", "part")),
    Table(name="rule_snoozes", time="created_at", key=("rule_id", "actor", "created_at"), counted="snooze_id"),
    Table(name="audit_log", time="at", key=("at", "actor", "action", "resource"), counted="audit_id"),
)
#: What a database may hold and still count as empty: a look at it leaves a line there.
_MAY_HOLD = ("audit_log",)


class RowSink(Protocol):
    """
    Where rows are written.
    """

    items: int

    @property
    def size(self) -> int:
        """
        Bytes so far.
        """
        ...

    def write(self, data: bytes) -> None:
        """
        Take bytes.
        """
        ...


class PostgresRecords(OneConnection):
    """
    The rows of every table over one connection; a copy has no time limit of ours.
    """

    statement_timeout_s = None

    async def migrations(self) -> list[str]:
        """
        Return which migrations were applied; none where there are no tables of ours.
        """
        with translated():
            if await self._connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
                return []
            return [row["name"] for row in await self._connection.fetch("SELECT name FROM schema_migrations ORDER BY name")]

    async def filled(self) -> dict[str, int]:
        """
        Return how many rows each table holds that holds any; those that fill by themselves are left out.
        """
        if not await self.migrations():
            return {}
        with translated():
            found = {
                one.name: await self._connection.fetchval(f"SELECT count(*) FROM {one.name}")  # noqa: S608 names of our own
                for one in TABLES
                if one.name not in _MAY_HOLD
            }
        return {name: rows for name, rows in found.items() if rows}

    async def columns(self) -> dict[str, list[str]]:
        """
        Return the columns of each table, in order.
        """
        with translated():
            rows = await self._connection.fetch(
                "SELECT table_name, column_name FROM information_schema.columns"
                " WHERE table_schema = current_schema() AND table_name = ANY($1) ORDER BY table_name, ordinal_position",
                [one.name for one in TABLES],
            )
        found: dict[str, list[str]] = {one.name: [] for one in TABLES}
        for row in rows:
            found[row["table_name"]].append(row["column_name"])
        return found

    async def read(
        self,
        since: datetime | None,
        until: datetime | None,
        member: Callable[[Table, int], AbstractContextManager[RowSink]],
    ) -> dict[str, int]:
        """
        Write all rows of that time, as of one moment; return how many of each table.

        Args:
            since: The first time that counts, by ``Table.time``; None for all.
            until: The first that does not count any more; None for all.
            member: Lends a place for the next rows of a table, by its number from 0.
        """
        columns = await self.columns()
        with translated():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                return {
                    table.name: await _Reader(self._connection, table, columns[table.name], member).read(since, until)
                    for table in TABLES
                }

    async def restore(
        self, columns: dict[str, list[str]], rows: AsyncIterator[tuple[Table, IO[bytes]]], told: Callable[[str, int], None]
    ) -> dict[str, int]:
        """
        Join rows to what is there, all of them or none; what is there already stays as it is. Return how many were added.

        Args:
            columns: Those of the files, by table.
            rows: The files by table, ledger first.
            told: Called after each file with its table and the rows of it that were added.

        Raises:
            DamagedArchive: The database takes a row of it for wrong; nothing was added.
        """
        added = {one.name: 0 for one in TABLES}
        try:
            with translated():
                async with self._connection.transaction():
                    await self._connection.execute(_BY_INDEX)
                    async for table, file in rows:
                        count = await self._join(table, columns[table.name], file)
                        added[table.name] += count
                        told(table.name, count)
                    await self._count_on()
        except RowsRefused as exc:
            raise DamagedArchive(f"the database refuses a row, and nothing was restored: {exc}") from exc
        return added

    async def _join(self, table: Table, columns: Sequence[str], file: IO[bytes]) -> int:
        run = self._connection.execute
        await run(f"CREATE TEMP TABLE IF NOT EXISTS restored_{table.name} (LIKE {table.name}) ON COMMIT DROP")
        await run(f"TRUNCATE restored_{table.name}")
        await self._connection.copy_to_table(
            f"restored_{table.name}", source=_chunks(file), columns=list(columns), format="text"
        )
        names = [name for name in columns if name != table.counted or await self._keeps_numbers(table)]
        same = " AND ".join(f"old.{name} = new.{name}" for name in table.key)
        wanted = f"NOT EXISTS (SELECT 1 FROM {table.name} AS old WHERE {same})"  # noqa: S608 names of our own
        wanted += f" AND {_OWN_DECISION}" if table.decided else ""
        order = f" ORDER BY {table.counted}" if table.counted else ""
        listed = ", ".join(names)
        done = await run(
            f"INSERT INTO {table.name} ({listed}) OVERRIDING SYSTEM VALUE"  # noqa: S608 names of our own
            f" SELECT {listed} FROM restored_{table.name} AS new WHERE {wanted}{order} ON CONFLICT DO NOTHING"
        )
        return int(done.split()[-1])

    async def _keeps_numbers(self, table: Table) -> bool:
        """
        Say whether the numbers of the file can stay: nobody has one of them.
        """
        taken = await self._connection.fetchval(
            f"SELECT EXISTS (SELECT 1 FROM {table.name} JOIN restored_{table.name} USING ({table.counted}))"  # noqa: S608 names of our own
        )
        return not taken

    async def _count_on(self) -> None:
        """
        Let the database count on from the highest number.
        """
        for table in (one for one in TABLES if one.counted):
            await self._connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{table.counted}'), max({table.counted}))"  # noqa: S608 names of our own
                f" FROM {table.name} HAVING max({table.counted}) IS NOT NULL"
            )


class _Reader:
    """
    One table on its way out, in files of a bearable size.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        table: Table,
        columns: Sequence[str],
        member: Callable[[Table, int], AbstractContextManager[RowSink]],
    ) -> None:
        self._connection = connection
        self._table = table
        self._columns = columns
        self._member = member
        self._lent: AbstractContextManager[RowSink] | None = None
        self._sink: RowSink | None = None
        self._number = 0
        self._rows = 0
        self._cut = b""

    async def read(self, since: datetime | None, until: datetime | None) -> int:
        try:
            await self._connection.copy_from_query(self._query(since, until), output=self._take, format="text")
        finally:
            self._next()
        return self._rows

    def _query(self, since: datetime | None, until: datetime | None) -> str:
        bounds = [f"{self._table.time} >= '{since.isoformat()}'"] if since else []
        bounds += [f"{self._table.time} < '{until.isoformat()}'"] if until else []
        where = f" WHERE {' AND '.join(bounds)}" if bounds else ""
        # Most tables have an index on their time; numbers that the database gave are put back in their order.
        order = f" ORDER BY {self._table.counted}" if self._table.counted else ""
        return f"SELECT {', '.join(self._columns)} FROM {self._table.name}{where}{order}"  # noqa: S608 names of our own

    async def _take(self, data: bytes) -> None:
        # In this format a line feed ends a row and stands nowhere else.
        whole, end, self._cut = (self._cut + data).rpartition(b"\n")
        if not end:
            return
        if self._sink is None:
            self._lent = self._member(self._table, self._number)
            self._sink = self._lent.__enter__()
        self._sink.write(whole + end)
        count = whole.count(b"\n") + 1
        self._sink.items += count
        self._rows += count
        if self._sink.size >= PART_BYTES:
            self._next()

    def _next(self) -> None:
        if self._lent is not None:
            self._lent.__exit__(None, None, None)
            self._number += 1
        self._lent = self._sink = None


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while data := file.read(_READ_BYTES):
        yield data


def table_of(member: str) -> Table:
    """
    Return the table whose rows a member holds, by its name ``records/<table>-<number>.copy.gz``.

    Raises:
        DamagedArchive: There is no such table.
    """
    name = member.removeprefix("records/").rpartition("-")[0]
    for table in TABLES:
        if table.name == name:
            return table
    raise DamagedArchive(f"{member}: this version knows no table {name!r}")


def differing(columns: dict[str, Any], here: dict[str, list[str]]) -> list[str]:
    """
    Return the columns of files that the tables here do not have, as ``table.column``.
    """
    return [f"{table}.{name}" for table, names in columns.items() for name in names if name not in here.get(table, [])]
