"""
Commands of ours without the second that their imports take: forked from a process that has imported everything, which lives as
long as this one. A fork is a process like any other: it has its own pid, can be killed, and knows nothing of its siblings.

What starts as a person would start it (``python -m fraudstream``) is tested in ``test_commands.py`` and ``test_cmd.py``.
"""

import atexit
import contextlib
import gc
import importlib
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

import msgspec

ROOT = Path(__file__).parents[2]
_MESSAGE_BYTES = 1 << 17
#: Not imported ahead: they bring threads (OpenMP) that no fork survives, or are not for commands that are run here.
_LATER = ("fraudstream.training", "fraudstream.chaos", "fraudstream.app.model_parity", "fraudstream.adapters.decision_files")


class Order(msgspec.Struct, frozen=True):
    """
    What a fork is to be: a module that is run as ``__main__`` with words, an environment and a folder.
    """

    module: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: str


class Forked:
    """
    What ``subprocess.Popen`` is for other processes, as far as it is needed here.
    """

    def __init__(self, order: Order, status: socket.socket) -> None:
        self._status = status
        self._lock = threading.Lock()
        self.args = [order.module, *order.words]
        self.returncode: int | None = None
        self.pid = int(self._heard(None) or 0)

    def __del__(self) -> None:
        # Nobody waited for its end, as where a test failed before.
        self._status.close()

    def poll(self) -> int | None:
        with self._lock:
            return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        with self._lock:
            code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _ended(self, timeout_s: float | None) -> int | None:
        if self.returncode is None:
            word = self._heard(timeout_s)
            self.returncode = None if word is None else int(word)
            if word is not None:
                self._status.close()
        return self.returncode

    def _heard(self, timeout_s: float | None) -> bytes | None:
        ready, _, _ = select.select([self._status], [], [], timeout_s)
        if not ready:
            return None
        word = self._status.recv(64)
        assert word, "the nursery has gone"
        return word


def start(
    order: Order, *, stdout: IO[bytes] | int, stderr: IO[bytes] | int, stdin: IO[bytes] | int = subprocess.DEVNULL
) -> Forked:
    """
    Fork a command; its streams are files, or ``subprocess.DEVNULL``.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        files = [nothing if isinstance(one, int) else one.fileno() for one in (stdin, stdout, stderr)]
        socket.send_fds(_opened(), [msgspec.json.encode(order)], [*files, theirs.fileno()])
    finally:
        os.close(nothing)
        theirs.close()
    return Forked(order, ours)


_opening = threading.Lock()
_control: list[socket.socket] = []


def _opened() -> socket.socket:
    """
    Return the way to the nursery of this process, which is started for the first who asks.
    """
    with _opening:
        if not _control:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-m", "tests.support.nursery", str(theirs.fileno())]
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
                pass_fds=[theirs.fileno()],
            )  # fmt: skip
            theirs.close()
            _control.append(ours)
            atexit.register(process.wait)
            atexit.register(ours.close)  # the last that is registered comes first
        return _control[0]


class _Nursery:
    """
    Forks on orders until nobody can give any, then takes all forks away.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, socket.socket] = {}
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._control, self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
            self._reap()
            if self._control in ready and not self._order():
                break
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _order(self) -> bool:
        message, files, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, 4)
        if not message:
            return False
        order = msgspec.json.decode(message, type=Order)
        pid = os.fork()
        if pid == 0:
            self._forget()
            _become(order, files)
        *streams, status = files
        for one in streams:
            os.close(one)
        self._children[pid] = socket.socket(fileno=status)
        self._children[pid].send(b"%d" % pid)
        return True

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            # Whoever wanted to know may have gone.
            with self._children.pop(pid) as told, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                told.send(b"%d" % os.waitstatus_to_exitcode(status))

    def _forget(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self._control, *self._children.values()):
            one.close()
        os.close(self._woken)
        os.close(self._wake)


def _become(order: Order, files: Sequence[int]) -> NoReturn:
    """
    Be the command from here on.
    """
    code = 1
    try:
        os.setsid()
        # Where the tests run in the background, as under nohup, the interrupt is ignored, and so by everything that they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(order.folder)
        for target, source in enumerate(files[:3]):
            os.dup2(source, target)
        for one in files:
            os.close(one)
        os.environ.clear()
        os.environ.update(order.environment)
        sys.argv = [order.module, *order.words]
        runpy.run_module(order.module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        if isinstance(exc.code, str):
            sys.stderr.write(exc.code + "\n")
    except BaseException:  # noqa: BLE001 the end of a process: nothing above it could handle anything
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _import_everything() -> None:
    import fraudstream  # noqa: PLC0415 only in the nursery

    for found in pkgutil.walk_packages(fraudstream.__path__, "fraudstream."):
        if not found.name.startswith(_LATER) and not found.name.endswith("__main__"):
            importlib.import_module(found.name)


if __name__ == "__main__":
    _import_everything()
    gc.collect()
    gc.freeze()
    _Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()
