"""
A worker that can be told to fail: SIGUSR1 breaks its model or mends it, SIGUSR2 holds its loop up or lets it go.
"""

import signal
import time
from typing import Any

from fraudstream.cli.main import run
from fraudstream.stages.ml_scoring import ModelJudge

#: Longest hold, in seconds, where nobody lets go.
_HOLD_S = 240.0
_state = {"broken": False, "held": False}
_opinions = ModelJudge._opinions


def _maybe(self: ModelJudge, *given: Any) -> Any:
    if _state["broken"]:
        raise RuntimeError("Non-zero status code returned while running TreeEnsembleClassifier node")
    return _opinions(self, *given)


def _break(*_: object) -> None:
    _state["broken"] = not _state["broken"]


def _hold_up(*_: object) -> None:
    # The handler runs in the thread of the loop, as a blocking call would; the second signal interrupts the first one's sleep.
    _state["held"] = not _state["held"]
    until = time.monotonic() + _HOLD_S
    while _state["held"] and time.monotonic() < until:
        time.sleep(0.05)


if __name__ == "__main__":
    ModelJudge._opinions = _maybe  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, _break)
    signal.signal(signal.SIGUSR2, _hold_up)
    run()
