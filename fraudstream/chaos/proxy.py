"""
A way to a server on which connections break: cut, deaf after the command ran, slow, half-open. One event loop, no threads.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from fraudstream.local.process import HOST

#: What a read answers that found nothing: no loss to lose.
_NOTHING = b"*-1\r\n"
#: How much longer a reply takes on a slow link, in seconds.
DELAY_S = 0.3


class Link:
    """
    One client's connection and the one behind it.
    """

    def __init__(self, proxy: "Proxy", client: asyncio.Transport) -> None:
        self._proxy = proxy
        self._client = client
        self._server: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._slow_until = 0.0
        self._held: list[bytes] = []
        self._deaf = False
        self._frozen = False

    async def connect(self, port: int) -> None:
        """
        Open the way to the server; a server that is away closes the client's connection.
        """
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: _Server(self), HOST, port)
        except OSError:
            self.cut()
            return
        self._server = transport
        for data in self._early:
            transport.write(data)
        if self._client.is_closing():
            self.cut()

    def asked(self, data: bytes) -> None:
        """
        Pass a request on.
        """
        if self._frozen:
            return
        if self._proxy.word and self._proxy.word in data and self._proxy.words_left > 0:
            self._proxy.words_left -= 1
            self._deaf = True
        if self._server is None:
            self._early.append(data)
        else:
            self._server.write(data)

    def answered(self, data: bytes) -> None:
        """
        Pass a reply on, or let the fault of this link have it.
        """
        if self._frozen:
            return
        if self._deaf and data != _NOTHING:
            self._proxy.count("reply_lost")
            self.cut()
            return
        loop = asyncio.get_running_loop()
        if self._held:
            self._held.append(data)
        elif loop.time() < self._slow_until:
            self._held.append(data)
            loop.call_at(self._slow_until, self._let_go)
        else:
            self._client.write(data)

    def _let_go(self) -> None:
        # In the order in which they came: timers of one moment have none.
        held, self._held = b"".join(self._held), []
        if not self._client.is_closing():
            self._client.write(held)

    def cut(self) -> None:
        """
        Reset both ends.
        """
        self._proxy.links.discard(self)
        self._client.abort()
        if self._server is not None:
            self._server.abort()

    def deafen(self) -> None:
        """
        Swallow the next reply and cut: the command ran, and nobody hears of it.
        """
        self._deaf = True

    def hear(self) -> None:
        """
        Swallow no reply after all.
        """
        self._deaf = False

    def slow(self) -> None:
        """
        Hold replies back for a while.
        """
        self._slow_until = asyncio.get_running_loop().time() + DELAY_S

    def freeze(self) -> None:
        """
        Pass nothing on any more and say so to nobody: a half-open connection.
        """
        self._frozen = True


class _Client(asyncio.Protocol):
    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._link = self._proxy.join(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._link.asked(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's own signature
        self._link.cut()


class _Server(asyncio.Protocol):
    def __init__(self, link: Link) -> None:
        self._link = link

    def data_received(self, data: bytes) -> None:
        self._link.answered(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's own signature
        self._link.cut()


class Proxy:
    """
    Listens on a port of its own and passes everything to the server's, which may change.

    Args:
        port: The server's.
        count: Told each fault when it has happened, by name.
        word: A reply to a request that holds it is lost while ``words_left`` is over 0.
    """

    def __init__(self, port: int, count: Callable[[str], None], *, word: bytes = b"") -> None:
        self._target = port
        self.count = count
        self.word = word
        self.words_left = 0
        self.links: set[Link] = set()
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """
        Listen.
        """
        self._listener = await asyncio.get_running_loop().create_server(lambda: _Client(self), HOST, 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    def join(self, client: asyncio.Transport) -> Link:
        """
        Take in a client.
        """
        link = Link(self, client)
        self.links.add(link)
        task = asyncio.create_task(link.connect(self._target))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return link

    def move(self, port: int) -> None:
        """
        Lead everybody to another server from now on, and cut what leads to the old one.
        """
        self._target = port
        for link in list(self.links):
            link.cut()

    def trouble(self, kind: str, rng: random.Random) -> bool:
        """
        Do something to one connection: ``cut``, ``reply_lost``, ``delay`` or ``half_open``; False when there is none.
        """
        links = sorted(self.links, key=id)
        if not links:
            return False
        link = rng.choice(links)
        act: dict[str, Callable[[], Any]] = {
            "cut": link.cut,
            "reply_lost": link.deafen,
            "delay": link.slow,
            "half_open": link.freeze,
        }
        act[kind]()
        if kind != "reply_lost":  # that one is counted when it has happened
            self.count(kind)
        return True

    def spare(self) -> None:
        """
        Let nothing happen any more that was set up and is still to come: a lost reply waits for a reply, however long.
        """
        self.words_left = 0
        for link in self.links:
            link.hear()

    async def close(self) -> None:
        """
        Listen no more, and cut everything.
        """
        if self._listener is not None:
            self._listener.close()
        for link in list(self.links):
            link.cut()
        await asyncio.gather(*self._connecting, return_exceptions=True)
