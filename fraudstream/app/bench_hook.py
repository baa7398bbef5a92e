"""
A receiver of alerts on this machine that can be away: an HTTP server in a thread, which counts what it was told.
"""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

HOST = "127.0.0.1"


class Hook:
    """
    Takes every post while it is up; the port stays while it is down, and connections are refused.
    """

    def __init__(self) -> None:
        self.told = 0
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """
        Where alerts are posted to.
        """
        return f"http://{HOST}:{self._port}/alerts"

    def start(self) -> None:
        """
        Take posts from now on.
        """
        self._server = ThreadingHTTPServer((HOST, self._port), self._handler())
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """
        Refuse connections from now on.
        """
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        """
        Start.
        """
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """
        Stop.
        """
        self.stop()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hook.told += 1
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its name in http.server
                """
                Say nothing: what is posted is counted.
                """

        return Handler
