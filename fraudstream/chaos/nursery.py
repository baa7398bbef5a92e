"""
The process that all chaos workers are forked from: it has imported everything, so that a death costs a fork and not a second of
imports. Run as ``python -m fraudstream.chaos.nursery``; orders come as lines of JSON, events go back the same way.
"""

import gc
import os
import select
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.chaos.worker import UNREACHABLE, Orders, run_worker
from fraudstream.domain.errors import TransientError

#: Longest line of orders, in bytes: an environment and some names.
_READ_BYTES = 1 << 16


def emit(event: dict[str, Any]) -> None:
    """
    Write one event; short enough to arrive whole however many processes write.
    """
    os.write(1, msgspec.json.encode(event) + b"\n")


class Nursery:
    """
    Forks workers on orders from standard input until that ends, then takes all of them away.
    """

    def __init__(self) -> None:
        self._children: dict[int, str] = {}
        self._rest = b""
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """
        Fork and reap.
        """
        while True:
            ready, _, _ = select.select([0, self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, _READ_BYTES)
            self._reap()
            if 0 in ready and not self._orders():
                break
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _orders(self) -> bool:
        data = os.read(0, _READ_BYTES)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._fork(msgspec.json.decode(line, type=Orders))
        return bool(data)

    def _fork(self, orders: Orders) -> None:
        pid = os.fork()
        if pid == 0:
            _become(orders)
        self._children[pid] = orders.name
        emit({"event": "born", "name": orders.name, "pid": pid})

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            name = self._children.pop(pid)
            emit({"event": "ended", "name": name, "status": os.waitstatus_to_exitcode(status)})


def _become(orders: Orders) -> None:
    """
    Be a worker from here on; never returns.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        events = os.dup(1)
        log = os.open(Path(orders.folder) / f"{orders.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        run_worker(orders, partial(_tell, events, orders.name))
        code = 0
    except TransientError as exc:
        code = UNREACHABLE
        print(repr(exc), file=sys.stderr, flush=True)  # noqa: T201 its log
    except BaseException as exc:  # noqa: BLE001 the end of a process: nothing above it could handle anything
        print(repr(exc), file=sys.stderr, flush=True)  # noqa: T201 its log
    finally:
        os._exit(code)


def _tell(events: int, name: str, event: dict[str, Any]) -> None:
    os.write(events, msgspec.json.encode({**event, "name": name}) + b"\n")


if __name__ == "__main__":
    gc.collect()
    gc.freeze()
    Nursery().serve()
