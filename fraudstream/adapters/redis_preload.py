"""
Many entities that a server has known for long, put there at once: what a measurement begins with.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import Keys
from fraudstream.adapters.redis_scripts import Call, Script, run
from fraudstream.adapters.redis_states import StateKeys
from fraudstream.adapters.redis_stream import plain
from fraudstream.features.definitions import FeatureSet

_TEXT = (Path(__file__).parent / "lua" / "preload.lua").read_text(encoding="utf-8")
_PRELOAD = Script(_TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())
#: Keys of one call, and calls of one round trip: some hundredths of a second of the server each.
_KEYS, _CALLS = 20_000, 4


class Preload:
    """
    The event logs of one kind of entity, each the same bytes. Every method raises ``StreamUnavailable`` when Redis is away.

    Args:
        client: Of a server of our own.
        features: Whose logs they are.
        kind: Of entity.
        name: What the entities are called before their number.
    """

    def __init__(self, client: Redis, features: FeatureSet, kind: str, name: str) -> None:
        self._client = plain(client)
        self._features = features
        self._prefix = StateKeys(features, Keys()).log_prefixes[kind] + name

    async def value(self, number: int) -> bytes:
        """
        Return the log of one entity.
        """
        with translated("preload"):
            (found,) = await run(self._client, [("GET", f"{self._prefix}{number}")])
        return found or b""

    async def fill(self, value: bytes, count: int) -> None:
        """
        Give entities 0 to ``count`` (end exclusive) this log.
        """
        ttl_s = self._features.state_ttl_s
        calls = [
            Call(_PRELOAD, (self._prefix,), (first, min(first + _KEYS, count) - 1, value, ttl_s))
            for first in range(0, count, _KEYS)
        ]
        for at in range(0, len(calls), _CALLS):
            with translated("preload"):
                await run(self._client, calls[at : at + _CALLS])

    async def reset(self, value: bytes, numbers: Iterable[int]) -> None:
        """
        Give some entities this log again.
        """
        with translated("preload"):
            await run(
                self._client,
                [("SET", f"{self._prefix}{number}", value, "EX", self._features.state_ttl_s) for number in numbers],
            )
