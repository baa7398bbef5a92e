"""
Connections that ask a finder where to go each time they connect, and close when the server says that it is not the one.
"""

import asyncio
from typing import Any

from redis import connection as blocking
from redis.exceptions import AskError, MovedError, ReadOnlyError

from fraudstream.adapters.redis_arrivals import PromptConnection, PromptTlsConnection
from fraudstream.adapters.redis_finders import Finder

#: What says that the server is not the one to ask: the connection is closed, and the next one looks again.
_ELSEWHERE = (MovedError, AskError, ReadOnlyError)


class _Following(PromptConnection):
    """
    Connects to whatever the finder names.
    """

    def __init__(self, *, finder: Finder, **options: Any) -> None:
        super().__init__(**options)
        self._finder = finder

    async def _connect(self) -> None:
        found = await asyncio.to_thread(self._finder.find)
        self.host, self.port = found.host, found.port
        await super()._connect()

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """
        Read a reply; where it says that another server has the data now, this connection is over.
        """
        try:
            return await super().read_response(*args, **options)
        except _ELSEWHERE:
            await self.disconnect()
            raise


class FollowingConnection(_Following):
    """
    For the event loop, without TLS.
    """


class FollowingTlsConnection(_Following, PromptTlsConnection):
    """
    For the event loop, with TLS.
    """


class _FollowingBlocking(blocking.Connection):
    """
    The same for threads.
    """

    def __init__(self, *, finder: Finder, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._finder = finder

    def _connect(self) -> Any:
        found = self._finder.find()
        self.host, self.port = found.host, found.port
        return super()._connect()  # type: ignore[no-untyped-call]

    def read_response(self, *args: Any, **options: Any) -> Any:
        """
        Read a reply; where it says that another server has the data now, this connection is over.
        """
        try:
            return super().read_response(*args, **options)
        except _ELSEWHERE:
            self.disconnect()  # type: ignore[no-untyped-call]
            raise


class FollowingBlockingConnection(_FollowingBlocking):
    """
    For threads, without TLS.
    """


class FollowingBlockingTlsConnection(_FollowingBlocking, blocking.SSLConnection):
    """
    For threads, with TLS.
    """
