"""
How long a batch waits for the interpreter while a thread builds rules, told apart from waiting for the machine.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable

import msgspec
import numpy as np

from fraudstream.app.rule_files import RuleBench
from fraudstream.app.run import collect_seldom
from fraudstream.domain.codec import parse_transaction
from fraudstream.fleet.stalls import share_the_interpreter
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate

#: Payments of a batch, calls to the system that the loop makes for one, and rule sets that are built meanwhile.
_BATCH, _CALLS, _BUILDS = 128, 24, 10
#: Rules of the set that is built, beside those that ship.
MORE_RULES = 200
_END_MS = 1_767_225_600_000


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """
    CPU that the building thread had while a batch was judged, in milliseconds: what the batch waited for it at most.
    """

    rules: int
    batches: int
    mean_ms: float
    longest_ms: float


def measure_hold(bench: RuleBench, source: str) -> Held:
    """
    Judge batches while a thread builds rule sets, with the settings of the interpreter that workers have.
    """
    before = sys.getswitchinterval(), gc.get_threshold()
    collect_seldom()
    share_the_interpreter()
    try:
        return _measure(bench, source)
    finally:
        gc.unfreeze()
        gc.set_threshold(*before[1])
        sys.setswitchinterval(before[0])


def _measure(bench: RuleBench, source: str) -> Held:
    more = (
        f"rule more_{n} block if :amount: > {n} and :card_count_1h: > {n} test miss {{ amount: 0 }}" for n in range(MORE_RULES)
    )
    large = "\n".join([source, *more])
    rules = bench.load(source, name="judging")
    plan = demo_plan(end_ms=_END_MS, transactions=_BATCH)
    paid = [parse_transaction(one.body, now_ms=_END_MS, default_currency="USD") for one in generate(plan)]
    matrix = np.random.default_rng(1).exponential(20, (len(paid), len(rules.features))).astype(np.float32)

    def build() -> None:
        for number in range(_BUILDS):
            bench.load(f"{large}\nscore +1 if :amount: > {number}", name="built")

    held = _beside(build, lambda: rules.evaluate(paid, matrix))
    return Held(
        rules=len(rules.rules) + MORE_RULES,
        batches=len(held),
        mean_ms=round(sum(held) / len(held), 2),
        longest_ms=round(max(held), 1),
    )


def _beside(build: Callable[[], None], judge: Callable[[], object]) -> list[float]:
    """
    Return, for each batch that was judged while a thread built, the CPU that the thread had meanwhile, in milliseconds.
    """
    reading, writing = os.pipe()
    building = threading.Thread(target=build)
    building.start()
    held: list[float] = []
    try:
        while building.is_alive() or not held:
            process, own = time.process_time(), time.thread_time()
            judge()
            for _ in range(_CALLS // 2):  # each lets the thread have the interpreter, as reading from Redis does
                os.write(writing, b"x")
                os.read(reading, 1)
            held.append(1e3 * ((time.process_time() - process) - (time.thread_time() - own)))
    finally:
        building.join()
        os.close(reading)
        os.close(writing)
    return held
