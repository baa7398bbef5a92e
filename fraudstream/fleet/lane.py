"""
The way to one channel: how many may go, how fast, when to try again, when to let it rest.

Nothing here waits: an answer says after how many seconds to come again, and the entry is handed back until then.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from fraudstream.fleet.backoff import full_jitter

#: Closer than this to its time, in seconds, nobody is sent back: handing an entry over costs more.
_SOON_S = 0.05


class LaneLimits(msgspec.Struct, frozen=True, kw_only=True):
    """
    The bounds of one channel.

    ``rate_per_s`` is a token bucket of ``burst`` tokens, None for no budget. At most ``concurrent`` go at the same time; a
    place is waited for ``patience_s``. After ``failures_to_open`` failures in a row the channel rests ``open_s``, then one
    tries for all. ``tries`` and ``oldest_s`` (from the first failure) bound one errand; backoff lies between ``first_s`` and
    ``longest_s``.
    """

    rate_per_s: float | None = None
    burst: int = 5
    concurrent: int = 4
    patience_s: float = 1.0
    failures_to_open: int = 5
    open_s: float = 30.0
    tries: int = 8
    oldest_s: float = 3600.0
    first_s: float = 1.0
    longest_s: float = 60.0


class Turn:
    """
    Where one errand stands on one lane; kept by whoever runs the errand.

    ``tries`` counts failed ones, being throttled not among them. ``failed_since_s`` is the time of the first failure.
    """

    __slots__ = ("epoch", "failed_since_s", "not_before_s", "probing", "slot_s", "tries")

    def __init__(self) -> None:
        self.tries = 0
        self.failed_since_s: float | None = None
        self.not_before_s = 0.0
        self.slot_s: float | None = None
        self.epoch = -1
        self.probing = False


class Lane:
    """
    One channel's budget, rest and places. All times are seconds of the same clock, which the caller reads.

    References:
        The budget is the generic cell rate algorithm (ITU-T I.371 annex A): a token bucket that can promise future tokens.
    """

    def __init__(self, limits: LaneLimits, rng: random.Random) -> None:
        self._limits = limits
        self._rng = rng
        self._places = asyncio.Semaphore(limits.concurrent)
        self._full_at_s = 0.0
        self._resting_until_s = 0.0
        self._failures = 0
        self._probing = False
        self._epoch = 0

    def admit(self, turn: Turn, now_s: float) -> float:
        """
        Return 0 when an errand may go now, else the seconds after which to ask again.

        A slot that was promised is kept, unless the lane has had to rest since.
        """
        if turn.not_before_s - now_s > _SOON_S:
            return turn.not_before_s - now_s
        if turn.slot_s is None or turn.epoch != self._epoch:
            turn.slot_s, turn.epoch = self._promise(max(now_s, self._resting_until_s)), self._epoch
        wait_s = turn.slot_s - now_s
        if wait_s > _SOON_S:
            return wait_s
        if self._failures >= self._limits.failures_to_open:
            if self._probing and not turn.probing:
                return self._limits.open_s * self._rng.uniform(0.1, 0.2)
            self._probing = turn.probing = True
        return 0.0

    def _promise(self, at_s: float) -> float:
        """
        Return the first time from ``at_s`` on at which the budget has a token, and take it.
        """
        rate_per_s = self._limits.rate_per_s
        if rate_per_s is None:
            return at_s
        slot_s = max(at_s, self._full_at_s - (self._limits.burst - 1) / rate_per_s)
        self._full_at_s = max(self._full_at_s, slot_s) + 1 / rate_per_s
        return slot_s

    @asynccontextmanager
    async def place(self, turn: Turn) -> AsyncIterator[bool]:
        """
        Hold one of the places for an errand that was admitted; False when none became free in time.
        """
        free = await self._free_in_time()
        try:
            yield free
        finally:
            if free:
                self._places.release()
            # However it ended: a lane that waits for a probe that nobody makes would rest for ever.
            self._end_probe(turn)

    async def _free_in_time(self) -> bool:
        try:
            async with asyncio.timeout(self._limits.patience_s):
                return await self._places.acquire()
        except TimeoutError:
            return False

    def answered(self, turn: Turn) -> None:
        """
        Note that the channel is there: it took the errand, or refused it for good.
        """
        self._failures = 0
        turn.slot_s = None

    def failed(self, turn: Turn, now_s: float, retry_after_s: float | None) -> float:
        """
        Note a failure that may pass, and return the seconds after which to try again.

        Args:
            turn: Of the errand that failed.
            now_s: When it did.
            retry_after_s: How long the channel asked us to stay away: it was throttled, nobody is to blame.
        """
        turn.slot_s = None
        turn.failed_since_s = now_s if turn.failed_since_s is None else turn.failed_since_s
        if retry_after_s is not None:
            self._rest(now_s + retry_after_s)
            wait_s = retry_after_s
        else:
            # Who tries for all while the lane rests is not worn out by it.
            turn.tries += 0 if turn.probing else 1
            self._failures += 1
            if self._failures >= self._limits.failures_to_open:
                self._rest(now_s + self._limits.open_s)
            wait_s = full_jitter(turn.tries, first_s=self._limits.first_s / 2, longest_s=self._limits.longest_s, rng=self._rng)
        turn.not_before_s = now_s + wait_s
        return wait_s

    def exhausted(self, turn: Turn, now_s: float) -> str | None:
        """
        Say why an errand is to be given up, None while it is not.
        """
        if turn.tries >= self._limits.tries:
            return "too_many_tries"
        if turn.failed_since_s is not None and now_s - turn.failed_since_s >= self._limits.oldest_s:
            return "too_old"
        return None

    def _end_probe(self, turn: Turn) -> None:
        if turn.probing:
            self._probing = turn.probing = False

    def _rest(self, until_s: float) -> None:
        """
        Let nobody go until then, and one after the other from then on; what was promised before is void.
        """
        if until_s <= self._resting_until_s:
            return
        self._resting_until_s = until_s
        self._epoch += 1
        if self._limits.rate_per_s is not None:
            self._full_at_s = until_s + (self._limits.burst - 1) / self._limits.rate_per_s
