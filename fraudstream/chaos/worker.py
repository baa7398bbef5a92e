"""
What a chaos worker is beyond a worker: it can be told where to die or to stop, meets poison, and notes what it sends.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.adapters import redis_alerts
from fraudstream.adapters.redis_janitor import RedisJanitor
from fraudstream.adapters.redis_verdicts import RedisVerdictLedger
from fraudstream.app import alerting
from fraudstream.app.channels import policies
from fraudstream.app.run import run_workers
from fraudstream.chaos.controls import CONTROLS
from fraudstream.chaos.poison import KILLS, RAISES
from fraudstream.domain.alert import Message, Notice
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet import crash
from fraudstream.settings import Settings, load
from fraudstream.stages import alert_desk
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.stages.ml_scoring import ModelJudge
from fraudstream.stages.ports import Answer
from fraudstream.telemetry.logging import configure_logging

#: Exit code of a worker that found no server when it started, as the command line has it: whoever started it tries again.
UNREACHABLE = 4
#: Tells the process that runs the chaos what happened here.
Emit = Callable[[dict[str, Any]], None]


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one worker is to be: its name, its settings as an environment, the folder of its files, and a control or nothing.
    """

    name: str
    environment: dict[str, str]
    folder: str
    control: str = ""

    @property
    def trap(self) -> Path:
        """
        Where the places to die and to stop at are left for it; it looks when it gets SIGUSR1.
        """
        return Path(self.folder) / f"{self.name}.trap"

    @property
    def alerts(self) -> Path:
        """
        Where it notes the transaction id of each alert that it sent.
        """
        return Path(self.folder) / f"{self.name}.alerts"


class Traps(msgspec.Struct, frozen=True):
    """
    Labelled places at whose next pass a worker dies (SIGKILL), and at which it stops (SIGSTOP), once each.
    """

    die: frozenset[str] = frozenset()
    stop: frozenset[str] = frozenset()


def run_worker(orders: Orders, emit: Emit) -> None:
    """
    Be one worker until SIGTERM.
    """
    configure_logging(sys.stderr, level="warning", as_json=True)
    _set_traps(orders, emit)
    _meet_poison(emit)
    _note_fencing(emit)
    _note_company(emit)
    _note_alerts(orders)
    _leave_trimming_to_the_tap(orders)
    if orders.control:
        CONTROLS[orders.control].break_it()
    asyncio.run(_serve(orders, emit))


async def _serve(orders: Orders, emit: Emit) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = load(orders.environment, {}, {})
    await run_workers(settings, stop, ready=partial(emit, {"event": "ready", "name": orders.name}))


def _set_traps(orders: Orders, emit: Emit) -> None:
    set_now = Traps()

    def spring(point: str) -> None:
        nonlocal set_now
        if point in set_now.die:
            emit({"event": "crashed", "point": point})
            os.kill(os.getpid(), signal.SIGKILL)
        if point in set_now.stop:
            set_now = Traps(set_now.die, set_now.stop - {point})
            emit({"event": "stopping", "point": point})
            os.kill(os.getpid(), signal.SIGSTOP)

    def look(*_: object) -> None:
        nonlocal set_now
        set_now = msgspec.json.decode(orders.trap.read_bytes(), type=Traps)

    signal.signal(signal.SIGUSR1, look)
    crash.arm(spring)


def _meet_poison(emit: Emit) -> None:
    """
    Make the judges fail as a defect in a rule or in the model's runtime would: by raising, or by taking the process with them.
    """

    def poisoned(judge: Any) -> Any:
        async def wrapped(self: Any, transactions: Sequence[Transaction], matrix: Any) -> Any:
            for one in transactions:
                if one.transaction_id.startswith(KILLS) and self.step == "model":
                    emit({"event": "poisoned", "id": one.transaction_id})
                    os.kill(os.getpid(), signal.SIGKILL)
                if one.transaction_id.startswith(RAISES[self.step]):
                    raise ValueError(f"poison: {one.transaction_id}")
            return await judge(self, transactions, matrix)

        return wrapped

    for kind in (RulesJudge, ModelJudge):
        kind.judge = poisoned(kind.judge)  # type: ignore[method-assign]


def _note_fencing(emit: Emit) -> None:
    """
    Tell how many results were dropped because somebody else had taken the entries over.
    """
    complete = RedisVerdictLedger.complete

    async def wrapped(self: Any, completions: Any) -> Any:
        completed = await complete(self, completions)
        if fenced := sum(answer is Answer.GONE for answer in completed.answers):
            emit({"event": "fenced", "entries": fenced})
        return completed

    RedisVerdictLedger.complete = wrapped  # type: ignore[method-assign]


def _note_company(emit: Emit) -> None:
    """
    Tell how many payments were decided from both groups' verdicts at once.
    """
    decide = RedisVerdictLedger.decide

    async def wrapped(self: Any, completions: Any, beside: str) -> Any:
        completed = await decide(self, completions, beside)
        emit({"event": "together", "entries": sum(answer is Answer.TOGETHER for answer in completed.answers)})
        return completed

    RedisVerdictLedger.decide = wrapped  # type: ignore[method-assign]


def _in_a_hurry(settings: Settings) -> dict[str, Any]:
    usual = policies(settings)["console"]
    return {"console": msgspec.structs.replace(usual, pace=msgspec.structs.replace(usual.pace, concurrent=8))}


class _Noted:
    """
    An alert channel whose receiver is a file: a line is one alert, and stays when the process dies.
    """

    name = "console"
    threads = None

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def recipient(self, _: Message) -> str:
        """
        Return who is told: a file.
        """
        return self.name

    async def post(self, message: Message) -> str:
        """
        Write one line for each payment that is told of for the first time, all of them in one call.
        """
        told = message.transaction_ids if isinstance(message, Notice) else ()
        os.write(self._file, b"".join(json.dumps(one).encode() + b"\n" for one in told))
        return message.alert_id

    async def update(self, message: Message, place: str) -> str:
        """
        Write the same for what came to a group since.
        """
        await self.post(message)
        return place

    async def close(self) -> None:
        """
        Close the file.
        """
        os.close(self._file)


def _leave_trimming_to_the_tap(orders: Orders) -> None:
    """
    Have the janitor of this process forget the dead and no more: the tap trims when it has read, or entries would go unseen.
    """
    if not (orders.control and CONTROLS[orders.control].trims):
        RedisJanitor.sweep = RedisJanitor.forget  # type: ignore[method-assign]


def _note_alerts(orders: Orders) -> None:
    """
    Tell a file and not people, without the patience that people need; who leads a channel is gone sooner when he dies.
    """
    redis_alerts._LEAD_S = 1.0  # noqa: SLF001 shortened like all times of a run
    alert_desk._LOOK_S = 0.02  # noqa: SLF001 likewise
    alerting.policies = _in_a_hurry  # type: ignore[attr-defined]

    def channels(_: Settings) -> list[Any]:
        return [_Noted(orders.alerts)]

    alerting.channels = channels  # type: ignore[attr-defined, assignment]
