"""
From a source onto the stream: in batches, at a pace, waiting where the intake is full, sending again where nobody knows.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from fraudstream.domain.errors import AdmissionRefused, StreamUnavailable, TransientError
from fraudstream.fleet.backoff import full_jitter
from fraudstream.fleet.ports import TransactionIntake
from fraudstream.producers.cards import holds_card_number, may_hold_card_numbers
from fraudstream.producers.feed import Feed
from fraudstream.producers.labelled import Labelled

#: First and longest pause before a batch is offered again, in seconds.
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
#: At a given rate a batch holds at most what falls due within so many seconds: even arrivals, not bursts.
_EVENNESS_S = 0.01


class Produced(msgspec.Struct, kw_only=True):
    """
    What became of a source; counts are of transactions where nothing else is said.

    ``appended`` are on the stream at least once; ``resent`` of them were sent again because the outcome of a call was unknown
    and may be there twice. ``rejected`` held a clear card number and were never sent. ``refused_waits`` and
    ``unavailable_waits`` count pauses, and ``waited_s`` their seconds. ``behind_s`` is the most that a batch went out after its
    time at the asked rate. ``entry_ids`` maps transaction ids to entry ids, where asked for.
    """

    appended: int = 0
    resent: int = 0
    rejected: int = 0
    refused_waits: int = 0
    unavailable_waits: int = 0
    waited_s: float = 0.0
    behind_s: float = 0.0
    elapsed_s: float = 0.0
    entry_ids: dict[str, bytes] = {}


def _silent(_appended: int) -> None:
    """
    Tell nobody.
    """


def _wait_silently(_why: TransientError, _pause_s: float) -> None:
    """
    Tell nobody.
    """


async def produce(
    source: Iterable[Labelled | bytes],
    intake: TransactionIntake,
    *,
    rate_per_s: float | None = None,
    batch: int = 256,
    progress: Callable[[int], None] = _silent,
    waiting: Callable[[TransientError, float], None] = _wait_silently,
    check: bool = True,
    keep_entry_ids: bool = False,
    patience_s: float | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Produced:
    """
    Append all of a source in its order, at least once each, never one call per transaction where more are at hand.

    The load is open: at a given rate transaction *n* is due *n* / rate seconds after the first, whatever the intake does; what
    was held up goes out as soon as it can. A source that is slow itself (a pipe) is not waited for: what came is sent.

    Args:
        source: Read in a thread of its own, a few batches ahead; it may block.
        intake: Where to; what it raises decides between waiting and sending again.
        rate_per_s: Transactions per second; None is as fast as the intake takes them.
        batch: Most transactions per call.
        progress: Called after every batch with the number appended so far.
        waiting: Called before every pause with its reason and its seconds.
        check: Refuse bodies with a clear card number instead of sending them.
        keep_entry_ids: Remember the entry id of each transaction id (the last one where it was sent again).
        patience_s: Give up when one batch was refused for so long; None never does.
        sleep: How to let seconds pass.
        clock: Seconds that only go forward.

    Returns:
        The account, whole: appended + rejected is everything that the source held.

    Raises:
        TransientError: The intake was full or away for longer than ``patience_s``; all before that batch is appended.
    """
    sender = _Sender(intake, waiting, patience_s, sleep, clock)
    done = sender.done
    most = batch if rate_per_s is None else max(1, min(batch, round(rate_per_s * _EVENNESS_S)))
    async with Feed(source, batch=most) as feed:
        drawn, taken = await feed.take(), 0
        began = clock()  # a source may need a while before it starts
        while drawn:
            if rate_per_s is not None:
                await _keep_pace(began + taken / rate_per_s, done, sleep, clock)
            taken += len(drawn)
            rows, bodies = _sendable(drawn) if check else (drawn, _bodies(drawn))
            done.rejected += len(drawn) - len(rows)
            entry_ids = await sender.send(bodies) if rows else []
            if keep_entry_ids:
                pairs = zip(rows, entry_ids, strict=True)
                done.entry_ids |= {row.transaction_id: entry_id for row, entry_id in pairs if isinstance(row, Labelled)}
            progress(done.appended)
            drawn = await feed.take()
    done.elapsed_s = clock() - began
    return done


def _sendable(drawn: list[Labelled | bytes]) -> tuple[list[Labelled | bytes], list[bytes]]:
    """
    Return the rows without a clear card number, and their bodies.
    """
    bodies = _bodies(drawn)
    if not may_hold_card_numbers(bodies):
        return drawn, bodies
    rows = [row for row, body in zip(drawn, bodies, strict=True) if not holds_card_number(body)]
    return rows, _bodies(rows)


def _bodies(rows: Sequence[Labelled | bytes]) -> list[bytes]:
    return [_body(row) for row in rows]


def _body(row: Labelled | bytes) -> bytes:
    return row.body if isinstance(row, Labelled) else row


async def _keep_pace(
    due_s: float, done: Produced, sleep: Callable[[float], Awaitable[object]], clock: Callable[[], float]
) -> None:
    """
    Wait until a batch is due, or note by how much it is late.
    """
    ahead_s = due_s - clock()
    if ahead_s > 0:
        await sleep(ahead_s)
    else:
        done.behind_s = max(done.behind_s, -ahead_s)


class _Sender:
    """
    Offers one batch after another until each is taken, and counts.
    """

    def __init__(
        self,
        intake: TransactionIntake,
        waiting: Callable[[TransientError, float], None],
        patience_s: float | None,
        sleep: Callable[[float], Awaitable[object]],
        clock: Callable[[], float],
    ) -> None:
        self.done = Produced()
        self._intake = intake
        self._waiting = waiting
        self._patience_s = patience_s
        self._sleep = sleep
        self._clock = clock
        self._rng = random.Random()  # noqa: S311 (spreads producers over time, keeps no secret)

    async def send(self, bodies: Sequence[bytes]) -> list[bytes]:
        """
        Append one batch, however often it takes.
        """
        began, unsure = self._clock(), False
        for attempt in itertools.count():
            try:
                entry_ids = await self._intake.append(bodies)
            except AdmissionRefused as why:
                self.done.refused_waits += 1
                await self._pause(why, attempt, began)
            except StreamUnavailable as why:
                self.done.unavailable_waits += 1
                unsure = True
                await self._pause(why, attempt, began)
            else:
                break
        self.done.appended += len(bodies)
        self.done.resent += len(bodies) if unsure else 0
        return entry_ids

    async def _pause(self, why: TransientError, attempt: int, began: float) -> None:
        pause_s = full_jitter(attempt, first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S, rng=self._rng)
        if self._patience_s is not None and self._clock() - began + pause_s > self._patience_s:
            raise why
        self._waiting(why, pause_s)
        await self._sleep(pause_s)
        self.done.waited_s += pause_s
