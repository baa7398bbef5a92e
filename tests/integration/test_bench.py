"""
``fraudstream bench``: what it says of a small run, and when a rate counts as held.
"""

import os

import msgspec
import numpy as np
import pytest

from fraudstream.app.bench import BenchPlan, run_bench
from fraudstream.app.bench_load import Stretch, while_hope
from fraudstream.app.bench_page import bench_page
from fraudstream.app.bench_system import RULES, fifty_rules
from fraudstream.app.demo import Progress
from fraudstream.app.loading import load_rulebook
from fraudstream.app.processes import Usage
from fraudstream.rules.lists import ListContents
from fraudstream.rules.load import load_rules
from fraudstream.settings import Settings

SILENT = Progress(step=lambda _: None, count=lambda _name, _done, _total: None)
IDLE = Usage({}, {})
HELD = Stretch(
    rate_tps=1_000.0, transactions=10_000, recorded=10_000, degraded=0, seconds=10.0, sent_tps=1_000.0, recorded_tps=1_000.0,
    behind_s=0.01, latency_ms=np.array([1.0]), lag=[(float(at), 40) for at in range(10)], lag_end=40, before=IDLE, after=IDLE,
)  # fmt: skip


async def test_a_run_accounts_for_everything_and_names_who_used_the_cpu() -> None:
    plan = BenchPlan(
        rate_per_s=200.0, seconds=2.0, throughput_s=1.0, burst=500, trial_s=0.5, shares=(0.5, 0.1),
        inherited={"PATH": os.environ["PATH"]}, commit="abc",
    )  # fmt: skip

    measured = await run_bench(plan, SILENT)

    report = measured.report
    assert len(measured.calm.latency_ms) == measured.calm.transactions == 400
    assert measured.calm.latency_ms[0] > 0, "nothing is decided before it is due"
    assert set(report.cpu_us_per_transaction) == {
        "redis", "postgres", "fraud_check", "ml_scoring", "recorder", "alerter", "producer",
    }  # fmt: skip
    assert report.cpu_us_per_transaction["fraud_check"] > 0
    assert (report.throughput_tps > 0) == measured.steady.flat
    assert report.topology == ["1 x fraud-group", "1 x recorder", "1 x alerter"]
    page = bench_page(measured)
    assert page.count("<svg") == 2
    assert "nan" not in page.lower()


def test_the_rules_of_the_benchmark_are_fifty_and_right() -> None:
    features = load_rulebook(Settings()).features
    source = fifty_rules(features)
    lists = {name: ListContents(()) for name in ("sanctioned_countries", "trusted_cards", "disposable_email")}

    rules = load_rules(source, features=features.names, lists=lists)

    assert len(rules.rules) == RULES


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"recorded": 9_999}, "one is missing"),
        ({"degraded": 1}, "one was decided without the model"),
        ({"behind_s": 0.6}, "the producer could not keep the rate"),
        ({"lag": [(float(at), 100 * at) for at in range(10)]}, "lag grows"),
        ({"lag_end": 1_001}, "more than a second's worth waits at the end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_rate_is_not_held_when(change: dict[str, object], why: str) -> None:
    assert HELD.flat
    assert not msgspec.structs.replace(HELD, **change).flat, why


def test_a_rate_that_is_hopelessly_missed_is_not_sent_to_the_end() -> None:
    lag = [(0.0, 40)]
    bodies = while_hope(iter([b"1", b"2", b"3", b"4"]), lag, 5_000.0)

    sent = [next(bodies), next(bodies)]
    lag.append((1.0, 5_001))

    assert sent == [b"1", b"2"]
    assert list(bodies) == []
