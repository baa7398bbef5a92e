"""
The time of Redis, carried on between replies by the local clock that does not jump.
"""

import time
from collections.abc import Callable

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated

#: How long a reply is believed that was quicker than all since, in milliseconds. A server whose clock was set back, or another
#: one after a failover, is followed after twice that.
_BELIEVED_MS = 5_000.0


class RedisClock:
    """
    ``Clock`` that is set whenever a reply says what time it is there.

    A reply that took its time, on its way or until the loop came to it, tells a time that has gone by since: of all replies of
    the last seconds the one that puts the clock furthest ahead was the quickest, and counts.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ahead_ms = self._before_ms = time.time() * 1000 - monotonic() * 1000
        self._since_ms = 0.0
        self._set = False

    def now_ms(self) -> int:
        """
        Return milliseconds since 1970 by the clock of Redis, late by at most the way of the quickest of the last replies.
        """
        return int(self._monotonic() * 1000 + max(self._ahead_ms, self._before_ms))

    def observe(self, server_ms: float) -> None:
        """
        Take over the time that a reply carried.
        """
        here_ms = self._monotonic() * 1000
        ahead_ms = server_ms - here_ms
        if not self._set:
            self._set, self._ahead_ms, self._before_ms, self._since_ms = True, ahead_ms, ahead_ms, here_ms
        elif here_ms - self._since_ms > _BELIEVED_MS:
            self._before_ms, self._ahead_ms, self._since_ms = self._ahead_ms, ahead_ms, here_ms
        else:
            self._ahead_ms = max(self._ahead_ms, ahead_ms)

    async def set(self, client: Redis) -> None:
        """
        Ask the server for its time.

        Raises:
            StreamUnavailable: It did not answer.
        """
        with translated("TIME"):
            seconds, micros = await client.execute_command("TIME")
        self.observe(int(seconds) * 1000 + int(micros) / 1000)
