"""
Bring a database to the tables of this version: numbered SQL files, forward only, each in a transaction of its own.
"""

import asyncio
import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import asyncpg

from fraudstream.adapters.postgres_errors import part_from
from fraudstream.domain.errors import ConfigurationError, DecisionStoreUnavailable

#: Key of the advisory lock that lets one migration run at a time ("fraudstr" as eight bytes).
_LOCK = int.from_bytes(b"fraudstr")
#: Endings of files for one kind of server: those that need the TimescaleDB extension, those that do without it for good.
_TIMESCALE, _PLAIN = ".timescale.sql", ".plain.sql"
#: What is over once whoever writes at the moment has finished: a lock held too long, or two who wait for each other.
_IN_USE = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
#: How often a migration that met that is tried, and the pause between in seconds.
_LOCKED_TRIES, _LOCKED_PAUSE_S = 5, 1.0
_BOOKKEEPING = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


def migrations_folder() -> Path:
    """
    Return where the SQL files are: inside the installed package, or beside it in a checkout.
    """
    package = Path(__file__).resolve().parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


async def migrate(url: str, folder: Path | None = None) -> list[str]:
    """
    Apply every migration that the database has not seen, in order, and return their names.

    A second call changes nothing; calls at the same time wait for each other. Files that end in ``.timescale.sql`` are applied
    where the extension is installed, or loaded by the server and installable; those that end in ``.plain.sql`` elsewhere. Once
    one of the latter is applied the database stays of that kind, whatever is installed later.

    Args:
        url: Where the database is; the user must own it or its tables.
        folder: Where the SQL files are; None for those of this version.

    Raises:
        ConfigurationError: A file was changed after it was applied, or the database refused one; nothing of that file stays.
        DecisionStoreUnavailable: PostgreSQL did not answer.
    """
    files = sorted((folder or migrations_folder()).glob("[0-9]*.sql"))
    if not files:
        raise ConfigurationError(f"there are no migrations in {folder or migrations_folder()}; the installation is incomplete")
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise DecisionStoreUnavailable(f"PostgreSQL did not let us in: {exc}") from exc
    try:
        return await _apply(connection, files)
    except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as exc:
        raise DecisionStoreUnavailable(f"PostgreSQL went away during the migration: {exc}") from exc
    finally:
        await part_from(connection)


async def _apply(connection: asyncpg.Connection, files: list[Path]) -> list[str]:
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)  # ends with the connection
    await connection.execute("SET client_min_messages = warning")
    await connection.execute(_BOOKKEEPING)
    known = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT name, sha256 FROM schema_migrations")}
    timescale = not any(name.endswith(_PLAIN) for name in known) and await _has_timescale(connection)
    applied = []
    for file in files:
        sql = file.read_text(encoding="utf-8")
        digest = hashlib.sha256(sql.encode()).hexdigest()
        if file.name in known:
            _refuse_change(file.name, known[file.name], digest)
        elif is_for(file.name, timescale=timescale):
            await _apply_one(connection, file.name, sql, digest)
            applied.append(file.name)
    return applied


def is_for(name: str, *, timescale: bool) -> bool:
    """
    Say whether a migration is one for this kind of server.
    """
    return not name.endswith(_PLAIN if timescale else _TIMESCALE)


def wanted(names: Iterable[str], applied: Iterable[str], *, timescale: bool) -> set[str]:
    """
    Return the migrations that a database of this kind should have; ``timescale`` says whether it has the extension.
    """
    partitioned = any(name.endswith(_PLAIN) for name in applied)
    return {name for name in names if is_for(name, timescale=timescale and not partitioned)}


def _refuse_change(name: str, applied: str, digest: str) -> None:
    if applied != digest:
        raise ConfigurationError(f"migration {name} differs from what was applied; migrations are forward only, add a new one")


async def _apply_one(connection: asyncpg.Connection, name: str, sql: str, digest: str) -> None:
    try:
        for _ in range(_LOCKED_TRIES - 1):
            with suppress(*_IN_USE):
                return await _in_one_transaction(connection, name, sql, digest)
            await asyncio.sleep(_LOCKED_PAUSE_S)
        return await _in_one_transaction(connection, name, sql, digest)
    except asyncpg.PostgresConnectionError:
        raise
    except _IN_USE as exc:
        raise DecisionStoreUnavailable(f"migration {name} found its tables in use and left nothing behind; call again") from exc
    except asyncpg.PostgresError as exc:
        raise ConfigurationError(f"migration {name} was refused and left nothing behind: {exc}") from exc


async def _in_one_transaction(connection: asyncpg.Connection, name: str, sql: str, digest: str) -> None:
    async with connection.transaction():
        await connection.execute(sql)
        await connection.execute("INSERT INTO schema_migrations (name, sha256) VALUES ($1, $2)", name, digest)


async def _has_timescale(connection: asyncpg.Connection) -> bool:
    """
    Say whether the extension is there, installing it where the server has it loaded.
    """
    if await connection.fetchval("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"):
        return True
    # Creating the extension on a server that has not preloaded its library ends the session: its settings show that it has.
    loaded = await connection.fetchval("SELECT count(*) FROM pg_settings WHERE name LIKE 'timescaledb.%'")
    available = await connection.fetchval("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'")
    if not (loaded and available):
        return False
    await connection.execute("CREATE EXTENSION timescaledb")
    return True
