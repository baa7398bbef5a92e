import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
from redis import Redis

from fraudstream.local import LocalPostgres, LocalServer, LocalServerFailed, LocalValkey
from fraudstream.local.owner import unprivileged
from fraudstream.local.postgres import copy_programs
from tests.support.servers import FAST
from tests.support.wait import wait_until_sync

STARTER = """
import sys
from fraudstream.local import LocalPostgres, LocalValkey
servers = [LocalValkey().start(), LocalPostgres(settings={"fsync": "off"}).start()]
print(*[f"{server.pid} {server.folder}" for server in servers], sep="\\n", flush=True)
sys.stdin.readline()
"""


def test_valkey_is_set_up_as_a_deployment_must_be(valkey: LocalValkey) -> None:
    with Redis.from_url(valkey.url, decode_responses=True) as client:
        names = ("appendonly", "appendfsync", "maxmemory-policy", "auto-aof-rewrite-min-size")
        found = {name: client.config_get(name)[name] for name in names}

    assert found == {
        "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction",
        "auto-aof-rewrite-min-size": str(4 << 30),
    }  # fmt: skip


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_valkey_comes_back_on_the_same_port_with_what_it_was_told(own_valkey: LocalValkey, end: str) -> None:
    url = own_valkey.url
    with Redis.from_url(url) as client:
        client.set("kept", "yes")

    getattr(own_valkey, end)()
    assert not own_valkey.running
    own_valkey.start()

    assert own_valkey.url == url
    with Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_postgres_comes_back_on_the_same_port_with_what_it_was_told(own_postgres: LocalPostgres, end: str) -> None:
    url = own_postgres.url
    client = await asyncpg.connect(url)
    await client.execute("CREATE TABLE kept AS SELECT 1 AS one")

    getattr(own_postgres, end)()
    client.terminate()
    assert not own_postgres.running
    own_postgres.start()

    assert own_postgres.url == url
    client = await asyncpg.connect(url)
    assert await client.fetchval("SELECT one FROM kept") == 1
    await client.close()


async def test_postgres_wants_its_password(postgres_server: LocalPostgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres_server.url, password="guessed")


def test_postgres_does_not_run_as_root(postgres_server: LocalPostgres) -> None:
    assert psutil.Process(postgres_server.pid).uids().effective != 0


@pytest.mark.parametrize("kind", [LocalValkey, LocalPostgres])
def test_close_leaves_no_process_and_no_folder(kind: type[LocalServer]) -> None:
    server = kind().start()  # type: ignore[call-arg]
    everybody = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    mode = stat.S_IMODE(server.folder.stat().st_mode)

    server.close()

    assert mode == 0o700
    assert not server.folder.exists()
    wait_until_sync(lambda: not any(process.is_running() for process in everybody), "the server's processes to be gone")


def test_servers_and_folders_go_when_their_starter_is_killed() -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    assert starter.stdin is not None
    left = [starter.stdout.readline().split() for _ in range(2)]
    processes = [psutil.Process(int(pid)) for pid, _ in left]
    folders = [Path(folder) for _, folder in left]

    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    starter.stdin.close()

    wait_until_sync(lambda: not any(process.is_running() for process in processes), "the orphaned servers to be gone")
    wait_until_sync(lambda: not any(folder.exists() for folder in folders), "their folders to be gone")


def test_a_server_that_is_left_running_outlives_its_starter(tmp_path: Path) -> None:
    code = f"""
import warnings
from pathlib import Path
from fraudstream.local import LocalValkey
server = LocalValkey(folder=Path({str(tmp_path)!r})).start()
print(server.leave_running())
"""
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    process = psutil.Process(int(answer.stdout))

    assert process.is_running()
    process.terminate()
    psutil.wait_procs([process], timeout=10)


def test_a_server_that_cannot_start_says_why() -> None:
    server = LocalValkey(arguments=["--no-such-option", "1"])

    with pytest.raises(LocalServerFailed, match="no-such-option"):
        server.start()
    server.close()


def test_a_server_that_cannot_start_leaves_no_folder() -> None:
    server = LocalValkey(arguments=["--no-such-option", "1"])

    with pytest.raises(LocalServerFailed), server:
        pytest.fail("it started")

    assert not server.folder.exists()


def test_a_port_taken_between_look_and_launch_is_given_up(own_valkey: LocalValkey) -> None:
    server = LocalValkey()
    server.port = own_valkey.port

    server.start()

    assert server.port != own_valkey.port
    server.close()


def test_the_process_id_of_a_stopped_server_is_refused() -> None:
    server = LocalValkey()

    with pytest.raises(LocalServerFailed, match="not running"):
        _ = server.pid
    server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
def test_root_may_not_name_a_folder_that_the_server_cannot_reach(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o700)

    with pytest.raises(LocalServerFailed, match="out of reach"):
        LocalPostgres(folder=tmp_path / "locked" / "cluster")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")
async def test_programs_that_the_user_cannot_reach_are_copied(tmp_path: Path, postgres_server: LocalPostgres) -> None:
    hidden = copy_programs(postgres_server._binaries, tmp_path / "programs")

    with LocalPostgres(binaries=hidden, settings=FAST) as server:
        client = await asyncpg.connect(server.url)
        assert await client.fetchval("SELECT 1") == 1
        await client.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_an_ordinary_user_starts_postgres(postgres_server: LocalPostgres) -> None:
    user = unprivileged()
    with LocalValkey() as room:
        room.folder.chmod(0o755)
        programs = copy_programs(postgres_server._binaries, room.folder / "programs")
        code = f"""
import os, sys
from pathlib import Path
from fraudstream.local import LocalPostgres
os.setgroups([]); os.setgid({user.gid}); os.setuid({user.uid})
with LocalPostgres(binaries=Path({str(programs)!r})) as server:
    print(server.running)
"""
        answer = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert answer.stdout == "True\n", answer.stderr


def test_an_owner_is_somebody_without_rights() -> None:
    owner = unprivileged()

    assert (os.geteuid() if owner.uid is None else owner.uid) != 0
