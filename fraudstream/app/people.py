"""
What stands for people: the tokens of a fleet, by the key of its settings or by one of its own.
"""

import structlog

from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_token_key import RedisTokenKey
from fraudstream.app.connections import address
from fraudstream.domain.tokens import Tokens
from fraudstream.settings import Settings


async def tokens_of(settings: Settings, kept: RedisTokenKey) -> Tokens:
    """
    Return the tokens of the fleet that the settings name.

    Raises:
        InvalidSettings: The key of the settings is too short.
        StreamUnavailable: They name none, and Redis did not answer.
    """
    return Tokens(await kept.agreed() if settings.token_key is None else settings.token_key.encode())


async def fleet_tokens(settings: Settings) -> Tokens:
    """
    Return the tokens of the fleet for somebody who is not at work in it; see ``tokens_of``.
    """
    if settings.token_key is not None:
        return Tokens(settings.token_key.encode())
    async with connected(address(settings), connections=1) as client:
        return await tokens_of(settings, RedisTokenKey(client))


class FleetTokens:
    """
    The tokens of a worker, the same as those of all others whatever becomes of Redis.
    """

    def __init__(self, settings: Settings, kept: RedisTokenKey, tokens: Tokens) -> None:
        self._given = settings.token_key is not None
        self._kept = kept
        self.tokens = tokens

    async def agree(self) -> int:
        """
        Put the key back where Redis has lost it; take that of the others where they were faster. Return how many changed.

        Raises:
            StreamUnavailable: Redis did not answer.
        """
        if self._given:
            return 0
        key = await self._kept.agreed(self.tokens.key)
        if key == self.tokens.key:
            return 0
        self.tokens.adopt(key)
        structlog.get_logger().warning("tokens_changed", why="Redis had lost the key; people have new tokens from now on")
        return 1
