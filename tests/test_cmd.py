import cmd
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fraudstream.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ["producer.py", "consumer.py", "alerter.py"]


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "NO_COLOR": "1", "COLUMNS": "200"} | environment,
    )


def test_cmd_is_the_standard_library():
    assert hasattr(cmd, "Cmd")
    assert Path(cmd.__file__).parent == Path(os.__file__).parent


def test_the_debugger_works_beside_the_scripts():
    done = run("-c", "import cmd, pdb; print(cmd.Cmd.__module__)")

    assert done.stdout == "cmd\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_explains_itself(script: str):
    done = run(f"cmd/{script}", "--help")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "--stream" in done.stdout
    assert "Usage" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_runs_from_any_folder(script: str, tmp_path: Path):
    assert run(str(ROOT / "cmd" / script), "--help", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("script", ["consumer.py", "alerter.py"])
def test_consumers_take_a_group(script: str):
    assert "--group" in run(f"cmd/{script}", "--help").stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_vendor(script: str):
    program = (
        "import runpy, sys\n"
        "sys.argv = ['script', '--help']\n"
        f"try: runpy.run_path('cmd/{script}', run_name='__main__')\n"
        "finally: print(sorted({'redis', 'asyncpg', 'onnxruntime'} & set(sys.modules)))"
    )

    done = run("-c", program)

    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("[]"), done.stdout


def test_an_unknown_group_is_refused_with_the_known_ones_named():
    done = run("cmd/consumer.py", "--group", "fraud-chek")

    assert done.returncode == 3
    assert "fraud-check, ml-scoring, recorder, alerter, labels" in done.stderr


def test_an_unknown_setting_in_the_environment_is_refused():
    done = run("cmd/consumer.py", FRAUDSTREAM_BATCH_ENTRY="9")

    assert done.returncode == 3
    assert "did you mean FRAUDSTREAM_BATCH_ENTRIES?" in done.stderr


def test_an_unknown_option_is_a_usage_error():
    assert run("cmd/alerter.py", "--bogus").returncode == 2


def test_a_redis_that_is_not_there_is_told_in_a_sentence():
    started = time.monotonic()
    done = run("cmd/consumer.py", "--group", "fraud-check", REDIS_URL="redis://127.0.0.1:1/0", FRAUDSTREAM_METRICS_PORT="none")

    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 60


def test_every_command_of_the_console_explains_itself():
    runner = CliRunner()
    shown = runner.invoke(app, ["--help"])

    assert shown.exit_code == 0
    for name in ("worker", "alerter", "demo", "db"):
        assert runner.invoke(app, [name, "--help"]).exit_code == 0, name
