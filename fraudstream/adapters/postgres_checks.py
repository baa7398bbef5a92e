"""
Whether a database can be reached and has the tables of this version; nothing is changed.
"""

from pathlib import Path

import asyncpg
import msgspec

from fraudstream.adapters.postgres_errors import part_from, translated
from fraudstream.adapters.postgres_migrations import migrations_folder, wanted
from fraudstream.domain.errors import InvalidSettings

#: Longest wait for the database, in seconds: somebody looks at a screen meanwhile.
TIMEOUT_S = 3.0


class DatabaseState(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a database said: ``missing`` are migrations of this version that it has not seen, ``unknown`` those of another one.

    ``timescale`` is the version of the extension, empty without it. ``writable`` is False on a standby.
    """

    version: str
    timescale: str
    writable: bool
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


async def check_database(url: str, folder: Path | None = None) -> DatabaseState:
    """
    Look at a database once.

    Args:
        url: Where it is.
        folder: Where the SQL files are; None for those of this version.

    Raises:
        InvalidSettings: The address cannot be used. The text does not repeat it: it may hold a password.
        DecisionStoreUnavailable: It did not answer, or did not let us in.
    """
    with translated():
        try:
            connection = await asyncpg.connect(url, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
        except (asyncpg.ClientConfigurationError, ValueError, FileNotFoundError, PermissionError) as exc:
            raise InvalidSettings(f"POSTGRES_URL cannot be used ({type(exc).__name__})") from None
        try:
            return await _state(connection, _migrations(folder or migrations_folder()))
        finally:
            await part_from(connection)


def _migrations(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("[0-9]*.sql")}


async def _state(connection: asyncpg.Connection, ours: set[str]) -> DatabaseState:
    version = await connection.fetchval("SHOW server_version")
    timescale = await connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'") or ""
    standby = await connection.fetchval("SELECT pg_is_in_recovery()")
    applied: set[str] = set()
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is not None:
        applied = {row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations")}
    return DatabaseState(
        version=version,
        timescale=timescale,
        writable=not standby,
        missing=tuple(sorted(wanted(ours, applied, timescale=bool(timescale)) - applied)),
        unknown=tuple(sorted(applied - ours)),
    )
