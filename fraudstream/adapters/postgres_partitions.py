"""
The partitions of plain PostgreSQL: made ahead of time, filled with what came too early for them, dropped when they are too old.

On TimescaleDB the extension does this by itself, by the policies of the migrations.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from fraudstream.adapters.postgres_connection import connect
from fraudstream.adapters.postgres_errors import part_from, translated
from fraudstream.domain.errors import DecisionStoreUnavailable

#: Key of the advisory lock that lets one such work run at a time ("fraudprt" as eight bytes).
_LOCK = int.from_bytes(b"fraudprt")
#: Where every width of partition begins to count.
_ORIGIN = datetime(2001, 1, 1, tzinfo=UTC)
_BOUND = re.compile(r"FOR VALUES FROM \((MINVALUE|'[^']*')\) TO \('([^']*)'\)")
_PARTS = """
SELECT part.relname AS name, pg_get_expr(part.relpartbound, part.oid) AS bound
FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid WHERE inhparent = to_regclass($1)
"""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a table is partitioned: the width of a part, how far ahead parts are made, and how long their rows are kept.
    """

    table: str
    width: timedelta
    ahead: timedelta
    keep: timedelta


#: The partitioned tables, with the widths and spans that TimescaleDB has by the migrations.
KEPT = (
    Kept(table="approved_transactions", width=timedelta(days=1), ahead=timedelta(days=7), keep=timedelta(days=400)),
    Kept(table="fraud_transactions", width=timedelta(days=7), ahead=timedelta(days=28), keep=timedelta(days=7 * 365 + 2)),
    Kept(table="rule_shadow_hits", width=timedelta(days=1), ahead=timedelta(days=7), keep=timedelta(days=90)),
)


class Maintained(msgspec.Struct, frozen=True, kw_only=True):
    """
    What was done: partitions ``made`` and ``dropped``, rows ``moved`` out of the default partitions.

    ``partitioned`` is False where TimescaleDB does it; ``dashboards`` says whether the role for dashboards could be granted.
    """

    partitioned: bool
    made: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    moved: int = 0
    dashboards: bool = False


class _Part(msgspec.Struct, frozen=True):
    name: str
    begin: datetime | None
    end: datetime


async def maintain(
    url: str, *, now: datetime | None = None, keep: Mapping[str, timedelta] | None = None, patience_s: float = 5.0
) -> Maintained:
    """
    Make the partitions of the coming days, move rows that came before theirs, drop what is too old, grant the dashboards' role.

    Safe at any time and beside a running fleet; a table that somebody reads for long is left for the next call.

    Args:
        url: Where the database is; the user must own the tables.
        now: The present; None for that of the server.
        keep: How long rows of a table are kept, where it is not as usual.
        patience_s: How long a reader of a table is waited for; whoever comes meanwhile waits too.

    Raises:
        DecisionStoreUnavailable: PostgreSQL did not answer, or a table stayed in use; what was done until then stays done.
    """
    connection = await connect(url, statement_timeout_s=None)
    try:
        with translated():
            return await _maintain(connection, now, keep or {}, patience_s)
    except DecisionStoreUnavailable as exc:
        if isinstance(exc.__cause__, asyncpg.LockNotAvailableError):
            raise DecisionStoreUnavailable("a partitioned table stayed in use; call again") from exc
        raise
    finally:
        await part_from(connection)


async def _maintain(
    connection: asyncpg.Connection, now: datetime | None, keep: Mapping[str, timedelta], patience_s: float
) -> Maintained:
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)  # ends with the connection
    await connection.execute(f"SET timezone = 'UTC'; SET lock_timeout = {int(patience_s * 1000)}")
    now = now or await connection.fetchval("SELECT now()")
    dashboards = await connection.fetchval("SELECT grant_to_dashboards()")
    kind = await connection.fetchval("SELECT relkind FROM pg_class WHERE oid = to_regclass('approved_transactions')")
    if kind != b"p":
        return Maintained(partitioned=False, dashboards=dashboards)
    made: list[str] = []
    dropped: list[str] = []
    moved = 0
    for kept in KEPT:
        for begin in await _missing(connection, kept, now):
            name, rows = await _make(connection, kept, begin)
            made.append(name)
            moved += rows
        oldest = now - keep.get(kept.table, kept.keep)
        for part in await _parts(connection, kept.table):
            if part.end <= oldest:
                await connection.execute(f"DROP TABLE {part.name}")
                dropped.append(part.name)
    return Maintained(partitioned=True, made=tuple(made), dropped=tuple(dropped), moved=moved, dashboards=dashboards)


async def _parts(connection: asyncpg.Connection, table: str) -> list[_Part]:
    """
    Return the partitions of a table but the default one.
    """
    found = [(row["name"], _BOUND.fullmatch(row["bound"])) for row in await connection.fetch(_PARTS, table)]
    return [
        _Part(name, None if bound[1] == "MINVALUE" else _moment(bound[1].strip("'")), _moment(bound[2]))
        for name, bound in found
        if bound is not None
    ]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def _missing(connection: asyncpg.Connection, kept: Kept, now: datetime) -> list[datetime]:
    """
    Return where partitions begin that should be there: of the coming time, and of rows that wait in the default one.
    """
    sql = f"SELECT DISTINCT date_bin($1, decided_at, $2) AS begin FROM {kept.table}_default"  # noqa: S608 names of our own
    waiting = await connection.fetch(sql, kept.width, _ORIGIN)
    steps = range(int(kept.ahead / kept.width) + 1)
    first = now - (now - _ORIGIN) % kept.width
    begins: Iterable[datetime] = {*(row["begin"] for row in waiting), *(first + step * kept.width for step in steps)}
    parts = await _parts(connection, kept.table)
    return [
        one for one in sorted(begins) if not any((part.begin is None or part.begin <= one) and one < part.end for part in parts)
    ]


async def _make(connection: asyncpg.Connection, kept: Kept, begin: datetime) -> tuple[str, int]:
    """
    Make one partition with the rows that wait for it; return its name and their number.
    """
    name, end = f"{kept.table}_{begin:%Y%m%d}", begin + kept.width
    async with connection.transaction():
        # Rows for this partition must not reach the default one meanwhile; those of other days go on.
        await connection.execute(f"LOCK TABLE {kept.table}_default IN ACCESS EXCLUSIVE MODE")
        await connection.execute(f"CREATE TABLE {name} (LIKE {kept.table} INCLUDING CONSTRAINTS)")
        done = await connection.execute(
            f"WITH moved AS (DELETE FROM {kept.table}_default WHERE decided_at >= $1 AND decided_at < $2 RETURNING *) "  # noqa: S608 names of our own
            f"INSERT INTO {name} SELECT * FROM moved", begin, end
        )  # fmt: skip
        await connection.execute(
            f"ALTER TABLE {kept.table} ATTACH PARTITION {name} FOR VALUES FROM ('{begin.isoformat()}') TO ('{end.isoformat()}')"
        )
    return name, int(done.split()[-1])
