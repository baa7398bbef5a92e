"""
Looks at a running system and its database, for whoever asks how it is.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from fraudstream.adapters.postgres_checks import DatabaseState, check_database
from fraudstream.adapters.redis_every import every_overview, every_pending
from fraudstream.app.connections import every_part
from fraudstream.app.findings import Finding, Level, Limits
from fraudstream.app.health import judge
from fraudstream.domain.errors import DecisionStoreUnavailable, InvalidSettings
from fraudstream.fleet.overview import Overview, PendingEntry
from fraudstream.settings import Settings


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """
    One look: what was seen, and what it means.
    """

    overview: Overview
    findings: list[Finding]


async def looks(settings: Settings, limits: Limits, *, every_s: float, times: int | None) -> AsyncIterator[Look]:
    """
    Look at Redis and, where one is set, at the database, again and again over one connection.

    Raises:
        StreamUnavailable: Redis did not answer.
    """
    async with every_part(settings) as parts:
        looked = 0
        while times is None or looked < times:
            if looked:
                await asyncio.sleep(every_s)
            overview, database = await asyncio.gather(
                every_overview(parts, allow_no_persistence=settings.allow_no_persistence),
                look_at_database(settings.postgres_url),
            )
            looked += 1
            yield Look(overview=overview, findings=[*judge(overview, limits), *database])


async def pending(settings: Settings, groups: Sequence[str], *, min_idle_s: float, count: int) -> list[PendingEntry]:
    """
    Return pending entries of groups, the oldest of each first.

    Raises:
        StreamUnavailable: Redis did not answer.
    """
    async with every_part(settings, connections=1) as parts:
        return await every_pending(parts, groups, min_idle_s=min_idle_s, count=count)


async def look_at_database(url: str | None) -> list[Finding]:
    """
    Return what there is to say of the database; nothing where none is set.
    """
    if url is None:
        return []
    try:
        return _judge_database(await check_database(url))
    except DecisionStoreUnavailable as exc:
        says = f"PostgreSQL is not reachable, decisions wait to be stored: {exc}"
        return [
            Finding(level=Level.FAIL, about="database", says=says, command="pg_isready; start it, nothing is lost meanwhile")
        ]
    except InvalidSettings as exc:
        return [Finding(level=Level.FAIL, about="database", says=str(exc), command="set POSTGRES_URL")]


def _judge_database(state: DatabaseState) -> list[Finding]:
    shown = f"PostgreSQL {state.version}" + (f" with TimescaleDB {state.timescale}" if state.timescale else "")
    if state.missing:
        says = f"{shown} lacks {', '.join(state.missing)}"
        return [Finding(level=Level.FAIL, about="database", says=says, command="fraudstream db migrate")]
    if not state.writable:
        says = f"{shown} is a standby: nothing can be written"
        return [Finding(level=Level.FAIL, about="database", says=says, command="point POSTGRES_URL at the primary")]
    if state.unknown:
        says = f"{shown} was migrated by a newer version ({', '.join(state.unknown)})"
        return [Finding(level=Level.WARN, about="database", says=says, command="upgrade fraudstream here")]
    return [Finding(level=Level.OK, about="database", says=f"{shown}, tables up to date")]
