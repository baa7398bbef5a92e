"""
Drop stream entries that every known group has acknowledged.
"""

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import GROUPS, Keys
from fraudstream.adapters.redis_scripts import TRIM, Call, run
from fraudstream.adapters.redis_stream import plain


class RedisJanitor:
    """
    Trim by MINID below what each group of the allow-list has acknowledged; a stream with a group missing is left alone.
    """

    def __init__(self, client: Redis, keys: Keys) -> None:
        self._client = plain(client)
        self._calls = [Call(TRIM, (keys.stream(stream),), groups) for stream, groups in GROUPS.items()]

    async def sweep(self) -> int:
        """
        Trim all streams once and return how many entries went.

        Raises:
            StreamUnavailable: Redis is away; nothing is half trimmed.
        """
        with translated("trim"):
            return sum(max(0, int(trimmed)) for trimmed in await run(self._client, self._calls))
