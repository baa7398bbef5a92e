"""
What the answer of an HTTP server means for trying again; shared by the channels that speak HTTP.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

#: Longest pause that a server may ask for, in seconds: after that we look again by ourselves.
_LONGEST_S = 3600.0
#: Request Timeout, Too Early, Too Many Requests: the same request may pass later.
_LATER = (408, 425, 429)


def is_transient(status: int) -> bool:
    """
    Say whether the same request may pass later.

    References:
        RFC 9110 section 15; RFC 6585 section 4 for 429.
    """
    return status in _LATER or status >= 500


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """
    Return the seconds that ``Retry-After`` asks for, None where it says nothing usable.

    Whole seconds or a date are what RFC 9110 section 10.2.3 allows; fractions are read too, because servers send them. A date
    counts from the server's own ``Date``, so that our clock does not matter.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until, now = _moment(text), _moment(headers.get("Date", ""))
        if until is None or now is None:
            return None
        seconds = (until - now).total_seconds()
    return min(seconds, _LONGEST_S) if math.isfinite(seconds) and seconds >= 0 else None


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
