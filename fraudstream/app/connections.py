"""
Where the servers are, and the producer's end of the raw stream.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fraudstream.adapters import redis_partitions
from fraudstream.adapters.redis_checks import check_server
from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_intake import AdmissionLimits, RedisIntake
from fraudstream.adapters.redis_keys import RAW, Partitions
from fraudstream.adapters.redis_leases import confirm_count
from fraudstream.adapters.redis_partitions import Part, servers
from fraudstream.adapters.redis_routing import RedisPartitionedIntake
from fraudstream.domain.errors import InvalidSettings
from fraudstream.settings import Settings


def address(settings: Settings) -> RedisAddress:
    """
    Return where Redis is and how to trust it.
    """
    return RedisAddress(
        url=settings.redis_url,
        ca_file=str(settings.redis_ca_file or ""),
        cert_file=str(settings.redis_cert_file or ""),
        key_file=str(settings.redis_key_file or ""),
    )


def one_partition(settings: Settings, what: str) -> None:
    """
    Refuse what does not know of partitions.

    Raises:
        InvalidSettings: There are several.
    """
    if settings.partitions > 1:
        raise InvalidSettings(f"{what} knows one partition only, and FRAUDSTREAM_PARTITIONS is {settings.partitions}")


@asynccontextmanager
async def every_part(settings: Settings, connections: int = 2, *, confirmed: bool = True) -> AsyncIterator[list[Part]]:
    """
    Lend every partition to somebody who looks at all of them.

    Raises:
        InvalidSettings: The workers run with another number of partitions; not asked where ``confirmed`` is false.
        StreamUnavailable: Redis did not answer that question.
    """
    where, partitions = address(settings), Partitions(settings.partitions)
    async with redis_partitions.every_part(where, partitions, connections=connections, confirmed=confirmed) as every:
        yield every


@asynccontextmanager
async def intake(settings: Settings, *, stream: str | None = None) -> AsyncIterator[RedisIntake | RedisPartitionedIntake]:
    """
    Lend the producer's end of a stream, mostly the raw one, on a server that has been checked.
    """
    name, count, where = stream or settings.stream or RAW, settings.partitions, address(settings)
    lag = -(-settings.lag_limit_entries // count)
    limits = AdmissionLimits(memory_ratio=settings.memory_limit_ratio, lag_entries=lag)
    async with every_part(settings, 16, confirmed=False) as every:
        for client in servers(every):
            await check_server(client, allow_no_persistence=settings.allow_no_persistence, clustered=where.clustered)
        async with connected(where, 1) as shared:
            await confirm_count(shared, count)
        intakes = [RedisIntake(part.client, stream=part.keys.stream(name), limits=limits) for part in every]
        yield intakes[0] if count == 1 else RedisPartitionedIntake(intakes)
