import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fraudstream.cli.main import app
from fraudstream.local.process import free_port
from fraudstream.settings import GROUPS, load
from tests.support.tools import needs
from tests.support.wait import wait_until_sync

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("fraudstream")]
EACH = pytest.mark.parametrize("name", SERVICES)


@pytest.mark.parametrize(
    ("schema", "file"), [("vendor.compose-spec", "docker-compose.yml"), ("vendor.github-workflows", ".github/workflows/ci.yml")]
)
def test_the_file_fits_the_published_schema(schema: str, file: str):
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(ROOT / file)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_group_has_a_service():
    commands = [SERVICES[name]["command"] for name in OURS]
    served = {command[-1] for command in commands if command[:2] == ["worker", "start"]}

    assert served | {"alerter"} == set(GROUPS)
    assert set(GROUPS) <= set(SERVICES)


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_ours_exists(name: str):
    shown = CliRunner().invoke(app, [*SERVICES[name]["command"], "--help"])

    assert shown.exit_code == 0, shown.output


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_ours_is_accepted(name: str):
    words = {"REDIS_PASSWORD": "a", "POSTGRES_PASSWORD": "b"}
    filled = {
        key: re.sub(r"\$\{(\w+):\?[^}]*\}", lambda match: words[match[1]], value)
        for key, value in SERVICES[name]["environment"].items()
    }

    settings = load(filled, {"consumer_group": name if name in GROUPS else None})

    assert settings.redis_url == "redis://:a@redis:6379/0"
    assert settings.postgres_url == "postgresql://fraudstream:b@timescaledb:5432/fraudstream"


@EACH
def test_nothing_listens_beyond_this_machine(name: str):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))
    assert "network_mode" not in SERVICES[name]


@EACH
def test_every_service_has_limits_a_health_check_and_bounded_logs(name: str):
    service = SERVICES[name]

    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert "test" in service["healthcheck"] or name == "migrate"
    assert service["logging"]["options"]["max-size"]


@EACH
def test_every_service_runs_with_few_rights(name: str):
    service = SERVICES[name]

    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_drop") == ["ALL"] or name == "timescaledb"  # its start-up changes the owner of its files
    assert not service.get("privileged")


@EACH
def test_every_image_is_pinned(name: str):
    assert re.search(r":(local|v?\d+\.\d+[\w.-]*)$", SERVICES[name]["image"])


def test_no_password_has_a_default():
    passwords = re.findall(r"\$\{(\w*PASSWORD\w*)([^}]*)\}", TEXT)

    assert {name for name, _ in passwords} == {"REDIS_PASSWORD", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"}
    assert all(rest.startswith(":?") for _, rest in passwords)
    assert all(f"\n{name}=\n" in (ROOT / ".env.example").read_text() for name, _ in passwords)


def test_redis_neither_evicts_nor_forgets():
    command = " ".join(SERVICES["redis"]["command"])

    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    only = {"PATH": os.environ["PATH"]} | environment
    return subprocess.run(command, env=only, capture_output=True, text=True, timeout=60, check=False)


@needs("redis-server", "redis-cli")
def test_the_redis_of_compose_starts_as_written_and_hides_its_password(tmp_path: Path):
    port = free_port()
    script = (
        SERVICES["redis"]["command"][2].replace("$$", "$").replace("/run/redis", str(tmp_path)).replace("/data", str(tmp_path))
    )
    health = SERVICES["redis"]["healthcheck"]["test"][1].replace("$$", "$").replace("redis-cli", f"redis-cli -p {port}")
    secret = {"REDIS_PASSWORD": "a1b2c3"}
    client = ["redis-cli", "-p", str(port)]
    command = ["sh", "-c", f"{script} --port {port} --bind 127.0.0.1"]
    server = subprocess.Popen(command, env={"PATH": os.environ["PATH"]} | secret, stdout=subprocess.DEVNULL)

    try:
        wait_until_sync(lambda: run("sh", "-c", health, **secret).returncode == 0, "Redis is healthy")
        policy = run(*client, "CONFIG", "GET", "maxmemory-policy", REDISCLI_AUTH="a1b2c3").stdout.split()
        persistent = run(*client, "CONFIG", "GET", "appendonly", REDISCLI_AUTH="a1b2c3").stdout.split()
        stranger = run(*client, "PING").stdout
        command_line = Path(f"/proc/{server.pid}/cmdline").read_bytes()
    finally:
        server.terminate()
        server.wait(timeout=60)

    assert policy == ["maxmemory-policy", "noeviction"]
    assert persistent == ["appendonly", "yes"]
    assert stranger.startswith("NOAUTH")
    assert b"a1b2c3" not in command_line
    assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0


def test_workers_may_drain_before_they_are_killed():
    grace_s = {name: int(SERVICES[name]["stop_grace_period"].removesuffix("s")) for name in OURS}

    assert min(grace_s.values()) > load({}).drain_timeout_s


def test_workers_start_after_the_migration_and_the_migration_after_the_database():
    for name in set(OURS) - {"migrate"}:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"] == {"timescaledb": {"condition": "service_healthy"}}


@EACH
def test_every_mounted_file_is_in_the_project(name: str):
    mounts = [volume for volume in SERVICES[name].get("volumes", ()) if volume.startswith("./")]

    assert all((ROOT / mount.split(":")[0]).exists() for mount in mounts)
    assert all(mount.endswith(":ro") for mount in mounts)


def test_prometheus_scrapes_every_group_and_the_monitor_where_they_listen():
    scrape = yaml.safe_load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())["scrape_configs"][0]["dns_sd_configs"][
        0
    ]

    assert set(scrape["names"]) == {*GROUPS, "monitor"}
    assert all(SERVICES[name]["environment"]["FRAUDSTREAM_METRICS_PORT"] == str(scrape["port"]) for name in scrape["names"])


def test_grafana_finds_its_data_source_and_dashboards_where_they_are_mounted():
    provisioning = ROOT / "dashboards/grafana/provisioning"
    source = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"][0]
    folder = yaml.safe_load((provisioning / "dashboards/fraudstream.yml").read_text())["providers"][0]["options"]["path"]
    scraped = yaml.safe_load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    mounted = dict(volume.split(":")[1::-1] for volume in SERVICES["grafana"]["volumes"])
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scraped
    assert mounted[folder] == "./dashboards"
    assert (ROOT / "dashboards" / home.removeprefix(f"{folder}/")).is_file()
    assert json.loads((ROOT / "dashboards/overview.json").read_text())["uid"] == "fraudstream-overview"


def test_grafana_reads_the_database_as_somebody_who_may_only_read():
    source = yaml.safe_load((ROOT / "dashboards/grafana/provisioning/datasources/postgres.yml").read_text())["datasources"][0]
    reader = (ROOT / "dashboards/grafana/reader.sh").read_text()
    scripts = [volume for volume in SERVICES["timescaledb"]["volumes"] if "reader.sh" in volume]

    assert scripts == ["./dashboards/grafana/reader.sh:/docker-entrypoint-initdb.d/100_reader.sh:ro"]
    assert f"CREATE ROLE {source['user']} LOGIN PASSWORD :'password' IN ROLE fraudstream_dashboards;" in reader
    assert source["secureJsonData"] == {"password": "$GRAFANA_DB_PASSWORD"}
    given = SERVICES["grafana"]["environment"]["GRAFANA_DB_PASSWORD"]
    assert given == SERVICES["timescaledb"]["environment"]["GRAFANA_PASSWORD"]


def test_the_image_runs_without_root_and_checks_its_health():
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert dockerfile.index("USER fraudstream") < dockerfile.index("ENTRYPOINT")
    assert "HEALTHCHECK" in dockerfile
    assert "-c constraints.txt" in dockerfile
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE) for word in line.split()[:-1]}
    assert copied <= {line.removeprefix("!") for line in ignored if line.startswith("!")}
