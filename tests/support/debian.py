"""
Servers that the machine's own packages bring: unlike those from the wheels they speak TLS.
"""

import os
import shutil
from pathlib import Path

import pytest


def debian_postgres() -> Path:
    """
    Return the folder of the newest PostgreSQL's programs; skip the test where there is none, but never in CI.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda program: int(program.parents[1].name))
    return found[-1].parent if found else _absent("PostgreSQL", "postgresql")


def debian_redis() -> Path:
    """
    Return the ``redis-server`` program; skip the test where there is none, but never in CI.
    """
    found = shutil.which("redis-server")
    return Path(found) if found else _absent("Redis", "redis-server")


def _absent(name: str, package: str) -> Path:
    words = f"Debian's {name} is not on this machine, and the wheels' servers have no TLS; apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(words)
    pytest.skip(words)
