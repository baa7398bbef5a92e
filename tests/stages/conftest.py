"""
The worlds that both kinds of road run on: in memory, and on a real server.
"""

from collections.abc import AsyncIterator

import pytest

from fraudstream.local import LocalValkey
from tests.support.roads import MemoryWorld, RedisWorld, World


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    server: LocalValkey = request.getfixturevalue("valkey")
    world = RedisWorld(server.url)
    yield world
    await world.close()
