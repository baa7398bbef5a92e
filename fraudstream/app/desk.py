"""
Where the desk for dead letters gets its servers from.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from fraudstream.adapters.postgres_audit import PostgresAudit
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_every import RedisEveryLetters
from fraudstream.adapters.redis_letters import RedisLetters
from fraudstream.adapters.redis_verdicts import LedgerOptions
from fraudstream.app.connections import every_part
from fraudstream.app.letters import Actor, LetterDesk
from fraudstream.settings import Settings


class OpenDesk(msgspec.Struct, frozen=True):
    """
    The desk, the clock of Redis in milliseconds when it was opened, and the currency of bodies that name none.
    """

    desk: LetterDesk
    now_ms: int
    currency: str


@asynccontextmanager
async def open_desk(settings: Settings, actor: Actor) -> AsyncIterator[OpenDesk]:
    """
    Lend the desk for dead letters; with ``POSTGRES_URL`` it knows what is on record and keeps the audit log.

    Raises:
        TransientError: Redis, or the database that is named, did not answer: nothing is changed that could not be audited.
    """
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(every_part(settings))
        clock = RedisClock()
        await clock.set(parts[0].client)
        audit = None
        if settings.postgres_url is not None:
            audit = await PostgresAudit.connect(settings.postgres_url)
            stack.push_async_callback(audit.close)
        ttl_s = LedgerOptions(horizon_s=settings.dedup_horizon_s, any_age_s=settings.dedup_any_age_s).record_ttl_s
        may = not settings.unmask_actors or actor.name in settings.unmask_actors
        letters = (
            RedisLetters(parts[0].client, parts[0].keys, record_ttl_s=ttl_s)
            if len(parts) == 1
            else RedisEveryLetters(parts, record_ttl_s=ttl_s)
        )
        yield OpenDesk(
            LetterDesk(letters, audit, actor, currency=settings.currency, may_unmask=may), clock.now_ms(), settings.currency
        )
