"""
Connections that are lent again without ceremony: the client's pool makes two locks, two timers and six notes of every loan.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection

from fraudstream.adapters.redis_arrivals import PromptConnection

#: How many connections of a pool are kept at hand, and how many it must have for that: others need some, too.
_AT_HAND, _OF_AT_LEAST = 2, 8

_at_hand: WeakKeyDictionary[ConnectionPool, list[PromptConnection]] = WeakKeyDictionary()


@asynccontextmanager
async def borrowed(pool: ConnectionPool) -> AsyncIterator[AbstractConnection]:
    """
    Lend a connection of a pool: one that stands idle at hand, or whatever the pool gives.

    One that fails goes back to the pool, which looks after it.
    """
    kept = _at_hand.setdefault(pool, [])
    while kept and not kept[-1].idle:
        await pool.release(kept.pop())
    connection = kept.pop() if kept else await pool.get_connection()
    try:
        yield connection
    except BaseException:
        await pool.release(connection)
        raise
    if len(kept) < _AT_HAND and pool.max_connections >= _OF_AT_LEAST and isinstance(connection, PromptConnection):
        kept.append(connection)
    else:
        await pool.release(connection)
