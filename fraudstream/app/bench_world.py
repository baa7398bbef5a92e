"""
Payments for as long as wanted from a world that stays small: the same people, days later in each round.
"""

import re
import time
from collections.abc import Iterator
from datetime import datetime

from fraudstream.producers.plan import DAY_MS, demo_plan
from fraudstream.producers.synthetic import generate

#: Payments of one round, and the people who make them: each has a natural number of payments per day.
_ROUND, _DAYS = 30_000, 19
_SHAPE = re.compile(rb'(.*"transaction_id":")([^"]+)(".*"timestamp":)"([^"]+)"(.*)', re.DOTALL)


def rounds(total: int, *, seconds: float, payments: int = _ROUND) -> Iterator[bytes]:
    """
    Yield at most so many payments, each of an id of its own, in the order of time; the last round ends now.

    What is known of the people grows until their histories are full, and no further.

    Args:
        total: No more than these.
        seconds: No longer than this after the first is asked for.
        payments: Of one round.
    """
    count = -(-total // payments)
    began_ms = int(time.time() * 1000) - count * _DAYS * DAY_MS
    shapes = [_shape(one.body) for one in generate(demo_plan(end_ms=_DAYS * DAY_MS * 2, transactions=payments, days=_DAYS))]
    until = time.monotonic() + seconds
    for number in range(total):
        turn, at = divmod(number, payments)
        if number % 64 == 0 and time.monotonic() >= until:
            return
        head, name, middle, offset_ms, tail = shapes[at]
        yield b"%s%s-%d%s%d%s" % (head, name, turn, middle, began_ms + turn * _DAYS * DAY_MS + offset_ms, tail)


def _shape(body: bytes) -> tuple[bytes, bytes, bytes, int, bytes]:
    """
    Return a body in pieces: what stands around the id and the time, and the time in milliseconds since the round began.
    """
    found = _SHAPE.fullmatch(body)
    assert found is not None, "the synthetic world writes an id and a time into every payment"
    head, name, middle, at, tail = found.groups()
    return head, name, middle, int(datetime.fromisoformat(at.decode()).timestamp() * 1000) - _DAYS * DAY_MS, tail
