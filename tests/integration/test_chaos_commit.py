"""
What every commit must pass: ``fraudstream chaos --profile commit``, on the embedded Valkey; ``.ci/run`` has Redis 7.0 too.

A file of its own, and the first: it takes two minutes, in which the other test processes go on beside it.
"""

import pytest

from fraudstream.chaos.plan import PROFILES
from tests.support.chaos import assert_balanced, chaos


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_or_miscounted_in_twenty_thousand_payments_of_chaos() -> None:
    code, report = chaos("--profile", "commit", "--seed", "1")

    assert_balanced(report)
    assert code == 0
    assert report["transactions"] >= 20_000
    happened = {**report["faults"], "fenced": report["fenced"], "together": report["together"]}
    least = {**PROFILES["commit"].least, "sigkill": 100, "sigstop": 20, "connection": 50, "redis_kill": 2, "poison": 25}
    assert {name: happened[name] for name, count in least.items() if happened[name] < count} == {}
    assert min(report["crash_points"].values()) >= 3
