"""
What a chaos worker is beyond a worker: it can be told where to die or to stop, meets poison, and notes what it sends.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.app import crew
from fraudstream.app.run import run_workers
from fraudstream.chaos.controls import CONTROLS
from fraudstream.chaos.poison import KILLS, RAISES
from fraudstream.domain.alert import Alert
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet import crash
from fraudstream.fleet.ports import AlertChannel
from fraudstream.settings import load
from fraudstream.stages.fraud_check import RulesJudge
from fraudstream.stages.ml_scoring import ModelJudge
from fraudstream.stages.ports import Answer
from fraudstream.telemetry.logging import configure_logging

#: Exit code of a worker that found no server when it started, as the command line has it: whoever started it tries again.
UNREACHABLE = 4
#: Tells the process that runs the chaos what happened here.
Emit = Callable[[dict[str, Any]], object]


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
        Where the next place to die or to stop at is left for it; it looks when it gets SIGUSR1.
        """
        return Path(self.folder) / f"{self.name}.trap"

    @property
    def alerts(self) -> Path:
        """
        Where it notes the transaction id of each alert that it sent.
        """
        return Path(self.folder) / f"{self.name}.alerts"


class Trap(msgspec.Struct, frozen=True):
    """
    Die (SIGKILL) or stop (SIGSTOP) at the next pass of a labelled place.
    """

    point: str
    stop: bool = False


def run_worker(orders: Orders, emit: Emit) -> None:
    """
    Be one worker until SIGTERM.
    """
    configure_logging(sys.stderr, level="warning", as_json=True)
    _set_traps(orders, emit)
    _meet_poison(emit)
    _note_fencing(emit)
    _note_alerts(orders)
    if orders.control:
        CONTROLS[orders.control].break_it()
    asyncio.run(_serve(orders, emit))


async def _serve(orders: Orders, emit: Emit) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = load(orders.environment, {}, {})
    await run_workers(settings, stop, ready=lambda: emit({"event": "ready", "name": orders.name}))


def _set_traps(orders: Orders, emit: Emit) -> None:
    traps: list[Trap] = []

    def spring(point: str) -> None:
        if not traps or traps[0].point != point:
            return
        trap = traps.pop()
        emit({"event": "stopping" if trap.stop else "crashed", "point": point})
        os.kill(os.getpid(), signal.SIGSTOP if trap.stop else signal.SIGKILL)

    def look(*_: object) -> None:
        traps[:] = [msgspec.json.decode(orders.trap.read_bytes(), type=Trap)]

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
        kind.judge = poisoned(kind.judge)  # type: ignore[method-assign, attr-defined]


def _note_fencing(emit: Emit) -> None:
    """
    Tell how many results were dropped because somebody else had taken the entries over.
    """
    complete = crew.RedisVerdictLedger.complete

    async def wrapped(self: Any, completions: Any) -> Any:
        completed = await complete(self, completions)
        if fenced := sum(answer is Answer.GONE for answer in completed.answers):
            emit({"event": "fenced", "entries": fenced})
        return completed

    crew.RedisVerdictLedger.complete = wrapped  # type: ignore[method-assign]


class _Noted:
    """
    An alert channel whose receiver is a file: a line is one alert, and stays when the process dies.
    """

    name = "console"

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def send(self, alert: Alert) -> None:
        """
        Write one line in one call.
        """
        os.write(self._file, json.dumps(alert.transaction_id).encode() + b"\n")

    async def close(self) -> None:
        """
        Close the file.
        """
        os.close(self._file)


def _note_alerts(orders: Orders) -> None:
    def channels(_: Mapping[str, Any]) -> list[AlertChannel]:
        return [_Noted(orders.alerts)]

    crew.channels = channels  # type: ignore[assignment, attr-defined]
