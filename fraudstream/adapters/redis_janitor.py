"""
Drop stream entries that every known group has acknowledged.
"""

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import GROUPS, Keys
from fraudstream.adapters.redis_scripts import FORGET, TRIM, Call, run
from fraudstream.adapters.redis_stream import plain

#: How long a consumer has been silent, in milliseconds, before it is forgotten; one that wakes up is made again by its read.
SILENCE_MS = 60_000
#: Most consumers of a group that one sweep forgets.
_FORGOTTEN = 100


class RedisJanitor:
    """
    Trim by MINID below what each group of the allow-list has acknowledged; a stream with a group missing is left alone.

    Also forget the consumers of processes that were killed: every start has a name of its own. Who has been silent for
    ``silence_ms`` is taken for gone.
    """

    def __init__(self, client: Redis, keys: Keys, *, silence_ms: int = SILENCE_MS) -> None:
        self._client = plain(client)
        streams = {keys.stream(stream): groups for stream, groups in GROUPS.items()}
        self._trims = [Call(TRIM, (stream,), groups) for stream, groups in streams.items()]
        self._forgets = [
            Call(FORGET, (stream, keys.heartbeat(group, stream)), (group, silence_ms, _FORGOTTEN))
            for stream, groups in streams.items()
            for group in groups
        ]

    async def sweep(self) -> int:
        """
        Trim all streams and forget silent consumers once; return how many entries went.

        Raises:
            StreamUnavailable: Redis is away; nothing is half trimmed.
        """
        with translated("trim"):
            replies = await run(self._client, [*self._trims, *self._forgets])
        return sum(max(0, int(trimmed)) for trimmed in replies[: len(self._trims)])

    async def forget(self) -> int:
        """
        Forget silent consumers alone, as many as one sweep does; return how many went.

        Raises:
            StreamUnavailable: Redis is away; who was forgotten stays so.
        """
        with translated("forget"):
            replies = await run(self._client, self._forgets)
        return sum(max(0, int(forgotten)) for forgotten in replies)
