"""
Models that change while a fleet has no time for it: a backlog is kept before it, and its loops tell how long they stood still.
"""

import asyncio
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from fraudstream.adapters.model_folder import ModelFolder
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_models import RedisModels
from fraudstream.app.bench_reload import Phase, Stretches, endless
from fraudstream.app.bench_swap import BOUND_MS, DEADLINE_MS, SwapPlan, change_model, other_scores, push_models
from fraudstream.app.connections import address
from fraudstream.app.demo import Progress
from fraudstream.app.loaded_fleet import LoadedFleet, loaded_fleet
from fraudstream.domain.decision import Decision
from fraudstream.scoring.model import OnnxModel

#: Seconds that a promotion and the rollback after it take, about; as long nothing changes.
_TURN_S = 3.0
#: Decisions that are scored again at once.
_AGAIN_AT_ONCE = 4_096


class FullSpeed(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a fleet at full speed did while its models changed.

    ``models`` counts decisions by the first letters of the model that made them. ``lost``, ``doubled``, ``degraded``,
    ``without_model``, ``without_score`` and ``other_score_than_its_model`` count decisions and must be 0; the last are those
    that come out otherwise when scored again by the model that they name. ``stall_ms`` is the longest that a loop stood still
    in each swap by the clock, for whatever reason: as much can it have delayed a decision. ``without_changes`` and
    ``with_changes`` took turns.
    """

    swaps: int
    transactions: int
    models: dict[str, int]
    lost: int
    doubled: int
    degraded: int
    without_model: int
    without_score: int
    other_score_than_its_model: int
    stall_ms: list[float]
    without_changes: Phase
    with_changes: Phase

    @property
    def good(self) -> bool:
        """
        Whether every decision is there once, by a model, with its score, and no swap held a loop up for 50 ms.
        """
        wrong = self.lost or self.doubled or self.degraded or self.without_model or self.without_score
        return not (wrong or self.other_score_than_its_model or max(self.stall_ms, default=0.0) > BOUND_MS)


async def swap_at_full_speed(plan: SwapPlan, progress: Progress) -> FullSpeed:
    """
    Promote and roll back on a busy fleet of our own, in turns with stretches without, and score every decision again.

    Raises:
        ConfigurationError: A server of our own did not start.
    """
    progress.step("starting servers and workers")
    turns = max(1, math.ceil(plan.seconds / (2 * _TURN_S)))
    async with (
        loaded_fleet(endless(), inherited=plan.inherited, prepare=_with_registry, deadline_ms=DEADLINE_MS) as fleet,
        connected(address(fleet.system.settings())) as client,
    ):
        models = RedisModels(client)
        known = await push_models(models, _registry(fleet.system.folder), fleet.system.folder, turns, plan.other)
        shipped, *others = known
        stop = asyncio.Event()
        feeding = asyncio.create_task(fleet.busy(stop))
        await asyncio.sleep(_TURN_S)  # the first batches pay for imports and caches
        calm, changing, stalls = Stretches(), Stretches(), list[float]()
        for turn, other in zip(range(turns), itertools.cycle(others), strict=False):
            progress.step(f"at full speed, without a change of models and with, {turn + 1} of {turns}")
            await calm.add(fleet, asyncio.sleep(_TURN_S))
            await changing.add(fleet, _there_and_back(fleet, models, other, shipped, stalls))
        stop.set()
        await feeding
        await fleet.done()
        progress.step("scoring every decision again")
        return await _reported(fleet, known, calm, changing, stalls)


def _registry(folder: Path) -> ModelFolder:
    return ModelFolder(folder / "registry")


def _with_registry(folder: Path) -> Mapping[str, str]:
    return {"FRAUDSTREAM_MODEL_REGISTRY": _registry(folder).place}


async def _there_and_back(fleet: LoadedFleet, models: RedisModels, other: str, shipped: str, stalls: list[float]) -> None:
    for champion, kind in ((other, "promote"), (shipped, "rollback")):
        stalls.append(await change_model(fleet.system, models, champion, kind))


async def _reported(
    fleet: LoadedFleet, models: Mapping[str, OnnxModel], calm: Stretches, changing: Stretches, stalls: list[float]
) -> FullSpeed:
    times, made_by = Counter[str](), Counter[str]()
    degraded = without_score = wrong = 0
    waiting: defaultdict[str, list[Decision]] = defaultdict(list)
    async for one in fleet.redis.decisions():
        times[one.transaction.transaction_id] += 1
        made_by[one.model] += 1
        degraded += bool(one.degraded)
        without_score += one.probability is None
        if one.model not in models:
            continue
        held = waiting[one.model]
        held.append(one)
        if len(held) >= _AGAIN_AT_ONCE:
            wrong += other_scores(models[one.model], waiting.pop(one.model))
    wrong += sum(other_scores(models[name], held) for name, held in waiting.items())
    return FullSpeed(
        swaps=len(stalls),
        transactions=fleet.sent,
        models={name[:12]: made_by[name] for name in models},
        lost=fleet.sent - len(times),
        doubled=sum(count - 1 for count in times.values()),
        degraded=degraded,
        without_model=sum(count for name, count in made_by.items() if name not in models),
        without_score=without_score,
        other_score_than_its_model=wrong,
        stall_ms=stalls,
        without_changes=calm.phase(),
        with_changes=changing.phase(),
    )
