"""
Moments as people write them, and as the rules count them: milliseconds since 1970, UTC.
"""

from datetime import UTC, datetime, timedelta

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_ms(text: str) -> int | None:
    """
    Return a date, or RFC 3339 time (UTC where it names no offset), in milliseconds since 1970; None when it is neither.
    """
    try:
        moment = msgspec.convert(text if len(text) > 10 else f"{text}T00:00:00Z", datetime)
    except msgspec.ValidationError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int((moment - _EPOCH).total_seconds() * 1000)


def moment_text(at_ms: int) -> str:
    """
    Write milliseconds since 1970 as RFC 3339, whole seconds, UTC.
    """
    return f"{_EPOCH + timedelta(seconds=at_ms // 1000):%Y-%m-%dT%H:%M:%SZ}"
