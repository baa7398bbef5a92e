"""
A synthetic stream without end: one world after another, with the payments' own time moved to the moment of sending.
"""

import itertools
from collections.abc import Callable, Iterator

import msgspec

from fraudstream.producers.labelled import Labelled
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate

#: Transactions of one world; the next begins with the next seed.
_WORLD = 20_000


def live(seed: int, *, now_ms: Callable[[], int]) -> Iterator[Labelled]:
    """
    Yield synthetic payments for ever, in the order of their world, each stamped with the time at which it is drawn.

    Order and entities are those of the world; the pauses between payments are the sender's pace.
    """
    decode, encode = msgspec.json.Decoder(), msgspec.json.Encoder()
    for number in itertools.count():
        for row in generate(demo_plan(seed + number, end_ms=now_ms(), transactions=_WORLD)):
            at_ms = now_ms()
            # Seconds: thirteen digits in a row would send every body through the long look for card numbers.
            body = encode.encode({**decode.decode(row.body), "timestamp": at_ms / 1000})
            yield msgspec.structs.replace(row, body=body, occurred_at_ms=at_ms)
