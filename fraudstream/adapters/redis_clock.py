"""
The time of Redis, carried on between replies by the local clock that does not jump.
"""

import time

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated


class RedisClock:
    """
    ``Clock`` that is set whenever a reply says what time it is there.
    """

    def __init__(self) -> None:
        self._ahead_ms = time.time() * 1000 - time.monotonic() * 1000

    def now_ms(self) -> int:
        """
        Return milliseconds since 1970 by the clock of Redis, late by at most the way of one reply.
        """
        return int(time.monotonic() * 1000 + self._ahead_ms)

    def observe(self, server_ms: int) -> None:
        """
        Take over the time that a reply carried.
        """
        self._ahead_ms = server_ms - time.monotonic() * 1000

    async def set(self, client: Redis) -> None:
        """
        Ask the server for its time.

        Raises:
            StreamUnavailable: It did not answer.
        """
        with translated("TIME"):
            seconds, micros = await client.execute_command("TIME")
        self.observe(int(seconds) * 1000 + int(micros) // 1000)
