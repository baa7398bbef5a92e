"""
How fast a channel may be spoken to: its budget, and the rest that it is given when it fails. Pure: state in, state out.
"""

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """
    What is to be sent: each kind has a budget of its own.
    """

    POST = "post"
    UPDATE = "update"


class PaceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """
    Budgets are token buckets of ``burst`` tokens, None for no budget. At most ``concurrent`` messages are under way. After
    ``failures_to_rest`` failures in a row the channel rests ``rest_s``, then one message tries for all.
    """

    rate_per_s: float | None = None
    burst: int = 5
    updates_per_s: float | None = None
    updates_burst: int = 5
    concurrent: int = 4
    failures_to_rest: int = 5
    rest_s: float = 30.0

    def budget(self, kind: Kind) -> tuple[float | None, int]:
        """
        Return rate and burst of a kind.
        """
        return (self.rate_per_s, self.burst) if kind is Kind.POST else (self.updates_per_s, self.updates_burst)


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """
    Where a channel stands. ``posts_full_s`` and ``updates_full_s`` are when each bucket is full again, all in seconds.
    """

    posts_full_s: float = 0.0
    updates_full_s: float = 0.0
    rest_until_s: float = 0.0
    failures: int = 0

    def full_s(self, kind: Kind) -> float:
        """
        Return when the bucket of a kind is full again.
        """
        return self.posts_full_s if kind is Kind.POST else self.updates_full_s


def wait_s(pace: Pace, kind: Kind, now_s: float, limits: PaceLimits) -> float:
    """
    Return the seconds until one more message of a kind may go; 0 when it may go now.

    References:
        The generic cell rate algorithm (ITU-T I.371 annex A): a token bucket kept as one number.
    """
    rate_per_s, burst = limits.budget(kind)
    token_s = 0.0 if rate_per_s is None else pace.full_s(kind) - (burst - 1) / rate_per_s
    return max(0.0, token_s - now_s, pace.rest_until_s - now_s)


def took(pace: Pace, kind: Kind, now_s: float, limits: PaceLimits) -> Pace:
    """
    Take one token of a kind, which ``wait_s`` said is there.
    """
    rate_per_s, _ = limits.budget(kind)
    if rate_per_s is None:
        return pace
    full_s = max(pace.full_s(kind), now_s) + 1 / rate_per_s
    return msgspec.structs.replace(pace, **{"posts_full_s" if kind is Kind.POST else "updates_full_s": full_s})


def succeeded(pace: Pace) -> Pace:
    """
    Note that the channel is there: it took a message, or refused it for good.
    """
    return msgspec.structs.replace(pace, failures=0)


def failed(pace: Pace, now_s: float, limits: PaceLimits, retry_after_s: float | None = None) -> Pace:
    """
    Note a failure that may pass. One that asked us to stay away for so long was throttled: nobody is to blame for it.
    """
    if retry_after_s is not None:
        return _resting(pace, now_s + retry_after_s, limits)
    pace = msgspec.structs.replace(pace, failures=pace.failures + 1)
    return _resting(pace, now_s + limits.rest_s, limits) if pace.failures >= limits.failures_to_rest else pace


def places(pace: Pace, limits: PaceLimits) -> int:
    """
    Return how many messages may be under way: one alone where the channel has not answered for a while.
    """
    return 1 if pace.failures >= limits.failures_to_rest else limits.concurrent


def is_open(pace: Pace, limits: PaceLimits) -> bool:
    """
    Say whether the channel counts as away.
    """
    return pace.failures >= limits.failures_to_rest


def _resting(pace: Pace, until_s: float, limits: PaceLimits) -> Pace:
    """
    Let nobody go until then, and one after the other from then on: no burst meets a channel that was in need of rest.
    """
    if until_s <= pace.rest_until_s:
        return pace
    changes = {"rest_until_s": until_s}
    for kind, name in ((Kind.POST, "posts_full_s"), (Kind.UPDATE, "updates_full_s")):
        rate_per_s, burst = limits.budget(kind)
        if rate_per_s is not None:
            changes[name] = max(pace.full_s(kind), until_s + (burst - 1) / rate_per_s)
    return msgspec.structs.replace(pace, **changes)
