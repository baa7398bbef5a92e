"""
A way to a server on which a reply gets lost: what was asked is done, and nobody hears of it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fraudstream.local.process import HOST


class DeafProxy:
    """
    Passes bytes both ways until a request holds ``word``: that one is passed on, its reply is swallowed, the connection cut.
    """

    def __init__(self, port: int, word: bytes) -> None:
        self._port = port
        self._word = word
        self.port = 0
        self.swallowed = 0
        self._ways: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["DeafProxy"]:
        server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            # A server that is closed does not wait for its connections.
            for way in self._ways:
                way.cancel()
            await asyncio.gather(*self._ways, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = asyncio.current_task()
        assert way is not None
        self._ways.add(way)
        far_reader, far_writer = await asyncio.open_connection(HOST, self._port)
        try:
            await self._pass_on(reader, writer, far_reader, far_writer)
        finally:
            for end in (far_writer, writer):
                end.close()
            await asyncio.gather(*(end.wait_closed() for end in (far_writer, writer)), return_exceptions=True)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        back = asyncio.create_task(self._back(far_reader, writer))
        try:
            while request := await reader.read(65536):
                lose = self.swallowed == 0 and self._word in request
                if lose:
                    self.swallowed += 1
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                far_writer.write(request)
                await far_writer.drain()
                if lose:
                    await far_reader.read(65536)  # the server has done it
                    break
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while reply := await reader.read(65536):
            writer.write(reply)
            await writer.drain()
        writer.close()
