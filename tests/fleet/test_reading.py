"""
Reading: what is sent together is worked together.
"""

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.ports import Delivery
from tests.support.fake_stream import FakeStream
from tests.support.fleet import Bench, ObedientStage
from tests.support.wait import wait_until


class WokenByTheFirst(FakeStream):
    """
    Like a server that wakes up whoever waits as soon as the first of several entries is there.
    """

    reads = 0

    async def read(self, count: int, block_ms: int) -> list[Delivery]:
        self.reads += 1
        return await super().read(1 if self.reads % 2 else count, block_ms)


class GoneAfterTheFirst(WokenByTheFirst):
    """
    The same, and away when it is asked for more for the first time.
    """

    async def read(self, count: int, block_ms: int) -> list[Delivery]:
        if self.reads == 1:
            self.reads += 1
            raise StreamUnavailable("away")
        return await super().read(count, block_ms)


async def test_the_first_of_several_that_come_together_is_no_batch_of_its_own() -> None:
    # given ten entries, of which the first wakes the worker up
    stage = ObedientStage()
    bench = Bench(stage, stream=WokenByTheFirst)
    entries = bench.add(10)

    # when it reads them
    async with bench.running():
        await wait_until(bench.all_over, "everything was worked")

    # then they are one batch
    assert [[one.entry_id for one in batch] for batch in stage.batches] == [entries]


async def test_what_was_read_is_worked_when_the_server_goes_before_more_can_be_read() -> None:
    # given a server that goes away after the first entry has been handed out
    stage = ObedientStage()
    bench = Bench(stage, stream=GoneAfterTheFirst)
    entries = bench.add(10)

    # when it is back
    async with bench.running():
        await wait_until(bench.all_over, "everything was worked")

    # then that entry was worked at once, and once, like the others
    assert [one.entry_id for one in stage.batches[0]] == entries[:1]
    assert stage.done == dict.fromkeys(entries, 1)
