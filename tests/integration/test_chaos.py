"""
The proof by breaking, on a small scale: the slice runs here, ``--profile commit`` and every negative control in ``.ci/run``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fraudstream.chaos.controls import CONTROLS

ROOT = Path(__file__).parents[2]

_FORKS = """
import os, sys
from fraudstream.chaos.controls import CONTROLS

failed = []
for name, control in CONTROLS.items():
    pid = os.fork()
    if pid == 0:
        try:
            control.break_it()
        except BaseException as exc:
            print(name, exc, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        failed.append(name)
sys.exit(", ".join(failed) or 0)
"""


def _chaos(*options: str) -> tuple[int, dict]:
    ours = ("FRAUDSTREAM_", "REDIS_URL", "POSTGRES_URL", "CONSUMER_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-m", "fraudstream", "chaos", "--json", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == "fraudstream.chaos/1"
    return done.returncode, answer["data"]


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_or_miscounted_under_a_slice_of_the_chaos() -> None:
    code, report = _chaos("--profile", "slice", "--seed", "5")

    wrong = {name: report[name] for name in ("lost", "doubled", "counter_errors", "vector_errors", "pending", "alerts_missing")}
    wrong |= {name: report[name] for name in ("dead_letter_innocents", "dead_letter_missing", "dead_letter_doubled")}
    wrong |= {name: report[name] for name in ("consumers_left", "keys_left", "labels_lost")}
    assert (wrong, report["problems"]) == (dict.fromkeys(wrong, 0), [])
    assert (code, report["passed"]) == (0, True)
    assert report["transactions"] >= 2_000
    assert report["vectors_checked"] >= 2_000
    assert report["faults"]["sigkill"] >= 8
    assert report["faults"]["redis_kill"] == report["faults"]["postgres_stop"] == 1


@pytest.mark.timeout(600)
def test_a_broken_protocol_fails_the_same_books() -> None:
    code, report = _chaos("--profile", "slice", "--control", "touch-without-record", "--seed", "5")

    assert (code, report["passed"]) == (1, False)
    assert report["counter_errors"] > 0
    assert report["pending"] == 0, "it does its own harm and no other"


def test_every_negative_control_still_fits_the_scripts_and_methods_that_it_breaks() -> None:
    done = subprocess.run([sys.executable, "-c", _FORKS], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(CONTROLS) >= 9
