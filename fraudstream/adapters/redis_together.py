"""
Commands of several tasks in one round trip.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from fraudstream.adapters.redis_scripts import Argument, Call, run_each

#: One command, and where its reply is waited for.
_Asked = tuple[Call | Sequence[Argument], "asyncio.Future[Any]"]


class Together:
    """
    Sends at once what is asked for in one turn of the loop, and in the next round trip what is asked for during one: nobody
    waits for company, and a round trip costs as much CPU as ten commands.

    Args:
        client: Returns replies as they are on the wire.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._asked: list[_Asked] = []
        self._sending: asyncio.Task[None] | None = None

    async def ask(self, command: Call | Sequence[Argument]) -> Any:
        """
        Send a script or a plain command and return its reply.

        Raises:
            redis.RedisError: The server refused this very command, or did not answer.
        """
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.append((command, reply))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await reply

    async def _send(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                for (_, waiting), reply in zip(asked, await self._replies(asked), strict=True):
                    if waiting.done():
                        continue  # who asked has been cancelled
                    if isinstance(reply, Exception):
                        waiting.set_exception(reply)
                    else:
                        waiting.set_result(reply)
        finally:
            self._sending = None

    async def _replies(self, asked: Sequence[_Asked]) -> Sequence[Any]:
        try:
            return await run_each(self._client, [command for command, _ in asked])
        except Exception as exc:  # noqa: BLE001 whatever it was, everybody who asked is told
            return [exc] * len(asked)
