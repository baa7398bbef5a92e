"""
Models that change under load: what a promotion or a rollback costs the decisions that are under way.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.model_folder import ModelFolder
from fraudstream.adapters.postgres_account import Passed, passed
from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.adapters.redis_account import waiting
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_models import Entry, Pointer, RedisModels
from fraudstream.app.bench_calendar import Calendar
from fraudstream.app.connections import address, intake
from fraudstream.app.demo import Progress
from fraudstream.app.local_system import LocalSystem
from fraudstream.app.models import ModelDesk
from fraudstream.app.settling import until_done
from fraudstream.features.load import load_features
from fraudstream.local.worker import LocalWorker
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.produce import produce
from fraudstream.producers.synthetic import generate
from fraudstream.scoring.load import load_model, read_model
from fraudstream.scoring.manifest import MANIFEST_FILE, MODEL_FILE, decode_manifest, encode_manifest, sha256_hex
from fraudstream.scoring.model import OnnxModel
from fraudstream.settings import Settings, locate
from fraudstream.telemetry.pages import read

#: The most that a swap may delay a decision, in milliseconds.
BOUND_MS = 50.0
#: What is still of a swap after the first decision by the new model, in milliseconds.
_AFTER_MS = 100.0
#: Field 5 of an ONNX model is its version number, as a varint; of two of them the last one counts.
_MODEL_VERSION = b"\x28"
#: Version numbers from 2 on that fit into one byte of a varint.
_TWINS = 126
_WARM_UP = 400
#: By then a worker has looked at the pointer and taken over what it names, in seconds.
_SURE_S = 1.5
#: Alerts are nothing that a model waits for.
_GROUPS = ("fraud-check", "ml-scoring", "recorder")
#: Payments at once that tell what a system does at most, and the shares of it that are tried for full load, highest first.
_BURST, _SHARES = 20_000, (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)


class SwapPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    ``rate_per_s`` for ``calm_s`` without a change, then for ``seconds`` with a promotion or rollback, each taken over and then
    left alone for ``every_s``. Without a rate it is full load: the highest share of what the system does at most at which no
    decision of the calm comes half of ``BOUND_MS`` late by itself; above it nobody could say whose fault a delay is.

    ``other`` is the folder of the model that is promoted; None makes one of equal trees and another hash for each promotion,
    so that each of them is loaded.
    """

    rate_per_s: float | None = None
    calm_s: float = 10.0
    seconds: float = 40.0
    every_s: float = 2.0
    other: Path | None = None
    groups: Sequence[str] = _GROUPS
    inherited: dict[str, str] = {}


class SwapReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What changing models did to the decisions.

    ``rate_tps`` is the load; ``most_tps`` what the system did at once, 0 where a rate was given.

    A decision is *in* a swap when it was under way at any time from the change of the pointer until 100 ms after the first
    decision by the new model: loading and warming up lie in between. ``delayed`` are those that took ``BOUND_MS`` longer
    than the median, among decisions in swaps and among the others, whose share is what the machine does by itself.
    ``stall_ms`` is the longest that the scoring worker's loop stood still in each swap, as the worker measured it;
    ``looks_over_50_ms`` the share of all its looks that came so late, with changes and without: what the machine adds.
    """

    rate_tps: float
    most_tps: float
    decisions: int
    swaps: int
    models: dict[str, int]
    without_model: int
    without_score: int
    degraded: int
    other_score_than_its_model: int
    calm_latency_ms: dict[str, float]
    swap_latency_ms: dict[str, float]
    between_latency_ms: dict[str, float]
    in_swaps: int
    delayed_in_swaps: int
    delayed_between: int
    stall_ms: list[float]
    looks_over_50_ms: dict[str, float]
    seconds_to_follow: list[float]


class _Seen(NamedTuple):
    """
    What a run leaves: the rate and what came at once, decisions without and with changes, the changes, stalls in ms, the
    models by id, and how many looks of the workers came, and came late, before the calm, after it and at the end.
    """

    rate_per_s: float
    most_per_s: float
    quiet: Sequence[Passed]
    found: Sequence[Passed]
    changes: Sequence[Entry]
    stalls: list[float]
    models: Mapping[str, OnnxModel]
    looks: Sequence[tuple[float, float]]


async def run_bench_swap(plan: SwapPlan, progress: Progress) -> SwapReport:
    """
    Measure a system of our own.

    Raises:
        ConfigurationError: A server did not start, or the other model does not fit the features.
        TransientError: The system stopped moving.
    """
    features = load_features(locate(Path("models/default.features")).read_text(encoding="utf-8"))
    progress.step("starting servers and workers")
    with LocalSystem(inherited=plan.inherited, deadline_ms=250, horizon_s=0, groups=plan.groups) as system:
        registry = ModelFolder(system.folder / "registry")
        system.set(FRAUDSTREAM_MODEL_REGISTRY=registry.place)
        await migrate(system.postgres.url)
        system.start_workers()
        async with connected(address(system.settings())) as client:
            models = RedisModels(client)
            folders = [locate(Path("models")), *([plan.other] if plan.other else _twins(plan, system.folder))]
            desk = ModelDesk(models, registry, features, "bench")
            names = [(await desk.push(folder, reason="bench")).model for folder in folders]
            calendar = Calendar()
            calm = await _calm(plan, system, calendar, progress)
            progress.step(f"with changes, at {calm.rate_per_s:,.0f}/s")
            bodies, since = _payments(calendar, int(calm.rate_per_s * plan.seconds)), _now()
            swapping = asyncio.create_task(_swap(plan, system, models, names))
            await _send(system, bodies, calm.rate_per_s, progress)
            stalls = await swapping
            looks = [*calm.looks, await _looks(system)]
            found = await passed(system.postgres.url, since)
            history = await models.history()
        loaded = [load_model(folder, features.names, feature_set=features.id) for folder in folders]
    changes = [one for one in history if one.seq]
    return _reported(
        _Seen(calm.rate_per_s, calm.most_per_s, calm.passed, found, changes, stalls, {one.id: one for one in loaded}, looks)
    )


class _Calm(NamedTuple):
    """
    The stretch without a change: its rate, what the system does at most, the decisions, and the looks before and after.
    """

    rate_per_s: float
    most_per_s: float
    passed: Sequence[Passed]
    looks: Sequence[tuple[float, float]]


async def _calm(plan: SwapPlan, system: LocalSystem, calendar: Calendar, progress: Progress) -> _Calm:
    """
    Run without a change at the rate of the plan, or at lower and lower ones until nothing is late by itself.
    """
    await _send(system, _payments(calendar, _WARM_UP), None, progress)
    most, rates = 0.0, [plan.rate_per_s]
    if plan.rate_per_s is None:
        progress.step("what it can do at most")
        since = _now()
        await _send(system, _payments(calendar, _BURST), None, progress)
        decided = [one.decided_ms for one in await passed(system.postgres.url, since)]
        most = len(decided) / max(1e-3, max(decided) / 1e3 - since.timestamp())
        rates = [most * share for share in _SHARES]
    for rate in filter(None, rates):
        progress.step(f"without a change, at {rate:,.0f}/s")
        bodies, since, before = _payments(calendar, int(rate * plan.calm_s)), _now(), await _looks(system)
        await _send(system, bodies, rate, progress)
        found = await passed(system.postgres.url, since)
        calm = _Calm(rate, most, found, [before, await _looks(system)])
        latency = np.array([one.decided_ms - one.received_ms for one in found])
        if plan.rate_per_s is not None or not _late(latency, BOUND_MS / 2).any():
            break
    return calm


def _payments(calendar: Calendar, count: int) -> list[Labelled]:
    return list(generate(calendar.world(count)))


def _late(latency_ms: NDArray[np.float64], by_ms: float = BOUND_MS) -> NDArray[np.bool_]:
    return np.asarray(latency_ms > float(np.median(latency_ms)) + by_ms) if len(latency_ms) else np.zeros(0, dtype=np.bool_)


def _twins(plan: SwapPlan, folder: Path) -> list[Path]:
    """
    Write one model for each promotion that there is time for; in a very long run they come round again.
    """
    most = math.ceil(plan.seconds / (2 * (plan.every_s + _SURE_S)))
    return [twin(locate(Path("models")), folder / f"twin-{number}", number) for number in range(2, 2 + min(most, _TWINS))]


def twin(folder: Path, target: Path, number: int = 2) -> Path:
    """
    Write a model with the same trees and another hash: what differs is the version number, up to 127, inside the ONNX bytes.
    """
    model, manifest = read_model(folder)
    model += _MODEL_VERSION + bytes([number])
    changed = msgspec.structs.replace(
        decode_manifest(manifest, folder / MANIFEST_FILE), sha256=sha256_hex(model), version=f"twin-{number}"
    )
    target.mkdir(parents=True)
    (target / MODEL_FILE).write_bytes(model)
    (target / MANIFEST_FILE).write_bytes(encode_manifest(changed))
    return target


async def _send(system: LocalSystem, bodies: Sequence[Labelled], rate_per_s: float | None, progress: Progress) -> None:
    async with intake(system.settings()) as target:
        await produce(bodies, target, rate_per_s=rate_per_s)
    async with connected(address(system.settings())) as client:
        look = partial(waiting, client, {group for worker in system.workers for group in _served(worker)})
        await until_done(look, partial(progress.count, "sent", len(bodies), None))


async def _swap(plan: SwapPlan, system: LocalSystem, models: RedisModels, names: Sequence[str]) -> list[float]:
    """
    Promote another model than the first and roll back, again and again; return how long the worker's loop stood still each
    time.
    """
    stalls, others = [], itertools.cycle(names[1:])
    until = time.monotonic() + plan.seconds - 2 * (plan.every_s + _SURE_S)
    while time.monotonic() < until:
        for champion, kind in ((next(others), "promote"), (names[0], "rollback")):
            await asyncio.sleep(plan.every_s / 2)
            seen = await models.pointer()
            seq = await models.point(seen, Pointer(champion=champion, kind=kind, actor="bench", reason="bench"))
            stalls.append(await _followed(system, seq))
            await asyncio.sleep(plan.every_s / 2)
    return stalls


async def _looks(system: LocalSystem) -> tuple[float, float]:
    """
    Return how often the scoring workers looked whether their loop is held up, and how many looks came more than 50 ms late.
    """
    pages = [await asyncio.to_thread(worker.metrics) for worker in _scoring(system)]
    name = "fraudstream_event_loop_stall_seconds"
    count = sum(read(page, f"{name}_count") for page in pages)
    return count, count - sum(read(page, f"{name}_bucket", le="0.05") for page in pages)


def _scoring(system: LocalSystem) -> list[LocalWorker]:
    return [worker for worker in system.workers if "ml-scoring" in _served(worker)]


def _served(worker: LocalWorker) -> tuple[str, ...]:
    return Settings(consumer_group=worker.groups).groups


async def _followed(system: LocalSystem, seq: int) -> float:
    """
    Wait until every worker that scores has taken over as many changes; return the longest stall that they tell of, in ms.

    A page of metrics costs the worker some ten milliseconds of the interpreter: it is asked for when the change must be over,
    and not to find out when it is.
    """
    while True:
        await asyncio.sleep(_SURE_S)
        pages = [await asyncio.to_thread(worker.metrics) for worker in _scoring(system)]
        if all(read(page, "fraudstream_model_swaps_total") >= seq for page in pages):
            return round(max(read(page, "fraudstream_model_swap_stall_seconds") for page in pages) * 1e3, 2)


def _reported(seen: _Seen) -> SwapReport:
    rate, most, quiet, found, changes, stalls, models, looks = seen
    received = np.array([one.received_ms for one in found])
    decided = np.array([one.decided_ms for one in found])
    latency, inside, follow_s = decided - received, np.zeros(len(found), dtype=np.bool_), []
    for at, change in enumerate(changes):
        end_ms = changes[at + 1].at_ms if at + 1 < len(changes) else np.inf
        by_new = np.array([one.model == change.champion for one in found], dtype=np.bool_)
        first = decided[by_new & (decided >= change.at_ms) & (decided < end_ms)]
        over_ms = float(first.min()) + _AFTER_MS if len(first) else change.at_ms + _AFTER_MS
        follow_s.append(round((over_ms - _AFTER_MS - change.at_ms) / 1e3, 3))
        inside |= (received < over_ms) & (decided > change.at_ms)
    late = _late(latency)
    counts = {name[:12]: sum(one.model == name for one in found) for name in models}
    return SwapReport(
        rate_tps=round(rate, 1),
        most_tps=round(most, 1),
        decisions=len(found),
        swaps=len(changes),
        models=counts,
        without_model=sum(not one.model for one in found),
        without_score=sum(one.probability is None for one in found),
        degraded=sum(bool(one.degraded) for one in found),
        other_score_than_its_model=_other_scores(found, models),
        calm_latency_ms=_latencies(np.array([one.decided_ms - one.received_ms for one in quiet])),
        swap_latency_ms=_latencies(latency[inside]),
        between_latency_ms=_latencies(latency[~inside]),
        in_swaps=int(inside.sum()),
        delayed_in_swaps=int((late & inside).sum()),
        delayed_between=int((late & ~inside).sum()),
        stall_ms=stalls,
        looks_over_50_ms={
            name: round((after[1] - before[1]) / max(1.0, after[0] - before[0]), 5)
            for name, before, after in zip(("calm", "changing"), looks[:-1], looks[1:], strict=True)
        },
        seconds_to_follow=follow_s,
    )


def _other_scores(found: Sequence[Passed], models: Mapping[str, OnnxModel]) -> int:
    """
    Count the decisions whose score is not, bit for bit, what the model that they name makes of their vector.
    """
    wrong = 0
    for name, model in models.items():
        rows = [one for one in found if one.model == name and one.vector]
        matrix = np.frombuffer(b"".join(one.vector for one in rows), "<f4").reshape(len(rows), len(model.feature_names))
        again = model.score(matrix)
        told = np.array([np.nan if one.probability is None else one.probability for one in rows], dtype=np.float32)
        wrong += int((again != told).sum())
    return wrong


def _latencies(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    shares = {"p50": 50, "p99": 99, "p999": 99.9, "max": 100}
    return {name: round(float(np.percentile(values, share)), 2) for name, share in shares.items()}


def _now() -> datetime:
    return datetime.now(UTC) - timedelta(milliseconds=5)
