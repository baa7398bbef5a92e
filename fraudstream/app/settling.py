"""
Wait until a fleet of our own has finished, and complain when it stands still.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from fraudstream.domain.errors import TransientError

#: How long nothing may move, in seconds.
_STUCK_S = 60.0
_POLL_S = 0.05


async def until_done(
    look: Callable[[], Awaitable[dict[str, int]]], tell: Callable[[], None], *, stuck_s: float = _STUCK_S
) -> None:
    """
    Return when no group has anything left to do.

    Args:
        look: Returns what each group has left.
        tell: Called after each look that found something.
        stuck_s: How long nothing may move, in seconds.

    Raises:
        TransientError: Nothing moved for so long.
    """
    moved_at, before = time.monotonic(), None
    while any((now := await look()).values()):
        if now != before:
            moved_at, before = time.monotonic(), now
        if time.monotonic() - moved_at > stuck_s:
            raise TransientError(f"nothing has moved for {stuck_s:.0f} s; still open: {now}")
        tell()
        await asyncio.sleep(_POLL_S)
