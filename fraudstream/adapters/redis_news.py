"""
First verdicts told by the script that notes them, heard over a connection of its own.
"""

import asyncio
import contextlib
import time

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fraudstream.adapters.redis_stream import plain
from fraudstream.stages.intake import entry_order
from fraudstream.stages.news import News

#: How long to wait before listening is tried again, in seconds: until then verdicts are looked for as they always were.
_AGAIN_S = 1.0


class RedisNews:
    """
    Keeps ``News`` up to date from a sharded channel, from ``start`` to ``stop``, through outages.

    Args:
        client: With a connection that nobody else needs.
        channel: What ``complete`` tells on.
        news: Is told.
    """

    def __init__(self, client: Redis, channel: str, news: News) -> None:
        self._client = plain(client)
        self._channel = channel
        self._news = news
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """
        Begin to listen.
        """
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """
        Listen no more, and close the connection.
        """
        while self._task is not None and not self._task.done():
            # Again, should the client have kept it to itself: whoever ends must not wait for a hint.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_AGAIN_S)
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _listen(self) -> None:
        while True:
            # Who follows looks for verdicts itself meanwhile, and whoever cannot do without Redis tells that it is away.
            with contextlib.suppress(RedisError, OSError):
                await self._hear()
            await asyncio.sleep(_AGAIN_S)

    async def _hear(self) -> None:
        """
        Listen until the connection ends, the channel goes elsewhere, or somebody found what was not told here.
        """
        connection = await self._client.connection_pool.get_connection()
        try:
            await connection.send_command("SSUBSCRIBE", self._channel)
            self._news.listening = True
            while self._news.listening:
                asked_s = time.monotonic()
                said = await connection.read_response(disable_decoding=True, timeout=_AGAIN_S)
                if said is None and time.monotonic() - asked_s < _AGAIN_S / 2:
                    return  # the time is not over: a socket that gave up (ETIMEDOUT) looks the same, and would for ever
                if said is None:
                    continue
                if said[0] == b"smessage":
                    self._news.heard(entry_order(said[2]))
                elif said[0] == b"sunsubscribe":
                    return
        finally:
            self._news.listening = False
            await connection.disconnect()
            await self._client.connection_pool.release(connection)
