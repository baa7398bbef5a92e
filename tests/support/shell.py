"""
The console command as a person runs it: a process, its words, its exit code.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def servers_of(redis_url: str, postgres_url: str, **more: str) -> dict[str, str]:
    """
    Return an environment that names these servers, and nothing else of ours.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FRAUDSTREAM_", "REDIS_", "POSTGRES_"))}
    return {**kept, "REDIS_URL": redis_url, "POSTGRES_URL": postgres_url, "COLUMNS": "200", **more}


async def run(given: Mapping[str, str], *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """
    Run ``fraudstream`` with words and wait for its end.
    """
    command = [sys.executable, "-m", "fraudstream", *words]
    return await asyncio.to_thread(
        subprocess.run, command, cwd=ROOT, env=dict(given), input=stdin, capture_output=True, check=False, timeout=120
    )


async def answer(given: Mapping[str, str], *words: str, code: int = 0, stdin: bytes = b"") -> dict[str, Any]:
    """
    Run a command with ``--json`` and return the data of its one object.
    """
    done = await run(given, *words, "--json", stdin=stdin)
    assert done.returncode == code, (done.returncode, done.stdout[:2000], done.stderr.decode())
    whole = json.loads(done.stdout)
    assert whole["schema"].startswith("fraudstream."), whole
    data: dict[str, Any] = whole["data"]
    return data
