"""
Plans of deployments: what a rate takes, and what breaks first.
"""

import itertools
from pathlib import Path

import msgspec
import pytest

from fraudstream.adapters.redis_balance import partitions_per_server
from fraudstream.adapters.redis_keys import Partitions
from fraudstream.app.capacity import Measured, Traffic, need, simulate

MEASURED = msgspec.json.decode((Path(__file__).parents[3] / "benchmarks" / "measured.json").read_bytes(), type=Measured)


def test_a_rate_that_one_server_carries_needs_no_partitions() -> None:
    found = need(MEASURED, Traffic(rate_tps=5_000))

    assert (found.servers, found.partitions, found.databases) == (1, 1, 1)
    assert found.redis_us == MEASURED.redis_us
    assert found.busiest_server == pytest.approx(5_000 * MEASURED.redis_us / 1e6, abs=0.01)


def test_more_payments_never_need_less() -> None:
    plans = [need(MEASURED, Traffic(rate_tps=rate)) for rate in (1e3, 1e4, 1e5, 1e6, 1e7)]

    for less, more in itertools.pairwise(plans):
        assert more.servers >= less.servers
        assert more.memory_gb["records"] == pytest.approx(10 * less.memory_gb["records"], rel=0.1)
        assert more.worker_cores["fraud_check"] > less.worker_cores["fraud_check"]
        assert more.redis_us >= less.redis_us


def test_what_breaks_first_stands_first_and_is_what_is_asked_too_much_of() -> None:
    even = need(MEASURED, Traffic(rate_tps=1e6, hottest_share=0.0001))
    hot = need(MEASURED, Traffic(rate_tps=1e6, hottest_share=0.99))

    assert list(even.limits.values()) == sorted(even.limits.values())
    assert next(iter(even.limits)) == "one database"
    assert hot.limits["the hottest merchant"] < 1e6 < even.limits["the hottest merchant"]


def test_waits_grow_where_servers_are_nearly_full() -> None:
    calm = simulate(MEASURED, Traffic(rate_tps=1e5, full=0.3), seconds=0.3)
    full = simulate(MEASURED, Traffic(rate_tps=1e5, full=0.95), seconds=0.3)

    assert calm.busiest < full.busiest <= 1.0
    assert calm.p999_ms < full.p999_ms
    assert calm.p50_ms <= calm.p99_ms <= calm.p999_ms


def test_every_partition_is_on_one_server() -> None:
    for servers in (1, 3, 7):
        counts = partitions_per_server(Partitions(48), servers)

        assert sum(counts) == 48
        assert len(counts) == servers
        assert min(counts) > 0
