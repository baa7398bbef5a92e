"""
Every partition with its names and with connections to where it lies.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_keys import Keys, Partitions
from fraudstream.adapters.redis_leases import confirm_count


class Part(msgspec.Struct, frozen=True):
    """
    One partition: its names, and connections to where it lies. Partitions of one server share one client.
    """

    keys: Keys
    client: Redis


def servers(parts: list[Part]) -> list[Redis]:
    """
    Return each client of these partitions once.
    """
    return list({id(part.client): part.client for part in parts}.values())


async def open_parts(
    address: RedisAddress, partitions: Partitions, shared: Redis, stack: AsyncExitStack, *, connections: int = 16
) -> list[Part]:
    """
    Return every partition in order, with connections of its own in a cluster, else with those that are there.

    Args:
        address: Where Redis is.
        partitions: How many there are.
        shared: A client of the server, or of the one in a cluster that the shared keys lie on.
        stack: Closes what is opened here.
        connections: Most of each partition in a cluster.
    """
    names = partitions.all()
    if not address.clustered:
        return [Part(keys, shared) for keys in names]
    return [Part(keys, await stack.enter_async_context(connected(address, connections, tag=keys.tag))) for keys in names]


@asynccontextmanager
async def every_part(
    address: RedisAddress, partitions: Partitions, *, connections: int = 2, confirmed: bool = False
) -> AsyncIterator[list[Part]]:
    """
    Lend every partition to somebody who looks at all of them; ``confirmed`` refuses another number than the workers'.
    """
    async with connected(address, connections) as client, AsyncExitStack() as stack:
        if confirmed:
            await confirm_count(client, partitions.count)
        yield await open_parts(address, partitions, client, stack, connections=connections)
