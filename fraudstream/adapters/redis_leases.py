"""
Which worker of a group serves which partition, agreed upon in Redis.
"""

from collections.abc import Collection

from redis.asyncio import Redis

from fraudstream.adapters.redis_client import translated
from fraudstream.adapters.redis_keys import PARTITION_COUNT, lease_members, lease_owners
from fraudstream.adapters.redis_scripts import LEASE, Argument, Call, run
from fraudstream.adapters.redis_stream import plain
from fraudstream.domain.errors import InvalidSettings
from fraudstream.fleet.sharing import Share


class RedisLeases:
    """
    ``Leases`` of one worker of one group.

    Args:
        client: Where the shared keys lie.
        group: The consumer group.
        worker: A name that no other process has.
        partitions: How many there are.
        life_s: How long a sign of life counts; after it others take what this worker has.
    """

    def __init__(self, client: Redis, *, group: str, worker: str, partitions: int, life_s: float) -> None:
        self._client = plain(client)
        self._keys = (lease_members(group), lease_owners(group))
        self._worker = worker
        self._partitions = partitions
        self._life_ms = int(life_s * 1000)

    async def renew(self, given_back: Collection[int]) -> Share:
        """
        Give a sign of life; see the port.
        """
        words: list[Argument] = [self._worker, self._life_ms, self._partitions, *given_back]
        with translated("lease"):
            ((share, *held),) = await run(self._client, [Call(LEASE, self._keys, words)])
        return Share(size=share, held=dict(zip(held[::2], held[1::2], strict=True)))

    async def leave(self) -> None:
        """
        Be gone at once; see the port.
        """
        with translated("lease"):
            await run(self._client, [Call(LEASE, self._keys, (self._worker, 0, self._partitions))])


async def agree_on_count(client: Redis, partitions: int) -> None:
    """
    Note how many partitions this deployment has, or refuse another number than the one it began with.

    Raises:
        InvalidSettings: The entries and states that are there would not be found any more.
        StreamUnavailable: Redis did not answer.
    """
    if partitions > 1:
        with translated("partitions"):
            await run(plain(client), [("SET", PARTITION_COUNT, partitions, "NX")])
    await confirm_count(client, partitions)


async def confirm_count(client: Redis, partitions: int) -> None:
    """
    Refuse another number of partitions than the one that workers have noted, if any have.

    Raises:
        InvalidSettings: What is written would not be read, and what is there not be found.
        StreamUnavailable: Redis did not answer.
    """
    with translated("partitions"):
        (there,) = await run(client, [("GET", PARTITION_COUNT)])
    if there is not None and int(there) != partitions:
        raise InvalidSettings(
            f"this deployment was laid out in {int(there)} partitions and FRAUDSTREAM_PARTITIONS says {partitions}: set it"
            f" back, or drain everything, delete {PARTITION_COUNT} and begin with empty states (docs/scale-out.md)"
        )
