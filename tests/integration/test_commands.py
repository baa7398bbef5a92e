"""
The commands that the documentation shows, word for word, as processes.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from redis import Redis

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.local import LocalValkey
from tests.support.system import recorded_ids, wait_until_done
from tests.support.wait import wait_until_sync

ROOT = Path(__file__).parents[2]


def environment(valkey: LocalValkey, database: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FRAUDSTREAM_", "REDIS_", "POSTGRES_"))}
    return {**kept, "REDIS_URL": valkey.url, "POSTGRES_URL": database}


@contextmanager
def running(command: str, given: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = command.split()
    assert words[0] == "python"
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, *words[1:]], cwd=ROOT, env=given, stdout=file, stderr=file)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    assert code == 0, f"{command} ended with {code} after SIGTERM: {log.read_text()[-2000:]}"


def producer(given: dict[str, str], *words: str, stdin: bytes = b"") -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "cmd/producer.py", "--stream", "transactions:raw", "--json", "--quiet", *words],
        cwd=ROOT, env=given, input=stdin, capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    found: dict[str, int] = json.loads(done.stdout)["data"]
    return found


async def test_the_scripts_carry_payments_from_the_shell_to_rows_and_alerts(
    valkey: LocalValkey, database: str, tmp_path: Path
) -> None:
    given = environment(valkey, database)
    with (
        Redis.from_url(valkey.url) as client,
        running("python cmd/consumer.py --group fraud-check --stream transactions:raw", given, tmp_path / "rules"),
        running("python cmd/consumer.py --group ml-scoring --stream transactions:raw", given, tmp_path / "model"),
        running("python cmd/consumer.py --group recorder --stream transactions:decisions", given, tmp_path / "recorder"),
        running("python cmd/alerter.py --stream transactions:fraud --group alerter", given, tmp_path / "alerter"),
    ):
        sent = producer(given, "--limit", "150", "--rate", "300")
        wait_until_done(client, ("fraud-check", "ml-scoring", "recorder", "alerter"))

        assert sent["appended"] == 150
        assert len(await recorded_ids(database)) == 150


async def test_the_name_of_older_deployments_serves_both_deciding_groups(
    valkey: LocalValkey, database: str, tmp_path: Path
) -> None:
    given = environment(valkey, database)
    lines = b"\n".join(b'{"transaction_id":"line_%d","amount":3,"timestamp":%d}' % (n, 1_747_000_000) for n in range(20))
    with Redis.from_url(valkey.url) as client:
        sent = producer(given, "--input", "-", "--allow-late", stdin=lines)
        with running("python cmd/consumer.py --group fraud-group --stream transactions:raw", given, tmp_path / "both"):
            wait_until_done(client, ("fraud-check", "ml-scoring"))

        assert sent["appended"] == 20
        assert sum(map(len, (fields for _, fields in client.xrange("transactions:decisions")))) == 20


def test_history_is_refused_without_a_word_that_it_is_meant(valkey: LocalValkey, tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    history.write_text('{"transaction_id":"old","amount":3,"timestamp":1747000000}\n')

    done = subprocess.run(
        [sys.executable, "cmd/producer.py", "--input", str(history)],
        cwd=ROOT, env=environment(valkey, ""), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 3
    assert "--allow-late" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["cmd/consumer.py", "--group", "nobody"], 3, "ml-scoring"),
        (["cmd/consumer.py", "--redis-url", "redis://127.0.0.1:1/0"], 4, "127.0.0.1"),
        (["cmd/consumer.py", "--group", "recorder"], 3, "POSTGRES_URL"),
        (["cmd/consumer.py", "--group", "recorder", "--stream", "transactions:raw"], 3, "transactions:decisions"),
        (["cmd/alerter.py", "--stream", "transactions:raw"], 3, "transactions:fraud"),
        (["-m", "fraudstream", "db", "migrate"], 3, "POSTGRES_URL"),
    ],
)
def test_what_cannot_work_is_refused_in_words(words: list[str], code: int, says: str, valkey: LocalValkey) -> None:
    given = environment(valkey, "")

    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_accounts_for_every_payment_and_leaves_nothing_running() -> None:
    mark = f"demo-{uuid.uuid4()}"

    done = subprocess.run(
        [sys.executable, "-m", "fraudstream", "demo", "--json", "--transactions", "1500", "--rate", "0"],
        cwd=ROOT, env={**os.environ, "MARK_OF_TEST": mark}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    data = report["data"]
    assert report["schema"] == "fraudstream.demo/1"
    assert data["produced"] == 1500
    assert data["produced"] == data["decided"] + data["duplicates"] + data["dead_lettered"]
    assert data["decided"] == data["recorded"] == sum(data["outcomes"].values())
    assert data["alerts_sent"] == data["flagged"] > 0
    assert data["latency_ms"].keys() == {"p50", "p95", "p99"}
    assert 0 < data["detection"]["average_precision"] < 1
    wait_until_sync(lambda: not _marked(mark), "the demo's processes to be gone")


def _marked(mark: str) -> list[int]:
    """
    Return the processes that inherited a mark from the demo.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("MARK_OF_TEST") == mark:
                found.append(process.pid)
    return found


def test_a_kept_demo_says_where_it_is_and_how_to_stop_it() -> None:
    mark = f"demo-{uuid.uuid4()}"
    done = subprocess.run(
        [sys.executable, "-m", "fraudstream", "demo", "--keep", "--transactions", "200", "--rate", "0", "--quiet"],
        cwd=ROOT, env={**os.environ, "MARK_OF_TEST": mark}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    kill = done.stderr.rpartition("Stop it with: kill ")[2].split()
    try:
        assert done.returncode == 0, done.stderr
        address = re.search(r"REDIS_URL=(\S+)", done.stderr)
        assert address is not None
        with Redis.from_url(address[1]) as client:
            assert client.xinfo_groups("transactions:raw")[0]["pending"] == 0
    finally:
        for pid in kill:
            os.kill(int(pid), signal.SIGTERM)
    wait_until_sync(lambda: not _marked(mark), "what was kept to stop")


async def test_the_migrations_are_applied_once_and_say_so(empty_database: str) -> None:
    given = {**os.environ, "POSTGRES_URL": empty_database}
    words = [sys.executable, "-m", "fraudstream", "db", "migrate"]

    async def once() -> str:
        done = await asyncio.to_thread(subprocess.run, words, env=given, capture_output=True, text=True, check=True)
        return str(done.stdout)

    first, second = await once(), await once()

    assert first.startswith("applied 0001")
    assert "nothing to apply" in second
    assert await migrate(empty_database) == []


def test_help_leads_somewhere() -> None:
    done = subprocess.run([sys.executable, "-m", "fraudstream", "--help"], capture_output=True, text=True, check=True)

    assert "demo" in done.stdout
    assert "worker" in done.stdout
