"""
Milliseconds since 1970 as times.
"""

from datetime import UTC, datetime
from functools import lru_cache


def moment(at_ms: int) -> datetime:
    """
    Return milliseconds since 1970 as an aware time in UTC, to the millisecond.
    """
    return datetime.fromtimestamp(at_ms / 1000, UTC)


#: The same for times that many decisions of a batch share.
shared_moment = lru_cache(maxsize=1024)(moment)
