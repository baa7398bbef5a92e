"""
What can be found out about a running system: a level, a sentence, and the command to type; and how figures are told to people.
"""

from collections.abc import Sequence
from enum import StrEnum

import msgspec


class Level(StrEnum):
    """
    How bad it is: only ``fail`` makes the system unhealthy.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """
    One thing that was looked at: what about (``redis``, ``group recorder`` …), how it stands, and what to type where it is bad.
    """

    level: Level
    about: str
    says: str
    command: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """
    From where on something is bad.

    ``groups`` must be served. ``unread_s`` and ``pending_s`` are ages of the oldest entry not read, or not acknowledged.
    ``memory_ratio`` is where producers are refused; ``clock_s`` how far clocks may be apart; ``growing_entries`` the lag below
    which growing is no news.
    """

    groups: tuple[str, ...] = ("fraud-check", "ml-scoring", "recorder", "alerter")
    unread_s: float = 30.0
    pending_s: float = 120.0
    memory_ratio: float = 0.8
    clock_s: float = 5.0
    growing_entries: int = 1000


def healthy(findings: Sequence[Finding]) -> bool:
    """
    Say whether nothing failed.
    """
    return all(finding.level is not Level.FAIL for finding in findings)


def count_of(number: int, noun: str) -> str:
    """
    Return a number with its noun: 1 entry, 2 entries, 3 workers.
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def duration(seconds: float) -> str:
    """
    Return a time span for people: 0.4 s, 45 s, 12 min, 3.5 h, 2.1 d.
    """
    for most, size, unit, digits in ((10, 1, "s", 1), (120, 1, "s", 0), (7200, 60, "min", 0), (172_800, 3600, "h", 1)):
        if seconds < most:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def size(amount_bytes: int) -> str:
    """
    Return a size in memory for people: 12 KiB, 340 MiB, 1.5 GiB.
    """
    if amount_bytes < 2**20:
        return f"{amount_bytes / 2**10:,.0f} KiB"
    return f"{amount_bytes / 2**20:,.0f} MiB" if amount_bytes < 2**30 else f"{amount_bytes / 2**30:,.1f} GiB"
