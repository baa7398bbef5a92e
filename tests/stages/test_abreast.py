"""
First verdicts are noted no faster than the other group joins them, and a group that is gone holds nobody up.
"""

import asyncio
from collections.abc import Sequence

import pytest

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.stages.abreast import Abreast, Span
from tests.support.roads import Worker, World, a_payment
from tests.support.verdicts import RULES

SPANS: list[Span] = [(b"1-0", b"2-0"), (b"3-0", b"4-0"), (b"5-0", b"6-0")]


class Other:
    """
    The other group, as far as it is; time passes while it is asked.
    """

    def __init__(self) -> None:
        self.through: set[Span] = set()
        self.now_s = 0.0
        self.asked = 0
        self.later: dict[float, Span] = {}

    async def joined(self, spans: Sequence[Span]) -> list[bool]:
        self.asked += 1
        self.now_s += 0.01
        self.through |= {span for at_s, span in self.later.items() if at_s <= self.now_s}
        return [span in self.through for span in spans]

    def abreast(self) -> Abreast:
        return Abreast(self.joined, deadline_s=0.25, clock=lambda: self.now_s)


@pytest.fixture
def other() -> Other:
    return Other()


async def test_nobody_is_asked_while_verdicts_are_young(other: Other) -> None:
    abreast = other.abreast()
    abreast.noted(SPANS[0])
    other.now_s = 0.09

    await abreast.come_close()

    assert other.asked == 0


async def test_verdicts_wait_until_old_ones_are_joined(other: Other) -> None:
    """
    Half a thousand decisions came without the model whenever payments came faster than both groups could take them.
    """
    abreast = other.abreast()
    abreast.noted(SPANS[0])
    other.now_s = 0.12
    other.later = {0.18: SPANS[0]}

    await abreast.come_close()

    assert 0.18 <= other.now_s < 0.25


async def test_a_straggler_holds_nobody_up_once_later_ones_are_joined(other: Other) -> None:
    abreast = other.abreast()
    for span in SPANS:
        abreast.noted(span)
    other.now_s, other.through = 0.12, {SPANS[1], SPANS[2]}

    await abreast.come_close()
    await abreast.come_close()

    assert other.asked == 1


async def test_a_group_that_is_gone_is_waited_for_once_in_a_while(other: Other) -> None:
    abreast = other.abreast()
    abreast.noted(SPANS[0])
    other.now_s = 0.12
    await abreast.come_close()
    waited_until_s, asked = other.now_s, other.asked

    # then nobody waits for two seconds
    for _ in range(20):
        abreast.noted(SPANS[1])
        other.now_s += 0.1
        await abreast.come_close()
        if other.now_s - waited_until_s < 1.9:
            assert other.asked == asked

    assert 0.25 <= waited_until_s < 0.27


async def test_a_server_that_is_away_is_left_to_who_completes() -> None:
    async def away(_: Sequence[Span]) -> list[bool]:
        raise StreamUnavailable("away")

    abreast = Abreast(away, deadline_s=0.001)
    abreast.noted(SPANS[0])
    await asyncio.sleep(0.002)

    await asyncio.wait_for(abreast.come_close(), 1.0)


async def test_a_road_notes_no_verdict_before_the_other_group_is_close(world: World) -> None:
    world.add([a_payment("txn_1"), a_payment("txn_2")])
    close, spans = asyncio.Event(), list[Span]()

    class Far(Abreast):
        async def come_close(self) -> None:
            await close.wait()

        def noted(self, span: Span) -> None:
            spans.append(span)

    rules = Worker(world, RULES, abreast=Far(Other().joined, deadline_s=0.25))
    batch = await rules.read()
    working = asyncio.create_task(rules.road.work(batch))
    await asyncio.sleep(0.02)
    held = len(world.pending(RULES))
    close.set()
    await working

    assert (held, len(world.pending(RULES))) == (2, 0)
    assert spans == [(batch[0].entry_id, batch[1].entry_id)]
