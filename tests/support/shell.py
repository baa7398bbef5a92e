"""
The console command as a person runs it: a process, its words, its exit code; forked, as in ``nursery``.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile
from typing import Any

from tests.support.nursery import ROOT, Order, start


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
    return await asyncio.to_thread(_run, given, words, stdin)


def _run(given: Mapping[str, str], words: Sequence[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    with TemporaryFile() as typed, TemporaryFile() as out, TemporaryFile() as err:
        typed.write(stdin)
        typed.seek(0)
        forked = start(Order("fraudstream", words, given, str(ROOT)), stdin=typed, stdout=out, stderr=err)
        try:
            code = forked.wait(120)
        finally:
            forked.kill()
        for one in (out, err):
            one.seek(0)
        return subprocess.CompletedProcess(forked.args, code, out.read(), err.read())


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
