"""
One bad entry is found, tried again, and given up; nobody else pays for it.
"""

import asyncio
from collections.abc import Sequence

import pytest

from fraudstream.fleet.ports import TRIED_ALONE, Delivery, Handled
from tests.support.fake_stream import RETRY, Pending
from tests.support.fleet import QUICK, Bench, ObedientStage, quick
from tests.support.wait import wait_until


class Poisoned(ObedientStage):
    """
    A stage that a set of entries makes raise.
    """

    def __init__(self) -> None:
        super().__init__(self._look)
        self.poison: set[bytes] = set()
        self.hits: list[bytes] = []

    def _look(self, batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            if delivery.entry_id in self.poison:
                self.hits.append(delivery.entry_id)
                raise ValueError(f"cannot work {delivery.entry_id.decode()}")


async def test_one_poison_among_twenty_condemns_only_itself() -> None:
    stage = Poisoned()
    bench = Bench(stage)
    entries = bench.add(20)
    stage.poison = {entries[7]}

    async with bench.running():
        await wait_until(bench.all_over, "everything has an end")

    assert {entry for entry, times in stage.done.items() if times == 1} == set(entries) - stage.poison
    assert [entry for entry, _ in stage.given_up] == [entries[7]]
    assert [(letter.entry_id, letter.reason, letter.deliveries) for letter in bench.streams.letters] == [
        (entries[7], "max_retries", QUICK.max_deliveries)
    ]


async def test_a_poison_is_handed_out_as_often_as_the_limit_says() -> None:
    stage = Poisoned()
    bench = Bench(stage)
    (entry,) = bench.add(1)
    stage.poison = {entry}

    async with bench.running():
        await wait_until(bench.all_over, "it was given up")

    assert [batch[0].deliveries for batch in stage.batches] == [1, 2, 3]
    assert "cannot work" in stage.given_up[0][1]


async def test_many_poisons_condemn_no_innocent() -> None:
    stage = Poisoned()
    bench = Bench(stage)
    entries = bench.add(200)
    stage.poison = set(entries[::9])

    async with bench.running():
        await wait_until(bench.all_over, "everything has an end")

    assert {letter.entry_id for letter in bench.streams.letters} == stage.poison
    assert len(bench.streams.letters) == len(stage.poison)
    assert set(stage.done) == set(entries) - stage.poison
    assert set(stage.done.values()) == {1}


async def test_an_entry_that_was_tried_alone_too_often_is_given_up_before_it_is_worked() -> None:
    """
    Whoever worked it died of it, each time: looking at it once more would kill this worker too.
    """
    stage = Poisoned()
    bench = Bench(stage)
    (entry,) = bench.add(1)
    await bench.stream.open()
    await bench.stream.read(1, 1)
    bench.streams.groups["group"].pending[1] = Pending("dead", TRIED_ALONE + 1, float("-inf"))

    async with bench.running():
        await wait_until(bench.all_over, "it was given up")

    assert QUICK.max_deliveries == TRIED_ALONE
    assert stage.batches == []
    assert stage.given_up == [(entry, "tried alone 1 times without an end")]


async def test_what_two_processes_died_of_travels_alone_and_what_one_died_of_in_company() -> None:
    stage = Poisoned()
    bench = Bench(stage)
    entries = bench.add(20)
    await bench.stream.open()
    await bench.stream.read(20, 1)
    for number, pending in bench.streams.groups["group"].pending.items():
        pending.owner, pending.deliveries = "dead", 1 if number <= 5 else 2

    async with bench.running():
        await wait_until(bench.all_over, "everything was claimed and worked")

    assert sorted(delivery.entry_id for batch in stage.batches for delivery in batch) == sorted(entries)
    assert sorted(len(batch) for batch in stage.batches) == [1] * 15 + [5]
    assert {delivery.deliveries for batch in stage.batches for delivery in batch if len(batch) == 1} == {3}


async def test_an_entry_that_was_trimmed_leaves_a_tombstone_and_is_not_worked() -> None:
    stage = Poisoned()
    bench = Bench(stage)
    entries = bench.add(2)
    await bench.stream.open()
    await bench.stream.read(2, 1)
    bench.streams.trim(entries[0])
    for pending in bench.streams.groups["group"].pending.values():
        pending.owner = "dead"

    async with bench.running():
        await wait_until(bench.all_over, "both have an end")

    assert [(letter.entry_id, letter.reason) for letter in bench.streams.letters] == [(entries[0], "trimmed")]
    assert dict(stage.done) == {entries[1]: 1}
    assert bench.report.letters == [("trimmed", entries[0].decode())]


async def test_a_letter_is_written_before_its_entry_is_acknowledged() -> None:
    stage = Poisoned()
    bench = Bench(stage)
    (entry,) = bench.add(1)
    stage.poison = {entry}
    order: list[str] = []
    bury, acknowledge = bench.stream.bury, bench.stream.acknowledge

    async def noting_bury(letter):  # type: ignore[no-untyped-def]
        order.append("letter")
        return await bury(letter)

    async def noting_acknowledge(entry_ids):  # type: ignore[no-untyped-def]
        order.append("acknowledged")
        await acknowledge(entry_ids)

    bench.stream.bury, bench.stream.acknowledge = noting_bury, noting_acknowledge  # type: ignore[method-assign]

    async with bench.running():
        await wait_until(bench.all_over, "it was given up")

    assert order == ["letter", "acknowledged"]


async def test_a_poison_whose_giving_up_fails_too_stays_visible_and_holds_nobody_up() -> None:
    """
    It came back every two seconds for ever, untouched by the attempt limit, and its neighbours of the batch waited with it.
    """
    stage = Poisoned()
    bench = Bench(stage)
    entries = bench.add(20)
    stage.poison = {entries[3]}
    stage.give_up_error = RuntimeError("the letter cannot be written")

    async with bench.running():
        await wait_until(lambda: len(stage.given_up) > 2 and len(bench.pending) == 1, "only the poison is left")
        assert set(stage.done) == set(entries) - stage.poison
        assert any("the letter cannot be written" in error for _, error in bench.report.retries)
        stage.give_up_error = None
        await wait_until(bench.all_over, "it was given up after all")

    assert [letter.entry_id for letter in bench.streams.letters] == [entries[3]]


async def test_an_entry_that_cannot_be_ended_is_isolated_like_one_that_cannot_be_worked() -> None:
    """
    The error came after the work (a letter that the server refuses), left the whole batch without an end and counted nothing.
    """
    stage = ObedientStage()
    bench = Bench(stage)
    entries = bench.add(20)
    acknowledge = bench.stream.acknowledge

    async def refusing(entry_ids: Sequence[bytes]) -> None:
        if entries[5] in entry_ids and not stage.given_up:
            raise ValueError("refused")
        await acknowledge(entry_ids)

    bench.stream.acknowledge = refusing  # type: ignore[method-assign]

    async with bench.running():
        await wait_until(bench.all_over, "everything has an end")

    assert [letter.entry_id for letter in bench.streams.letters] == [entries[5]]


@pytest.mark.parametrize("answer", ["settled", "retry"])
async def test_what_a_stage_settles_is_left_alone_and_what_it_retries_comes_again(answer: str) -> None:
    stage = ObedientStage()
    bench = Bench(stage)
    (entry,) = bench.add(1)

    async def settle(batch: Sequence[Delivery]) -> Handled:
        if answer == "retry" and batch[0].deliveries == 1:
            return Handled(retry={entry: 0.001})
        await bench.stream.acknowledge([entry])
        return Handled(settled=[entry])

    stage.before = settle

    async with bench.running():
        await wait_until(bench.all_over, "it has an end")

    assert [batch[0].deliveries for batch in stage.batches] == ([1] if answer == "settled" else [1, 2])


async def test_two_suspects_are_never_in_one_process_at_the_same_time() -> None:
    """
    One of them may take the process down: each death counts against everything of that kind that it had in hand.
    """
    held: list[int] = []

    async def look(_: Sequence[Delivery]) -> None:
        held.append(len([one for one in bench.pending.values() if one.owner == bench.stream.consumer]))
        await asyncio.sleep(0.01)

    bench = Bench(ObedientStage(look), limits=quick(batches_in_hand=4))
    entries = bench.add(8)
    await bench.stream.open()
    await bench.stream.read(8, 1)
    books = bench.streams.groups["group"]
    for number, pending in books.pending.items():
        pending.owner, pending.deliveries = ("dead", 2) if number % 2 else (RETRY, 2)
        if not number % 2:
            books.due_s[number] = 0.0

    async with bench.running():
        await wait_until(bench.all_over, "everything has an end")

    assert len(held) == len(entries)
    assert max(held) == 1
