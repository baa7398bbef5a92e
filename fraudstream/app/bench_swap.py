"""
Models that change at a constant rate of payments: what a promotion or a rollback costs the decisions that are under way.
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
from fraudstream.domain.decision import Decision
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
#: Decision deadline of the workers, in milliseconds.
DEADLINE_MS = 250


class SwapPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    ``rate_per_s`` for ``calm_s`` without a change, then for ``seconds`` with a promotion or rollback, each taken over and then
    left alone for ``every_s``. The rate is one at which nothing is late by itself: above it nobody could say whose fault it is
    that a decision comes late, and what is seen there is how long the loops stand still (``bench_swap_full``).

    ``other`` is the folder of the model that is promoted; None makes one of equal trees and another hash for each promotion,
    so that each of them is loaded.
    """

    rate_per_s: float = 3_000.0
    calm_s: float = 10.0
    seconds: float = 40.0
    every_s: float = 2.0
    other: Path | None = None
    groups: Sequence[str] = _GROUPS
    inherited: dict[str, str] = {}


class SwapReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What changing models did to the decisions.

    ``rate_tps`` is the load.

    A decision is *in* a swap when it was under way at any time from the change of the pointer until 100 ms after the first
    decision by the new model: loading and warming up lie in between. ``delayed`` are those that took ``BOUND_MS`` longer
    than the median, among decisions in swaps and among the others, whose share is what the machine does by itself.
    ``stall_ms`` is the longest that the scoring worker's loop stood still in each swap, as the worker measured it;
    ``looks_over_50_ms`` the share of all its looks that came so late, with changes and without: what the machine adds.
    """

    rate_tps: float
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

    @property
    def good(self) -> bool:
        """
        Whether every decision has a model and its score, and no swap held the loop up for 50 ms.
        """
        wrong = self.without_model or self.without_score or self.other_score_than_its_model
        return not (wrong or max(self.stall_ms, default=0.0) > BOUND_MS)


class _Seen(NamedTuple):
    """
    What a run leaves: the rate, decisions without and with changes, the changes, stalls in ms, the models by id, and how many
    looks of the workers came, and came late, before the calm, after it and at the end.
    """

    rate_per_s: float
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
    progress.step("starting servers and workers")
    with LocalSystem(inherited=plan.inherited, deadline_ms=DEADLINE_MS, horizon_s=0, groups=plan.groups) as system:
        registry = ModelFolder(system.folder / "registry")
        system.set(FRAUDSTREAM_MODEL_REGISTRY=registry.place)
        await migrate(system.postgres.url)
        system.start_workers()
        async with connected(address(system.settings())) as client:
            models = RedisModels(client)
            most = math.ceil(plan.seconds / (2 * (plan.every_s + _SURE_S)))
            known = await push_models(models, registry, system.folder, most, plan.other)
            calendar = Calendar()
            await _send(system, _payments(calendar, _WARM_UP), None, progress)
            progress.step(f"without a change, at {plan.rate_per_s:,.0f}/s")
            bodies, since = _payments(calendar, int(plan.rate_per_s * plan.calm_s)), _now()
            looks = [await _looks(system)]
            await _send(system, bodies, plan.rate_per_s, progress)
            quiet = await passed(system.postgres.url, since)
            progress.step(f"with changes, at {plan.rate_per_s:,.0f}/s")
            bodies, since = _payments(calendar, int(plan.rate_per_s * plan.seconds)), _now()
            looks.append(await _looks(system))
            swapping = asyncio.create_task(_swap(plan, system, models, list(known)))
            await _send(system, bodies, plan.rate_per_s, progress)
            stalls = await swapping
            looks.append(await _looks(system))
            found = await passed(system.postgres.url, since)
            changes = [one for one in await models.history() if one.seq]
    return _reported(_Seen(plan.rate_per_s, quiet, found, changes, stalls, known, looks))


async def push_models(
    models: RedisModels, registry: ModelFolder, folder: Path, most: int, other: Path | None
) -> dict[str, OnnxModel]:
    """
    Push the shipped model and those that are promoted in turn: one that is given, or so many of equal trees, each to be loaded.
    A very long run meets some of those again.

    Returns:
        The models by id, the shipped one first.
    """
    features = load_features(locate(Path("models/default.features")).read_text(encoding="utf-8"))
    shipped = locate(Path("models"))
    twins = [twin(shipped, folder / f"twin-{number}", number) for number in range(2, 2 + min(most, _TWINS))]
    folders = [shipped, *([other] if other else twins)]
    desk = ModelDesk(models, registry, features, "bench")
    names = [(await desk.push(one, reason="bench")).model for one in folders]
    loaded = [load_model(one, features.names, feature_set=features.id) for one in folders]
    return dict(zip(names, loaded, strict=True))


def _payments(calendar: Calendar, count: int) -> list[Labelled]:
    return list(generate(calendar.world(count)))


def _late(latency_ms: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(latency_ms > float(np.median(latency_ms)) + BOUND_MS) if len(latency_ms) else np.zeros(0, dtype=np.bool_)


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
            stalls.append(await change_model(system, models, champion, kind))
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


async def change_model(system: LocalSystem, models: RedisModels, champion: str, kind: str) -> float:
    """
    Let another model decide, and wait until every worker that scores has taken it over.

    Returns:
        The longest that a loop stood still meanwhile, for whatever reason, in milliseconds.
    """
    seen = await models.pointer()
    seq = await models.point(seen, Pointer(champion=champion, kind=kind, actor="bench", reason="bench"))
    return await _followed(system, seq)


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
    rate, quiet, found, changes, stalls, models, looks = seen
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
        decisions=len(found),
        swaps=len(changes),
        models=counts,
        without_model=sum(not one.model for one in found),
        without_score=sum(one.probability is None for one in found),
        degraded=sum(bool(one.degraded) for one in found),
        other_score_than_its_model=sum(
            other_scores(model, [one for one in found if one.model == name]) for name, model in models.items()
        ),
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


def other_scores(model: OnnxModel, found: Sequence[Passed] | Sequence[Decision]) -> int:
    """
    Count decisions of a model whose score is not, bit for bit, what it makes of their vector.
    """
    rows = [one for one in found if one.vector]
    matrix = np.frombuffer(b"".join(one.vector for one in rows), "<f4").reshape(len(rows), len(model.feature_names))
    told = np.array([np.nan if one.probability is None else one.probability for one in rows], dtype=np.float32)
    return int((model.score(matrix) != told).sum())


def _latencies(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    shares = {"p50": 50, "p99": 99, "p999": 99.9, "max": 100}
    return {name: round(float(np.percentile(values, share)), 2) for name, share in shares.items()}


def _now() -> datetime:
    return datetime.now(UTC) - timedelta(milliseconds=5)
