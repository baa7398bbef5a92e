"""
What a producer tells of itself while it runs.
"""

import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from redis import Redis

from fraudstream.adapters.measured_intake import MeasuredIntake
from fraudstream.domain.errors import AdmissionRefused, StreamUnavailable
from fraudstream.local import LocalValkey
from fraudstream.local.process import free_port
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.pages import counted
from tests.support.fake_intake import FakeIntake, away, full
from tests.support.wait import wait_until_sync

ROOT = Path(__file__).parents[2]


def test_a_producer_counts_what_it_appended(valkey: LocalValkey) -> None:
    port = free_port()
    words = [sys.executable, str(ROOT / "cmd" / "producer.py"), "--rate", "200", "--quiet", "--metrics-port", str(port)]
    process = subprocess.Popen(words, env={"PATH": os.environ["PATH"], "REDIS_URL": valkey.url}, stdout=subprocess.DEVNULL)

    def appended() -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
                page = str(reply.read(), "utf-8")
        except OSError:
            return 0
        return counted([page], "fraudstream_producer_events_total", stream="transactions:raw", outcome="appended")

    try:
        wait_until_sync(lambda: appended() > 20, "the first payments")
        before = appended()
        with Redis.from_url(valkey.url) as client:
            assert client.xlen("transactions:raw") >= before
    finally:
        process.kill()
        process.wait()


async def test_what_was_refused_and_what_nobody_knows_are_counted_apart() -> None:
    metrics = Metrics(groups=(), producer=True, monitor=False)
    intake = MeasuredIntake(FakeIntake(full, away, None), metrics, stream="transactions:raw")

    with pytest.raises(AdmissionRefused):
        await intake.append([b"1", b"2"])
    with pytest.raises(StreamUnavailable):
        await intake.append([b"1", b"2"])
    entry_ids = await intake.append([b"1", b"2", b"3"])

    page = generate_latest(metrics.registry).decode()
    counts = {
        outcome: counted([page], "fraudstream_producer_events_total", outcome=outcome)
        for outcome in ("appended", "rejected", "failed")
    }
    assert len(entry_ids) == 3
    assert counts == {"appended": 3, "rejected": 2, "failed": 2}
