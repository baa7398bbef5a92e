"""
The benchmarks of bounds, outages, scaling and cards, each small and over one real system.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.app import bench_bounds, bench_outage, bench_scaling
from fraudstream.app.bench_bounds import BoundsPlan, run_bench_bounds
from fraudstream.app.bench_bounds_page import bounds_page
from fraudstream.app.bench_cards import CardsPlan, run_bench_cards
from fraudstream.app.bench_outage import OutagePlan, Recovery, run_bench_outage
from fraudstream.app.bench_scaling import run_bench_scaling
from fraudstream.app.demo import Progress
from fraudstream.app.local_system import LocalSystem
from fraudstream.domain.errors import InvalidSettings

SILENT = Progress(step=lambda _: None, count=lambda _name, _done, _total: None)
INHERITED = {"PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def small() -> Iterator[LocalSystem]:
    """
    A real system whose groups share one process: the benchmarks start four of them, which takes its time.
    """
    groups = ["fraud-check,ml-scoring,recorder,alerter"]
    with LocalSystem(inherited=INHERITED, deadline_ms=0, horizon_s=0, groups=groups) as system:
        system.set(FRAUDSTREAM_DEDUP_ANY_AGE_S="1")
        asyncio.run(migrate(system.postgres.url))
        system.start_workers()
        yield system


@pytest.fixture(autouse=True)
def _lend(small: LocalSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def lent(*_args: Any, **_settings: Any) -> AsyncIterator[LocalSystem]:
        yield small

    for module in (bench_bounds, bench_outage, bench_scaling):
        monkeypatch.setattr(module, "bench_system", lent)
    monkeypatch.setattr(bench_bounds, "_WARM_UP", 50)
    monkeypatch.setattr(bench_scaling, "_WARM_UP", 50)
    monkeypatch.setattr(bench_scaling, "_TRIAL", 100)


async def test_an_overload_is_refused_in_words_and_everything_taken_is_recorded() -> None:
    plan = BoundsPlan(seconds=2.0, capacity_tps=8_000, lag_limit_entries=500)

    report = await run_bench_bounds(plan, SILENT)

    assert report.accepted == report.recorded
    assert (report.lost, report.doubled) == (0, 0)
    assert 0 < report.accepted_tps < report.offered_tps == 9_600
    assert any("wait for the slower group, over the limit of 500" in one.words for one in report.refused)
    assert report.waited_s > 0
    assert report.longest_raw <= report.raw_bound
    assert report.flat is None, "two seconds say nothing about minutes"
    judged = {one.name for one in report.trends}
    assert judged == {name for name in report.samples[0].memory_mb if name not in ("redis", "redis resident")}, "every worker"
    assert "redis data" in judged
    assert len(report.samples) >= 2
    page = bounds_page(report)
    assert page.count("<svg") == 2
    assert "too short to tell" in page


async def test_a_database_that_was_away_loses_nothing() -> None:
    plan = OutagePlan(seconds=0.5, rate_per_s=200, parts=("postgres",), warm_s=0.1, usual_s=0.2, steady_s=0.5, patience_s=40)

    report = await run_bench_outage(plan, SILENT)

    (outage,) = report.outages
    assert outage.recovered_s is not None
    assert outage.recovered_s >= outage.back_s
    assert outage.highest_lag > 0
    assert (outage.doubled, outage.dead_letters) == (0, 0)
    assert outage.produced > 100


async def test_what_cannot_be_taken_away_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="parts are redis, postgres, alerts"):
        await run_bench_outage(OutagePlan(parts=("moon",)), SILENT)


def test_an_outage_is_survived_only_when_nothing_is_missing() -> None:
    good = Recovery(
        part="redis", away_s=1, back_s=0.1, recovered_s=2.0, usual_lag=1, highest_lag=9, produced=10, sent_again=1, decided=10,
        recorded=10, doubled=0, degraded=3, flagged=1, alerts_told=1, dead_letters=0, undeliverable=0,
    )  # fmt: skip

    assert good.good
    bad = [{"recorded": 9}, {"decided": 9}, {"doubled": 1}, {"recovered_s": None}, {"dead_letters": 1}]
    assert msgspec.structs.replace(good, undeliverable=1).good, "too old to be told now, and kept for people to send again"
    assert not any(msgspec.structs.replace(good, **change).good for change in bad)


async def test_each_size_is_measured_whole() -> None:
    report = await run_bench_scaling([(1, 1)], seconds=0.1, inherited=INHERITED, commit="abc", progress=SILENT)

    (run,) = report.runs
    assert run.transactions >= 100
    assert run.throughput_tps > 0
    assert run.cpu_us_per_transaction["redis"] >= 0


async def test_more_cards_are_loaded_and_paid_with_at_the_same_length_of_history() -> None:
    plan = CardsPlan(numbers=(100, 3_000), rounds=2, transactions=200, whole=0)

    report = await run_bench_cards(plan, SILENT)

    few, many = report.costs
    assert (few.cards, many.cards) == (100, 3_000)
    assert many.used_mb > few.used_mb
    assert few.path_ratio == 1.0
    assert few.path_us > 0
    assert few.client_us > 0
