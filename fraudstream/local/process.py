"""
One server process that belongs to us: a private folder, a free port, and nothing left behind however we end.
"""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from fraudstream.domain.errors import ConfigurationError
from fraudstream.local.owner import Owner

#: Only this machine can reach the servers.
HOST = "127.0.0.1"
#: Longest time from launch to the first answer, in seconds; a server may have a log to read back.
START_TIMEOUT_S = 30.0
#: Longest time that an orderly stop may take before the process is killed, in seconds.
STOP_TIMEOUT_S = 20.0
_ASK_AGAIN_S = 1.0
_POLL_S = 0.02

# Waits for the end of its input: a line means that the server may live or is gone already, no line that we died. It is a
# process and not a signal set in the server (PR_SET_PDEATHSIG), because that follows the thread that started the server.
_GUARD = """
read -r pid || exit 0
read -r _ && exit 0
kill -s "$1" "$pid" 2>/dev/null
n=0
while kill -0 "$pid" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
kill -s KILL "$pid" 2>/dev/null
[ -z "$2" ] || rm -rf -- "$2"
"""


class LocalServerFailed(ConfigurationError):
    """
    A server of our own did not start; the text says why and what to do.
    """


class LocalServer(ABC):
    """
    A server that lives as long as this object wants, and never longer than this process.

    ``start`` and ``stop`` (or ``kill``) may follow each other as often as wanted: folder, port and ``url`` stay. ``close``
    also removes the folder if it was chosen here. Calls block, a second at most in the usual case.

    Args:
        name: Word for messages and for the folder's name.
        folder: Where everything is kept; None for a fresh private one under the system's temporary folder.
        port: TCP port on loopback; None for a free one.
        owner: The user that the process runs as.
    """

    #: What an orderly stop sends.
    stop_signal = signal.SIGTERM
    #: What is sent when this process died without stopping the server.
    orphan_signal = signal.SIGTERM

    def __init__(self, name: str, *, folder: Path | None, port: int | None, owner: Owner) -> None:
        self._name = name
        self._owner = owner
        self._own_folder = folder is None
        self._port_may_move = port is None
        self.folder = owner.make_folder(_fresh_folder(name, owner) if folder is None else folder)
        self.port = free_port() if port is None else port
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """
        Where clients connect; holds the password, if there is one.
        """

    @property
    def pid(self) -> int:
        """
        The process id of the running server.

        Raises:
            LocalServerFailed: It is not running.
        """
        if self._process is None:
            raise LocalServerFailed(f"{self._name} is not running; call start() first")
        return self._process.pid

    @property
    def running(self) -> bool:
        """
        Whether the process is there.
        """
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """
        What the server wrote to its standard output and error.
        """
        return self.folder / "server.log"

    @abstractmethod
    def _command(self) -> list[str]:
        """
        Return the command line; called at every start.
        """

    def _environment(self) -> dict[str, str] | None:
        """
        Return the environment of the process; None for our own.
        """
        return None

    @abstractmethod
    def _answers(self) -> bool:
        """
        Say whether the server takes clients.
        """

    @abstractmethod
    def _prepare(self) -> None:
        """
        Make what the server needs before its first start; called at every start.
        """

    def start(self) -> Self:
        """
        Start the server and wait until it takes clients; does nothing while it is running.

        Raises:
            LocalServerFailed: It ended, or did not answer in time; the text quotes the end of its log.
        """
        if self.running:
            return self
        self._prepare()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._attempt(deadline):
            if time.monotonic() >= deadline:
                raise LocalServerFailed(f"{self._name} did not start on {HOST}:{self.port}; its log ends with:\n{self._tail()}")
            if self._port_may_move:
                self.port = free_port()  # somebody took it between our look and the launch
            time.sleep(0.2)  # after a kill the helpers of the old process may still be leaving
        return self

    def _attempt(self, deadline: float) -> bool:
        """
        Launch once; return False when the process ended before it answered.
        """
        self._launch()
        while self.running:
            if self._answers():
                self._port_may_move = False
                return True
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)
        ended = not self.running
        self.kill()
        if ended and not self._may_try_again():
            raise LocalServerFailed(f"{self._name} ended while starting; its log ends with:\n{self._tail()}")
        return False

    def _may_try_again(self) -> bool:
        """
        Say whether the log names something that passes: a port that was taken, or a predecessor that is still leaving.
        """
        tail = self._tail().lower()
        return any(sign in tail for sign in ("address already in use", "could not bind", "still in use", "another postmaster"))

    def _launch(self) -> None:
        doomed = str(self.folder) if self._own_folder else ""
        guard = subprocess.Popen(  # noqa: S603 our own script, our own arguments
            ["/bin/sh", "-c", _GUARD, "guard", self.orphan_signal.name.removeprefix("SIG"), doomed],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True,
        )  # fmt: skip
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 likewise
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True,  # Ctrl-C on the terminal is for us, not for the server
                env=self._environment(),
                **self._owner.popen_arguments(),
            )  # fmt: skip
        self._guard = guard
        assert guard.stdin is not None
        guard.stdin.write(b"%d\n" % self._process.pid)
        guard.stdin.flush()

    def stop(self) -> None:
        """
        Stop the server in order, so that everything written is on disk; does nothing when it is not running.
        """
        if self._process is not None and self.running:
            self._asked_to_stop(self._process)
        self._forget()

    def _asked_to_stop(self, process: subprocess.Popen[bytes]) -> None:
        """
        Ask until the process has left: Redis forgets the request while it writes its first append-only file.
        """
        for _ in range(int(STOP_TIMEOUT_S / _ASK_AGAIN_S)):
            process.send_signal(self.stop_signal)
            try:
                process.wait(_ASK_AGAIN_S)
            except subprocess.TimeoutExpired:
                continue
            return
        self.kill()

    def kill(self) -> None:
        """
        Take the server away at once (SIGKILL), as a crash would; does nothing when it is not running.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._forget()

    def leave_running(self) -> int:
        """
        Let the server outlive this process, and return its process id; from now on somebody else must stop it.
        """
        pid = self.pid
        self._dismiss_guard()
        return pid

    def close(self) -> None:
        """
        Stop the server and remove its folder, if the folder was chosen here.
        """
        self.stop()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _forget(self) -> None:
        self._process = None
        self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.communicate(b"dismissed\n")
            self._guard = None

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "(no log)"


def _fresh_folder(name: str, owner: Owner) -> Path:
    bases = [Path(base).absolute() for base in (tempfile.gettempdir(), "/tmp", "/var/tmp")]  # noqa: S108 a name that nobody else has
    base = next((base for base in bases if base.is_dir() and owner.can_reach(base / name)), bases[0])
    return Path(tempfile.mkdtemp(prefix=f"fraudstream-{name}-", dir=base))


def free_port() -> int:
    """
    Return a TCP port of loopback that nobody listens on right now.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wheel_folder(package: str) -> Path:
    """
    Return the folder of an installed package without importing it: both wheels do more at import than we need.

    Raises:
        LocalServerFailed: It is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LocalServerFailed(f"the package {package} is not installed; run: pip install 'fraudstream[demo]'")
    return Path(next(iter(spec.submodule_search_locations)))
