"""
A synthetic stream without end: one world after another, with the payments' own time moved to the moment of sending.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from fraudstream.producers.labelled import Labelled
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate

#: Transactions of one world; the next begins with the next seed.
_WORLD = 20_000


def live(
    seed: int, *, now_ms: Callable[[], int], fraud_rate: float | None = None, scenario: str | None = None
) -> Iterator[Labelled]:
    """
    Yield synthetic payments for ever, in the order of their world, each stamped with the time at which it is drawn.

    Order and entities are those of the world; the pauses between payments are the sender's pace, so two weeks of a world may go
    by in minutes. ``fraud_rate`` and ``scenario`` (one kind of attack instead of the mix) replace those of the demo's plan.

    Raises:
        InvalidSettings: There is no such attack, or the rate is not from 0 to 0.5.
    """
    changes: dict[str, Any] = {}
    if fraud_rate is not None:
        changes["fraud_rate"] = fraud_rate
    if scenario is not None:
        changes["mix"] = {scenario: 1.0}
    decode, encode = msgspec.json.Decoder(), msgspec.json.Encoder()
    for number in itertools.count():
        world = demo_plan((seed + number) % 2**32, end_ms=now_ms(), transactions=_WORLD)
        for row in generate(msgspec.structs.replace(world, **changes)):
            at_ms = now_ms()
            # Seconds: thirteen digits in a row would send every body through the long look for card numbers.
            body = encode.encode({**decode.decode(row.body), "timestamp": at_ms / 1000})
            yield msgspec.structs.replace(row, body=body, occurred_at_ms=at_ms)
