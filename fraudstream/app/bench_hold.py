"""
How long a batch waits while a worker builds rules between batches: the longest slice, by CPU.
"""

import asyncio
import gc

import msgspec

from fraudstream.app.rule_files import RuleBench
from fraudstream.app.run import collect_seldom
from fraudstream.fleet.stalls import Changes, in_slices
from fraudstream.rules.load import load_in_steps

#: Rules of the sets that are built, beside those that ship: an ordinary large set, and nearly the largest there may be.
MORE_RULES = (200, 1_900)


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """
    What building one set takes: its CPU in all, in how many slices, and the longest of them, in milliseconds.
    """

    rules: int
    cpu_ms: float
    slices: int
    longest_ms: float


def measure_hold(bench: RuleBench, source: str) -> list[Held]:
    """
    Build rule sets as workers do, with the collector of cycles set as theirs.
    """
    before = gc.get_threshold()
    collect_seldom()
    try:
        return [asyncio.run(_measure(bench, _larger(source, more))) for more in MORE_RULES]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def _larger(source: str, more: int) -> str:
    made = (f"rule more_{n} block if :amount: > {n} and :card_count_1h: > {n} test miss {{ amount: 0 }}" for n in range(more))
    return "\n".join([source, *made])


class _Slices(Changes):
    """
    The CPU of each slice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.each_s: list[float] = []
        self._noted_s = 0.0

    def note(self) -> None:
        if self.cpu_s > self._noted_s:
            self.each_s.append(self.cpu_s - self._noted_s)
            self._noted_s = self.cpu_s


async def _measure(bench: RuleBench, source: str) -> Held:
    changes = _Slices()
    steps = load_in_steps(source, features=bench.features.names, lists=bench.lists, rates=bench.rates)
    building = asyncio.ensure_future(in_slices(steps, changes))
    while not building.done():
        await asyncio.sleep(0)
        changes.note()
    return Held(
        rules=len((await building).rules),
        cpu_ms=round(changes.cpu_s * 1e3, 1),
        slices=len(changes.each_s),
        longest_ms=round(max(changes.each_s) * 1e3, 1),
    )
