"""
What the proof by breaking rests on; the proof itself runs in ``test_chaos_commit.py``.
"""

import subprocess
import sys

import pytest
from redis import Redis

from fraudstream.adapters.redis_books import consumers, direct, forget_the_dead
from fraudstream.adapters.redis_keys import RAW
from fraudstream.chaos.controls import CONTROLS
from fraudstream.local import LocalValkey
from tests.support.chaos import ROOT, chaos

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


@pytest.mark.timeout(600)
def test_a_broken_protocol_fails_the_same_books() -> None:
    code, report = chaos("--profile", "slice", "--control", "touch-without-record", "--seed", "5")

    assert (code, report["passed"]) == (1, False)
    assert report["counter_errors"] > 0
    assert report["pending"] == 0, "it does its own harm and no other"


def test_every_negative_control_still_fits_the_scripts_and_methods_that_it_breaks() -> None:
    done = subprocess.run([sys.executable, "-c", _FORKS], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert len(CONTROLS) >= 10


async def test_a_run_that_killed_hundreds_leaves_no_name_of_them(valkey: LocalValkey) -> None:
    with Redis.from_url(valkey.url) as client:
        client.xgroup_create(RAW, "fraud-check", "0", mkstream=True)
        client.xgroup_create(RAW, "ml-scoring", "0")
        pipeline = client.pipeline(transaction=False)
        for number in range(320):
            pipeline.xgroup_createconsumer(RAW, "fraud-check", f"vm:{number}")
        pipeline.zadd("heartbeat:fraud-check", {"vm:1": client.time()[0] * 1000 + 1_500})
        pipeline.execute()
    admin = direct(valkey.url)

    try:
        await forget_the_dead(admin, within_s=30.0)
        left = await consumers(admin)
    finally:
        await admin.aclose()

    assert left == []
