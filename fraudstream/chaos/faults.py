"""
Every fault of a plan by its name: the great ones are waited for, the light ones happen beside the traffic.
"""

import asyncio
import signal
from collections.abc import Sequence

from fraudstream.chaos.changes import change_rules
from fraudstream.chaos.great_faults import fill, promote, restart, stop_model, wipe
from fraudstream.chaos.plan import Fault
from fraudstream.chaos.stage import Stage
from fraudstream.chaos.traffic import Item

#: Who passes the places at which a worker is stopped.
_DECIDING = ("fraud-check", "ml-scoring")
_STOPPED_IN = {
    **dict.fromkeys(("touched", "judged", "computed"), _DECIDING),
    **dict.fromkeys(("recording", "recorded"), ("recorder",)),
    "sending": ("alerter",),
}


async def cause(stage: Stage, fault: Fault, items: Sequence[Item]) -> None:
    """
    Do one fault; the great ones are over on return, and get the payments of their beat.
    """
    match fault.name:
        case "redis_kill":
            await restart(stage, fault.name, stage.valkey, items, away_s=0.2)
        case "flushall":
            await wipe(stage, items)
        case "promotion":
            await promote(stage, items)
        case "oom":
            await fill(stage, items)
        case "postgres_stop":
            await restart(stage, fault.name, stage.postgres, items, away_s=0.5)
        case "model_stop":
            await stop_model(stage, items)
        case "rules":
            stage.spawn(change_rules(stage))
        case _:
            stage.spawn(_light(stage, fault))


async def _light(stage: Stage, fault: Fault) -> None:
    await asyncio.sleep(fault.after_s)
    if fault.name == "connection":
        _trouble(stage, fault.detail)
        return
    animals = stage.herd.working(*(_STOPPED_IN.get(fault.detail, ())))
    while not animals:
        await asyncio.sleep(0.05)
        animals = stage.herd.working(*(_STOPPED_IN.get(fault.detail, ())))
    animal = stage.rng.choice(animals)
    match fault.name:
        case "sigkill":
            stage.faults["sigkill"] += animal.kill(signal.SIGKILL)
        case "sigterm":
            stage.faults["sigterm"] += await stage.herd.stop(animal)
        case "sigstop" if fault.detail:
            stage.herd.trap(animal, stop=[fault.detail])
        case "sigstop":
            animal.stopped = animal.kill(signal.SIGSTOP)
            stage.faults["sigstop"] += animal.stopped
            await stage.wake(animal, animal.ended)


def _trouble(stage: Stage, kind: str) -> None:
    if kind == "commit_lost":
        stage.postgres_proxy.words_left += 1
    elif kind == "read_lost":
        stage.redis_proxy.words_left += 1
    else:
        proxy = stage.redis_proxy if stage.rng.random() < 0.85 else stage.postgres_proxy
        proxy.trouble(kind, stage.rng)
