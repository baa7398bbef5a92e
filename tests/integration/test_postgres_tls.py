import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.domain.errors import DecisionStoreUnavailable, InvalidSettings
from fraudstream.local import LocalPostgres
from tests.support.builders import a_decision
from tests.support.certificates import Authority, Pair
from tests.support.debian import debian_postgres
from tests.support.servers import FAST

#: Passwords over TLS from anybody; user ``worker`` by its certificate alone; nothing in the clear.
ACCESS = """
hostssl all worker 127.0.0.1/32 cert
hostssl all postgres 127.0.0.1/32 scram-sha-256
hostnossl all all 127.0.0.1/32 reject
"""


class Guarded(NamedTuple):
    server: LocalPostgres
    authority: Authority
    stranger: Authority
    client: Pair


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    binaries = debian_postgres()
    folder = tmp_path_factory.mktemp("tls")
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    with LocalPostgres(binaries=binaries, settings=FAST) as server:
        server.stop()
        place(server, authority, authority.sign("postgres-server"))
        secured = LocalPostgres(
            binaries=binaries,
            folder=server.folder,
            settings={
                **FAST,
                "ssl": "on",
                "ssl_cert_file": "server.crt",
                "ssl_key_file": "server.key",
                "ssl_ca_file": "ca.crt",
                "hba_file": str(server.folder / "access.conf"),
            },
        )
        with secured:
            yield Guarded(secured, authority, stranger, authority.sign("worker"))


def place(server: LocalPostgres, authority: Authority, pair: Pair) -> None:
    """
    Put the server's certificates where it looks for them, as its user's.
    """
    (server.folder / "access.conf").write_text(ACCESS)
    server._owner.give(server.folder / "access.conf")
    for source, name in ((authority.certificate, "ca.crt"), (pair.certificate, "server.crt"), (pair.key, "server.key")):
        server._owner.give(Path(shutil.copy(source, server.data / name))).chmod(0o600)


async def record_one(url: str) -> int:
    store = PostgresDecisionStore(url)
    try:
        await store.open()
        return len((await store.record([a_decision()])).stored)
    finally:
        await store.close()


async def test_a_whole_connection_is_checked_against_our_own_authority(guarded: Guarded) -> None:
    url = f"{guarded.server.url}?sslmode=verify-full&sslrootcert={guarded.authority.certificate}"

    await migrate(url)

    assert await record_one(url) == 1
    client = await asyncpg.connect(url)
    assert await client.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    await client.close()


async def test_a_client_certificate_lets_a_worker_in_without_password(guarded: Guarded) -> None:
    admin_url = f"{guarded.server.url}?sslmode=verify-full&sslrootcert={guarded.authority.certificate}"
    await migrate(admin_url)
    admin = await asyncpg.connect(admin_url)
    await admin.execute("CREATE ROLE worker LOGIN SUPERUSER")
    await admin.close()
    words = {
        "sslmode": "verify-full",
        "sslrootcert": guarded.authority.certificate,
        "sslcert": guarded.client.certificate,
        "sslkey": guarded.client.key,
    }
    url = f"postgresql://worker@127.0.0.1:{guarded.server.port}/postgres?" + "&".join(
        f"{key}={value}" for key, value in words.items()
    )

    assert await record_one(url) == 1
    with pytest.raises(DecisionStoreUnavailable, match="certificate"):
        await record_one(url.partition("&sslcert")[0])


async def test_a_server_of_a_strange_authority_is_refused_at_the_start_and_blames_no_row_later(guarded: Guarded) -> None:
    store = PostgresDecisionStore(f"{guarded.server.url}?sslmode=verify-full&sslrootcert={guarded.stranger.certificate}")

    with pytest.raises(InvalidSettings, match="CERTIFICATE_VERIFY_FAILED"):
        await store.open()
    with pytest.raises(DecisionStoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await store.record([a_decision()])
    await store.close()


async def test_a_connection_in_the_clear_is_refused(guarded: Guarded) -> None:
    with pytest.raises(DecisionStoreUnavailable, match=r"no encryption|rejects"):
        await record_one(f"{guarded.server.url}?sslmode=disable")


async def test_a_server_without_tls_is_refused_where_tls_is_asked_for(postgres_server: LocalPostgres) -> None:
    with pytest.raises(DecisionStoreUnavailable, match="rejected SSL upgrade"):
        await record_one(f"{postgres_server.url}?sslmode=require")
