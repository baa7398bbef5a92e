"""
The proof by breaking, run as anybody runs it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: What must be nothing in the report of an honest run.
MUST_BE_NOTHING = (
    *("lost", "doubled", "counter_errors", "vector_errors", "labels_lost", "alerts_missing", "late_without_model"),
    *("dead_letter_innocents", "dead_letter_missing", "dead_letter_doubled"),
    *("pending", "consumers_left", "keys_left", "unexpected_ends"),
)


def chaos(*options: str) -> tuple[int, dict[str, Any]]:
    """
    Run ``fraudstream chaos`` and return its exit code and its report.
    """
    ours = ("FRAUDSTREAM_", "REDIS_URL", "POSTGRES_URL", "CONSUMER_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-m", "fraudstream", "chaos", "--json", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    assert answer["schema"] == "fraudstream.chaos/1"
    return done.returncode, answer["data"]


def assert_balanced(report: dict[str, Any]) -> None:
    """
    Say that every book of a run balances, and name what does not.
    """
    wrong = {name: report[name] for name in MUST_BE_NOTHING if report[name]}
    assert (wrong, report["problems"]) == ({}, []), f"seed {report['seed']}: {wrong}, {report['problems']}"
    assert report["passed"], report
