"""
What somebody sees who asks how the system is: a real one, at work and in trouble.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from typer.testing import CliRunner, Result

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.app.local_system import LocalSystem
from fraudstream.cli.main import app
from fraudstream.local import LocalValkey
from fraudstream.local.process import free_port
from fraudstream.local.worker import LocalWorker
from tests.support.fake_slack import fake_slack
from tests.support.nursery import ROOT, Order, start
from tests.support.system import a_system, append, payments, wait_until_done
from tests.support.wait import wait_until_sync

ALL = ("fraud-check", "ml-scoring", "recorder", "alerter")


#: Seconds of silence after which a worker counts as gone: where none dies, a busy machine must not look like a death.
PATIENT, BRISK = "60", "3"


@contextmanager
def running(heartbeat_life_s: str = PATIENT) -> Iterator[tuple[LocalSystem, Redis]]:
    """
    A migrated system whose workers have finished some payments.
    """
    lives = {"heartbeat_life_s": heartbeat_life_s, "claim_idle_s": heartbeat_life_s}
    with a_system(ALL, **lives) as system, Redis.from_url(system.valkey.url) as client:
        asyncio.run(migrate(system.postgres.url))
        system.start_workers()
        append(client, payments(200))
        wait_until_done(client, ALL)
        yield system, client


@pytest.fixture(scope="module")
def healthy() -> Iterator[tuple[LocalSystem, Redis]]:
    with running() as found:
        yield found


def fraudstream(system: LocalSystem | LocalValkey, *words: str, **more: str) -> Result:
    """
    Type a command beside a system, as somebody with its settings.
    """
    kept = {name for name in os.environ if name.startswith(("FRAUDSTREAM_", "REDIS_", "POSTGRES_"))}
    given = system.environment() if isinstance(system, LocalSystem) else {"REDIS_URL": system.url}
    ours = {name: value for name, value in given.items() if name.startswith(("FRAUDSTREAM_", "REDIS_", "POSTGRES_"))}
    return CliRunner().invoke(app, list(words), env={**dict.fromkeys(kept), **ours, **more})


def data_of(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)["data"]
    return found


def says(result: Result) -> str:
    """
    What failed or should be looked at, of a command's JSON.
    """
    return "\n".join(
        f"{one['about']}: {one['says']} -> {one['command']}" for one in data_of(result)["findings"] if one["level"] != "ok"
    )


def failed(result: Result) -> list[str]:
    return [one["about"] for one in data_of(result)["findings"] if one["level"] == "fail"]


def test_a_system_at_work_is_healthy_in_the_first_line(healthy: tuple[LocalSystem, Redis]) -> None:
    result = fraudstream(healthy[0], "status")

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("healthy"), "a busy machine may leave something to look at"
    assert len(result.stdout.splitlines()) <= 24, "one screen"
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_status_is_one_object_for_machines(healthy: tuple[LocalSystem, Redis]) -> None:
    result = fraudstream(healthy[0], "status", "--json")

    assert json.loads(result.stdout)["schema"] == "fraudstream.status/1"
    data = data_of(result)
    assert data["healthy"] is True
    assert {one["group"]: one["workers"] for one in data["groups"]} == {**dict.fromkeys(ALL, 1), "labels": 0}
    assert {one["lag_entries"] for one in data["groups"]} == {0}


def test_watching_looks_again_and_again(healthy: tuple[LocalSystem, Redis]) -> None:
    result = fraudstream(healthy[0], "status", "--watch", "--every", "50ms", "--times", "3", "--json")

    looks = [json.loads(line)["data"]["at_ms"] for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert len(looks) == 3
    assert looks[2] - looks[0] >= 90, "two pauses, by a clock that is not that of the pauses"


def test_lag_is_a_check(healthy: tuple[LocalSystem, Redis]) -> None:
    fine = fraudstream(healthy[0], "lag", "--json")
    one = fraudstream(healthy[0], "lag", "--group", "recorder")
    unknown = fraudstream(healthy[0], "lag", "--group", "recoder")

    assert (fine.exit_code, one.exit_code, unknown.exit_code) == (0, 0, 2)
    assert {group["group"]: group["over"] for group in data_of(fine)["groups"]} == dict.fromkeys([*ALL, "labels"], False)
    assert [line.split()[1] for line in one.stdout.splitlines()] == ["GROUP", "recorder"]


def test_streams_pending_and_workers_are_listed(healthy: tuple[LocalSystem, Redis]) -> None:
    streams, pending, workers = (fraudstream(healthy[0], command, "--json") for command in ("streams", "pending", "workers"))

    assert {one["stream"]: one["groups"] for one in data_of(streams)["streams"]}["transactions:raw"] == 2
    assert data_of(pending) == {"entries": []}
    states = sorted((one["group"], one["state"]) for one in data_of(workers)["workers"])
    assert states == [
        ("alerter", "alive"),
        ("fraud-check", "alive"),
        ("fraud-check", "stepping in"),
        ("ml-scoring", "alive"),
        ("ml-scoring", "stepping in"),
        ("recorder", "alive"),
    ]


def test_the_doctor_finds_nothing_to_cure_and_shows_no_secret(healthy: tuple[LocalSystem, Redis]) -> None:
    result = fraudstream(healthy[0], "doctor", "--between", "100ms")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("healthy: 0 failed")
    for about in ("redis", "memory", "group fraud-check", "database", "features", "rules", "model", "dead letters", "alerts"):
        assert f"ok    {about}: " in result.stdout
    assert "POSTGRES_URL holds a secret in the environment" in result.stdout
    assert healthy[0].postgres.password not in result.output


def test_the_monitor_shows_the_backlog_until_it_is_told_to_stop(healthy: tuple[LocalSystem, Redis]) -> None:
    system, client = healthy
    expected = {
        ("fraudstream_stream_max_entries", "transactions:raw"): 1_000_000,
        ("fraudstream_group_lag_entries", "transactions:decisions", "recorder"): 0,
        ("fraudstream_group_lag_unknown", "transactions:decisions", "recorder"): 0,
        ("fraudstream_group_pending_entries", "transactions:fraud", "alerter"): 0,
        ("fraudstream_group_consumers", "transactions:raw", "ml-scoring", "active"): 1,
        ("fraudstream_dlq_entries", "transactions:dlq"): 0,
    }
    entries = "fraudstream_stream_entries", "transactions:raw"
    with monitoring(system.valkey.url) as page:
        wait_until_sync(lambda: expected.items() <= gauges(page()).items(), "a whole look")
        wait_until_sync(lambda: gauges(page()).get(entries) == client.xlen("transactions:raw"), "what is trimmed is gone")

        assert not any("labels" in labels and name.startswith("fraudstream_group") for name, *labels in gauges(page()))


def test_the_monitor_shows_nothing_while_redis_is_away(own_valkey: LocalValkey) -> None:
    with monitoring(own_valkey.url) as page, Redis.from_url(own_valkey.url) as client:
        client.xadd("transactions:raw", {"data": "{}"})
        unserved = ("fraudstream_group_consumers", "transactions:raw", "ml-scoring", "active")
        wait_until_sync(lambda: gauges(page()).get(unserved) == 0, "a group that nobody ever served")

        own_valkey.kill()
        wait_until_sync(lambda: "fraudstream_stream_entries{" not in page(), "the old figures to go")
        own_valkey.start()
        wait_until_sync(lambda: "fraudstream_stream_entries{" in page(), "new figures")


@contextmanager
def monitoring(redis_url: str) -> Iterator[Callable[[], str]]:
    port = free_port()
    words = ["monitor", "start", "--interval", "100ms", "--metrics-port", str(port)]
    order = Order("fraudstream", words, {"PATH": os.environ["PATH"], "REDIS_URL": redis_url}, str(ROOT))
    process = start(order, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def page() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
                return str(reply.read(), "utf-8")
        except OSError:
            return ""

    try:
        wait_until_sync(lambda: "fraudstream_build_info" in page(), "the monitor")
        yield page
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0


def gauges(page: str) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = (sample.labels[name] for name in ("stream", "group", "state") if name in sample.labels)
            found[sample.name, *labels] = sample.value
    return found


def kill(worker: LocalWorker) -> None:
    worker.kill()


def freeze(worker: LocalWorker) -> None:
    os.kill(worker.pid, signal.SIGSTOP)


def thaw(worker: LocalWorker) -> None:
    os.kill(worker.pid, signal.SIGCONT)


@pytest.mark.parametrize(("trouble", "cure"), [(kill, LocalWorker.start), (freeze, thaw)], ids=["killed", "stuck"])
def test_a_group_without_a_worker_is_named_by_status_and_doctor_until_it_is_back(
    trouble: Callable[[LocalWorker], object], cure: Callable[[LocalWorker], object]
) -> None:
    with running(BRISK) as (system, _):
        (victim,) = (worker for worker in system.workers if worker.groups == "ml-scoring")
        trouble(victim)

        # On a busy machine another group may seem gone for a moment too; what is promised is that they say so until it is back.
        named = "UNHEALTHY: group ml-scoring"
        text = settled(system, "status", so=lambda found: found.stdout.splitlines()[0] == named)
        settled(system, "status", "--json", so=lambda found: failed(found) == ["group ml-scoring"])
        doctor = settled(
            system, "doctor", "--json", "--between", "100ms", so=lambda found: failed(found) == ["group ml-scoring"]
        )
        workers = fraudstream(system, "workers", "--group", "ml-scoring", "--json")
        cure(victim)
        settled(system, "status", so=lambda found: found.exit_code == 0)

        assert "-> fraudstream worker start --group ml-scoring" in text.stdout
        assert (text.exit_code, doctor.exit_code) == (1, 1)
        assert "decided without the model" in says(doctor)
        assert sorted(one["state"] for one in data_of(workers)["workers"]) == ["gone", "stepping in"]


def settled(system: LocalSystem, *words: str, so: Callable[[Result], bool]) -> Result:
    """
    Ask until the answer is so, and return it.
    """
    answers: list[Result] = []

    def asked() -> bool:
        answers.append(fraudstream(system, *words))
        return so(answers[-1])

    wait_until_sync(asked, f"{words} to say so")
    return answers[-1]


def test_a_recorder_that_was_killed_leaves_a_backlog_that_lag_and_pending_show() -> None:
    with running(BRISK) as (system, client):
        (victim,) = (worker for worker in system.workers if worker.groups == "recorder")
        victim.kill()
        append(client, payments(50, seed=9))
        wait_until_done(client, ("fraud-check", "ml-scoring", "alerter"))
        wait_until_sync(lambda: fraudstream(system, "status").exit_code == 1, "status to notice")

        lag = fraudstream(system, "lag", "--group", "recorder", "--max-entries", "0", "--json")
        young = fraudstream(system, "lag", "--group", "recorder", "--max-seconds", "10m")
        doctor = fraudstream(system, "doctor", "--json", "--between", "100ms")

        assert lag.exit_code == 1
        assert data_of(lag)["groups"][0]["lag_entries"] == unread_by(client, "recorder") > 0
        assert young.exit_code == 0
        assert "wait to be stored" in says(doctor)


def unread_by(client: Redis, group: str) -> int:
    (info,) = (one for one in client.xinfo_groups("transactions:decisions") if one["name"].decode() == group)
    return len(client.xrange("transactions:decisions", "(" + info["last-delivered-id"].decode(), "+"))


def test_a_database_that_was_stopped_is_named_and_what_waits_for_it_is_shown() -> None:
    with running() as (system, client):
        system.postgres.stop()
        append(client, payments(50, seed=9))
        wait_until_done(client, ("fraud-check", "ml-scoring", "alerter"))

        status, doctor = fraudstream(system, "status", "--json"), fraudstream(system, "doctor", "--json", "--between", "100ms")
        wait_until_sync(lambda: data_of(fraudstream(system, "pending", "--json"))["entries"], "entries in the recorder's hands")
        pending = fraudstream(system, "pending", "--group", "recorder")
        password = system.postgres.password
        system.postgres.start()
        wait_until_done(client, ALL)
        again = fraudstream(system, "status")

        assert (status.exit_code, doctor.exit_code, again.exit_code) == (1, 1, 0)
        # The cause comes first. What follows from it may come after: between two looks nothing was read while something waits.
        assert failed(status)[0] == failed(doctor)[0] == "database"
        assert {*failed(status), *failed(doctor)} <= {"database", "group recorder"}
        assert "PostgreSQL is not reachable, decisions wait to be stored" in says(status)
        assert "recorder" in pending.stdout
        assert not any(password in result.output for result in (status, doctor, pending))


def test_poison_is_told_apart_by_its_reason_and_does_not_make_the_system_unhealthy() -> None:
    with running() as (system, client):
        append(client, [b"no json", b"no json either", b'{"amount": 3}'])
        wait_until_done(client, ALL)

        status, doctor = fraudstream(system, "status"), fraudstream(system, "doctor", "--json", "--between", "100ms")

        assert (status.exit_code, doctor.exit_code) == (0, 0)
        assert re.fullmatch(r"healthy, \d+ to look at", status.stdout.splitlines()[0])
        assert "3 dead letters (decode_error 2, schema_invalid 1" in says(doctor)
        assert "a producer writes what is no JSON object" in says(doctor)


@pytest.mark.parametrize(
    ("setting", "value", "names"),
    [
        ("maxmemory-policy", "allkeys-lru", "redis-cli CONFIG SET maxmemory-policy noeviction"),
        ("appendonly", "no", "redis-cli CONFIG SET appendonly yes"),
        ("maxmemory", "4mb", "producers are refused above 80%"),
    ],
)
def test_a_redis_that_is_set_up_wrongly_is_named_with_its_cure(
    own_valkey: LocalValkey, setting: str, value: str, names: str
) -> None:
    with Redis.from_url(own_valkey.url) as client:
        client.set("ballast", b"x" * 3_000_000)
        client.config_set(setting, value)

        status = fraudstream(own_valkey, "status", "--json")
        doctor = fraudstream(own_valkey, "doctor", "--json", "--between", "10ms")

    assert (status.exit_code, doctor.exit_code) == (1, 1)
    assert names in says(status)
    assert names in says(doctor)


@pytest.mark.parametrize("command", ["status", "lag", "streams", "pending", "workers", "doctor"])
def test_a_redis_that_is_away_is_exit_4(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--redis-url", "redis://:hidden-word@127.0.0.1:1/0"])

    assert result.exit_code == 4
    assert "127.0.0.1" in result.output
    assert "hidden-word" not in result.output
    assert "Traceback" not in result.output


def test_whoever_watches_sees_redis_come_back(own_valkey: LocalValkey, tmp_path: Path) -> None:
    own_valkey.stop()
    with watching(own_valkey.url, tmp_path / "seen") as seen:
        wait_until_sync(lambda: "UNREACHABLE" in seen(), "the outage")
        own_valkey.start()
        wait_until_sync(lambda: "transactions:raw" in seen(), "the next look")


@contextmanager
def watching(redis_url: str, screen: Path) -> Iterator[Callable[[], str]]:
    words, environment = ["lag", "--watch", "--every", "50ms"], {"PATH": os.environ["PATH"], "REDIS_URL": redis_url}
    with screen.open("wb") as output:
        process = start(Order("fraudstream", words, environment, str(ROOT)), stdout=output, stderr=output)
        try:
            yield screen.read_text
        finally:
            process.send_signal(signal.SIGINT)
            code = process.wait(60)
    assert code == 130


def test_the_doctor_examines_files_a_worker_would_refuse(own_valkey: LocalValkey, tmp_path: Path) -> None:
    rules = tmp_path / "broken.rules"
    rules.write_text("rule nonsense\n")
    (tmp_path / "fraud.onnx").write_bytes(b"cut short")

    result = fraudstream(
        own_valkey, "doctor", "--json", "--between", "10ms", FRAUDSTREAM_RULES=str(rules), ML_MODEL_PATH=str(tmp_path)
    )

    assert {"rules", "model"} <= set(failed(result))
    assert "fraud.json" in says(result)
    assert "broken.rules" in says(result)


def test_a_database_without_tables_is_told_how_to_get_them(own_valkey: LocalValkey, empty_database: str) -> None:
    result = fraudstream(own_valkey, "doctor", "--json", "--between", "10ms", POSTGRES_URL=empty_database)

    assert "lacks 0001_decisions.sql" in says(result)
    assert "fraudstream db migrate" in says(result)


@pytest.mark.parametrize(
    ("answer", "level", "text"),
    [("ok", "ok", "fraud-bot of Example"), ("invalid_auth", "fail", "auth.test: invalid_auth"), ("500", "fail", "auth.test")],
)
async def test_slack_is_asked_only_when_told_to(own_valkey: LocalValkey, answer: str, level: str, text: str) -> None:
    async with fake_slack() as slack:
        slack.next("auth.test", answer)
        settings = {"FRAUDSTREAM_SLACK_BOT_TOKEN": "xoxb-hidden-word", "FRAUDSTREAM_SLACK_BASE_URL": slack.base_url}

        silent = await asyncio.to_thread(fraudstream, own_valkey, "doctor", "--json", "--between", "10ms", **settings)
        asked = await asyncio.to_thread(fraudstream, own_valkey, "doctor", "--slack", "--json", "--between", "10ms", **settings)

        assert [path for path, _ in slack.requests] == ["auth.test"]
    (found,) = (one for one in data_of(asked)["findings"] if one["about"] == "slack")
    assert (found["level"], text in found["says"]) == (level, True)
    assert "slack" not in {one["about"] for one in data_of(silent)["findings"]}
    assert "hidden-word" not in asked.output


def test_help_of_the_commands_needs_no_vendor() -> None:
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom fraudstream.cli.main import app\n"
        "for name in ('status', 'lag', 'streams', 'pending', 'workers', 'doctor', 'monitor'):\n"
        "    assert CliRunner().invoke(app, [name, '--help']).exit_code == 0, name\n"
        "print(sorted({'redis', 'asyncpg', 'onnxruntime', 'slack_sdk', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
