"""
What a channel may be burdened with, and what becomes of a group that is due on it: told alone, or folded into a digest. Pure.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

import msgspec

from fraudstream.domain.alert import Severity
from fraudstream.stages.alert_pace import PaceLimits

_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


class QuietHours(msgspec.Struct, frozen=True):
    """
    Hours of the day, from ``start`` to ``end`` in a time zone, over midnight where the end is the earlier one.
    """

    start: time
    end: time
    zone: str = "UTC"

    @classmethod
    def parse(cls, text: str, zone: str) -> "QuietHours":
        """
        Read ``22:00-08:00``; settings have checked the form.
        """
        start, _, end = text.partition("-")
        return cls(time.fromisoformat(start), time.fromisoformat(end), zone)


def quiet_until(hours: QuietHours | None, now: datetime) -> datetime | None:
    """
    Return when the quiet hours that hold ``now`` end, None outside of them. Hours of no length are never quiet.

    The hours follow the clock on the wall: on the night of a change of time they are an hour longer or shorter.
    """
    if hours is None or hours.start == hours.end:
        return None
    zone = ZoneInfo(hours.zone)
    local = now.astimezone(zone)
    wall = local.time()
    inside = hours.start <= wall < hours.end if hours.start < hours.end else wall >= hours.start or wall < hours.end
    if not inside:
        return None
    day = local.date() if wall < hours.end else local.date() + timedelta(days=1)
    return datetime.combine(day, hours.end, zone).astimezone(UTC)


class StormLimits(msgspec.Struct, frozen=True, kw_only=True):
    """
    When a channel stops telling groups alone.

    It enters above ``enter_groups`` new ones within ``window_s``, and leaves after ``calm_s`` without a window of
    ``leave_groups``.
    In a storm a critical group of at least ``alone_major`` (major units) is told alone, ``alone_most`` of them per storm.
    """

    enter_groups: int = 30
    leave_groups: int = 10
    window_s: float = 60.0
    calm_s: float = 300.0
    alone_major: float = 10_000.0
    alone_most: int = 30


class Storm(msgspec.Struct, frozen=True):
    """
    A storm: since when, when it last blew, and how many groups were told alone in it. Times in milliseconds.
    """

    since_ms: int
    blew_ms: int
    alone: int = 0


def weather(storm: Storm | None, opened_ms: Sequence[int], now_ms: int, limits: StormLimits) -> Storm | None:
    """
    Return the storm that there is now, None in fair weather.

    Args:
        storm: The one before.
        opened_ms: When the newest groups were opened, newest first, one more than ``enter_groups`` of them.
        now_ms: The time.
        limits: See there.
    """
    recent = sum(1 for opened in opened_ms if now_ms - opened < limits.window_s * 1000)
    if recent > limits.enter_groups:
        return Storm(now_ms, now_ms) if storm is None else msgspec.structs.replace(storm, blew_ms=now_ms)
    if storm is None:
        return None
    if recent >= limits.leave_groups:
        return msgspec.structs.replace(storm, blew_ms=now_ms)
    return storm if now_ms - storm.blew_ms < limits.calm_s * 1000 else None


class ChannelPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """
    The bounds of one channel, in seconds.

    ``first_wait_s`` is how long a new group waits for siblings, ``gap_s`` the least time between two messages about one group,
    both by severity. A digest in a storm is told after ``storm_first_s``, again every ``storm_gap_s``,
    and closed after ``digest_life_s``. With
    ``info_gap_s`` groups that are for information only are told in a digest of that rhythm. ``tries`` and ``oldest_s``
    (from the first failure) bound one message; ``first_retry_s`` and ``longest_retry_s`` the pauses between.
    """

    first_wait_s: Mapping[Severity, float] = msgspec.field(default_factory=lambda: {_CRITICAL: 1.5, _WARNING: 5.0, _INFO: 5.0})
    gap_s: Mapping[Severity, float] = msgspec.field(default_factory=lambda: {_CRITICAL: 3.0, _WARNING: 15.0, _INFO: 60.0})
    storm: StormLimits | None = StormLimits()
    storm_first_s: float = 2.0
    storm_gap_s: float = 10.0
    digest_life_s: float = 600.0
    info_gap_s: float | None = 3600.0
    quiet: QuietHours | None = None
    pace: PaceLimits = PaceLimits()
    tries: int = 8
    oldest_s: Mapping[Severity, float] = msgspec.field(
        default_factory=lambda: {_CRITICAL: 600.0, _WARNING: 3600.0, _INFO: 3600.0}
    )
    first_retry_s: float = 1.0
    longest_retry_s: float = 60.0


_AT_ONCE: Mapping[Severity, float] = dict.fromkeys(Severity, 0.0)
#: Slack takes about one message a second and channel and somewhat more than 50 updates a minute; each mail is a mail in
#: somebody's box; receivers of webhooks and readers of a stream are machines.
POLICIES: Mapping[str, ChannelPolicy] = {
    "slack": ChannelPolicy(pace=PaceLimits(rate_per_s=1.0, burst=5, updates_per_s=0.8, updates_burst=8)),
    "email": ChannelPolicy(
        gap_s={_CRITICAL: 300.0, _WARNING: 900.0, _INFO: 3600.0},
        storm_first_s=5.0,
        storm_gap_s=50.0,
        pace=PaceLimits(rate_per_s=1.0, burst=10, updates_per_s=1.0, updates_burst=10),
    ),
    "webhook": ChannelPolicy(
        first_wait_s=dict.fromkeys(Severity, 1.0),
        gap_s=dict.fromkeys(Severity, 3.0),
        storm=StormLimits(enter_groups=600, leave_groups=200),
        info_gap_s=None,
        pace=PaceLimits(rate_per_s=50.0, burst=50, updates_per_s=50.0, updates_burst=50, concurrent=8),
    ),
    "console": ChannelPolicy(
        first_wait_s=_AT_ONCE, gap_s=_AT_ONCE, storm=None, info_gap_s=None, pace=PaceLimits(concurrent=256)
    ),
}


class Fold(StrEnum):
    """
    Why a group goes into a digest.
    """

    STORM = "storm"
    QUIET = "quiet"
    INFO = "info"


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the policy looks at in a group that is due: ``placed`` says that the channel shows it already.
    """

    severity: Severity
    major: float
    placed: bool


def fold_of(due: Due, policy: ChannelPolicy, storm: Storm | None, now: datetime) -> Fold | None:
    """
    Say into which digest a group goes; None when it is told alone.

    The highest severity is never held by quiet hours, and in a storm is told alone where much money is at stake.
    """
    if storm is not None and policy.storm is not None:
        alone = due.severity is _CRITICAL and due.major >= policy.storm.alone_major and storm.alone < policy.storm.alone_most
        return None if alone else Fold.STORM
    if due.severity is not _CRITICAL and quiet_until(policy.quiet, now) is not None:
        return Fold.QUIET
    return Fold.INFO if due.severity is _INFO and not due.placed and policy.info_gap_s is not None else None


def digest_due(fold: Fold, policy: ChannelPolicy, now: datetime) -> datetime:
    """
    Return when a digest is to be told for the first time, counted from its first addition: that there is a storm, soon.
    """
    if fold is Fold.QUIET:
        return quiet_until(policy.quiet, now) or now
    pause_s = policy.storm_first_s if fold is Fold.STORM else policy.info_gap_s or 0.0
    return now + timedelta(seconds=pause_s)
