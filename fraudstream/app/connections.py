"""
Where the servers are, and the producer's end of the raw stream.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fraudstream.adapters.redis_checks import check_server
from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_intake import AdmissionLimits, RedisIntake
from fraudstream.adapters.redis_keys import RAW
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


@asynccontextmanager
async def intake(settings: Settings, *, stream: str | None = None) -> AsyncIterator[RedisIntake]:
    """
    Lend the producer's end of a stream, mostly the raw one, on a server that has been checked.
    """
    async with connected(address(settings)) as client:
        await check_server(client, allow_no_persistence=settings.allow_no_persistence, partitioned=False)
        limits = AdmissionLimits(memory_ratio=settings.memory_limit_ratio, lag_entries=settings.lag_limit_entries)
        yield RedisIntake(client, stream=stream or settings.stream or RAW, limits=limits)
