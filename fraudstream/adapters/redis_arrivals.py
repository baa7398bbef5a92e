"""
Replies read where they arrive: what comes from the socket goes to the parser at once, and who waits wakes for whole replies.

The client's own way copies what arrives three times before it is parsed, and wakes a task for every piece of it. It offers none
to read otherwise, so this looks inside redis-py 8.1; pyproject.toml allows no other. Done in the client's place:

- ``Connection._connect``: opens the socket, sets what a socket is set to, and leaves ``_reader`` and ``_writer``;
- ``_AsyncHiredisParser.read_from_socket``: waits for replies instead of bytes;
- ``AbstractConnection.send_packed_command``: writes; whatever is not a plain write stays the client's.

Relied on: ``_connection_arguments`` says where to connect and with what TLS; ``on_connect`` puts a new parser into ``_reader``;
``read_response`` gets replies there and calls ``read_from_socket`` while it has none; ``can_read`` asks it as well. A test
holds the code of all of these against what it was when this was written.
"""

import asyncio
import socket
from collections import deque
from contextlib import nullcontext
from typing import Any

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _AsyncHiredisParser
from redis.asyncio import connection as waiting
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: Most bytes that are taken from the socket at once. More would not stay in the processor's cache until they are parsed.
_PIECE_BYTES = 256 * 1024
#: Room that a connection keeps for its next reply; what a larger one needed goes back.
_KEPT_BYTES = 4 * 1024 * 1024


class Replies:
    """
    The client's reader of replies, with those that are whole already in front of it.
    """

    def __init__(self, reader: hiredis.Reader) -> None:
        self._reader = reader
        # Grown once to a batch's states, not again for every batch.
        self._reader.setmaxbuf(_KEPT_BYTES)
        self._whole: deque[Any] = deque()
        self._broken: Exception | None = None

    def feed(self, *piece: Any) -> bool:
        """
        Take bytes; say whether there is anything to get now.
        """
        self._reader.feed(*piece)
        try:
            while (reply := self._reader.gets(False)) is not NOT_ENOUGH_DATA:
                self._whole.append(reply)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is raised where the reply is got
            self._broken = exc
        return bool(self._whole) or self._broken is not None

    def gets(self, _decoded: bool = True) -> Any:
        """
        Return the next reply as bytes, or what stands for none yet.

        Raises:
            InvalidResponse: What was received is none.
        """
        if self._whole:
            return self._whole.popleft()
        if self._broken is not None:
            raise self._broken
        return NOT_ENOUGH_DATA

    def has_data(self) -> bool:
        """
        Say whether anything came that nobody got.
        """
        return bool(self._whole) or self._reader.has_data()


class _Arrivals(asyncio.StreamReader):
    """
    The reading end of a connection, which keeps no bytes: they go to the replies.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._running = loop
        self._waiting: asyncio.Future[None] | None = None
        self.replies: Replies | None = None

    def arrived(self, piece: memoryview | bytes, length: int) -> None:
        """
        Pass a piece on, and wake whoever waits if a reply is whole.
        """
        if self.replies is None or self.replies.feed(piece, 0, length):
            self._wake()

    def feed_eof(self) -> None:
        """
        Note that nothing more will come.
        """
        super().feed_eof()
        self._wake()

    def set_exception(self, exc: Exception) -> None:
        """
        Note that the connection broke.
        """
        super().set_exception(exc)
        self._wake()

    async def more(self) -> None:
        """
        Wait for a whole reply.

        Raises:
            RedisConnectionError: There will be none, the server closed the connection.
        """
        if (broken := self.exception()) is not None:
            raise broken
        if self.at_eof():
            raise RedisConnectionError("the server closed the connection")
        self._waiting = self._running.create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class _Protocol(asyncio.StreamReaderProtocol, asyncio.BufferedProtocol):
    """
    What the event loop knows of a connection: it writes as streams do. A loop of asyncio reads all pieces into one place;
    uvloop has a place of its own and hands out bytes.
    """

    def __init__(self, arrivals: _Arrivals, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(arrivals, loop=loop)
        self._arrivals = arrivals
        self._piece = memoryview(bytearray(_PIECE_BYTES))
        self.held = False

    def pause_writing(self) -> None:
        """
        Note that the socket takes no more for now.
        """
        super().pause_writing()
        self.held = True

    def resume_writing(self) -> None:
        """
        Note that most of what was held back is away.
        """
        super().resume_writing()
        self.held = False

    def get_buffer(self, _size: int) -> memoryview:
        """
        Return where the next piece goes; it is passed on before there is another.
        """
        return self._piece

    def buffer_updated(self, length: int) -> None:
        """
        Pass on what has come.
        """
        self._arrivals.arrived(self._piece, length)

    def data_received(self, data: bytes) -> None:
        """
        Pass on what has come.
        """
        self._arrivals.arrived(data, len(data))


class _Parser(_AsyncHiredisParser):
    """
    The client's parser over replies that were read as they came.
    """

    def on_connect(self, connection: Any) -> None:
        """
        Begin anew on a connection that stands.
        """
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._arrivals: _Arrivals = connection._reader  # noqa: SLF001 - as the client's own parser does
        self._reader: Any = Replies(self._reader)
        self._arrivals.replies = self._reader

    async def read_from_socket(self) -> bool:
        """
        Wait for a whole reply.
        """
        await self._arrivals.more()
        return True


class PromptConnection(waiting.Connection):
    """
    A connection of the event loop that reads replies as they come.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "parser_class": _Parser})

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        arrivals = _Arrivals(loop)
        async with asyncio.timeout(self.socket_connect_timeout):
            transport, protocol = await loop.create_connection(
                lambda: _Protocol(arrivals, loop),
                **self._connection_arguments(),
            )
        self._reader, self._writer = arrivals, asyncio.StreamWriter(transport, protocol, arrivals, loop)
        try:
            self._set(transport.get_extra_info("socket"))
        except (OSError, TypeError):
            transport.close()
            raise

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """
        Write, and wait only where the socket takes no more; the client makes a task with a timer of every write.

        Raises:
            RedisConnectionError: The connection is lost.
            RedisTimeoutError: The server took nothing for the time that it has.
        """
        writer = self._writer
        if writer is None or isinstance(command, str) or (check_health and self.health_check_interval):
            await super().send_packed_command(command, check_health)
            return
        try:
            writer.write(command if isinstance(command, bytes) else b"".join(command))
            async with asyncio.timeout(self.socket_timeout) if self._held() else nullcontext():
                await writer.drain()
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise RedisTimeoutError("the server takes nothing") from None
        except OSError as exc:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"the connection was lost while writing: {exc}") from exc
        except BaseException:
            await self.disconnect(nowait=True)  # half a command may be on its way
            raise

    def _held(self) -> bool:
        protocol = None if self._writer is None else self._writer.transport.get_protocol()
        return isinstance(protocol, _Protocol) and protocol.held

    @property
    def idle(self) -> bool:
        """
        Whether it stands, nothing is wrong with it, and nothing came that nobody got.
        """
        arrivals = self._reader
        return (
            self._writer is not None
            and isinstance(arrivals, _Arrivals)
            and arrivals.replies is not None
            and not arrivals.replies.has_data()
            and not arrivals.at_eof()
            and arrivals.exception() is None
        )

    def _set(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.socket_keepalive:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            options: dict[int, int] = dict(self.socket_keepalive_options or {})  # type: ignore[call-overload]  # typed as object
            for option, value in options.items():
                connected.setsockopt(socket.IPPROTO_TCP, option, value)


class PromptTlsConnection(PromptConnection, waiting.SSLConnection):
    """
    The same with TLS.
    """
