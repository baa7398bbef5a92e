"""
The key of tokens that a fleet makes for itself when nobody gives it one.
"""

import secrets
from typing import Any

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import TOKENS

#: Bytes of a key that is made here; it is written in hexadecimal digits.
_BYTES = 32


class RedisTokenKey:
    """
    The key that a fleet shares. It is made once and never runs out.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def agreed(self, mine: bytes = b"") -> bytes:
        """
        Return the key of the fleet; where it has none, ``mine``, or a new one, is it from now on.

        A worker that has been at work brings its own along: when Redis has lost everything, the first to look puts back what
        all of them still use.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        with translated("token key"):
            known: Any = await self._client.get(TOKENS)
            if known is not None:
                return bytes(known)
            made = mine or secrets.token_hex(_BYTES).encode()
            # Of several who come at once, one is first.
            await self._client.set(TOKENS, made, nx=True)
            known = await self._client.get(TOKENS)
            return bytes(known or made)
