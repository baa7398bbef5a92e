"""
Real servers for tests: one Valkey and one PostgreSQL per session, a clean piece of each per test, and own ones to break.
"""

import atexit
import functools
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.local import LocalPostgres, LocalValkey

#: A crash of the machine is not among the tests; a kill of the process loses nothing without these.
FAST = {"fsync": "off", "full_page_writes": "off"}
_TEMPLATE = "migrated"


class CopiedPostgres(LocalPostgres):
    """
    A PostgreSQL that is soon up: its cluster is a copy of one that this process has made once.
    """

    def __init__(self) -> None:
        super().__init__(settings=FAST, binaries=_made_cluster().programs)

    def _initialise(self, password: Path) -> None:
        made = _made_cluster()
        shutil.copyfile(made.folder / "password", password)
        subprocess.run(["cp", "--archive", str(made.data), str(self.data)], check=True)


class _Made(LocalPostgres):
    @property
    def programs(self) -> Path:
        """
        The programs that it ran: where root's wheel is out of reach for others, a copy.
        """
        return self._binaries


@functools.cache
def _made_cluster() -> _Made:
    """
    Return a cluster that nobody runs, made once.
    """
    made = _Made(settings=FAST)
    atexit.register(made.close)
    made.start()
    made.stop()
    return made


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[LocalValkey]:
    with LocalValkey() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[LocalPostgres]:
    with CopiedPostgres() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: LocalValkey) -> LocalValkey:
    """
    The session's Valkey, empty. Do not stop it: ask for ``own_valkey``.
    """
    with Redis.from_url(valkey_server.url) as client:
        client.flushall()
    return valkey_server


@pytest.fixture
def own_valkey() -> Iterator[LocalValkey]:
    """
    A Valkey of this test's own, which it may stop, kill and start.
    """
    with LocalValkey() as server:
        yield server


@pytest.fixture
async def own_postgres() -> AsyncIterator[LocalPostgres]:
    """
    A PostgreSQL of this test's own, migrated, which it may stop, kill and start.
    """
    with CopiedPostgres() as server:
        await migrate(server.url)
        yield server


@pytest.fixture
async def empty_database(postgres_server: LocalPostgres) -> AsyncIterator[str]:
    """
    The address of a fresh database without tables.
    """
    async for url in _database(postgres_server, "template0"):
        yield url


@pytest.fixture
async def database(postgres_server: LocalPostgres) -> AsyncIterator[str]:
    """
    The address of a fresh database with every migration applied.
    """
    await _make_template(postgres_server)
    async for url in _database(postgres_server, _TEMPLATE):
        yield url


async def _make_template(server: LocalPostgres) -> None:
    admin = await asyncpg.connect(server.url)
    try:
        if await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", _TEMPLATE):
            return
        await admin.execute(f"CREATE DATABASE {_TEMPLATE}")
    finally:
        await admin.close()
    await migrate(server.url_of(_TEMPLATE))


async def _database(server: LocalPostgres, template: str) -> AsyncIterator[str]:
    admin = await asyncpg.connect(server.url)
    try:
        name = f"test_{await admin.fetchval('SELECT txid_current()')}"
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield server.url_of(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
