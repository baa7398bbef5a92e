import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from fraudstream.domain.errors import AdmissionRefused, StreamUnavailable, TransientError
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.produce import LONGEST_PAUSE_S, produce
from tests.support.fake_intake import FakeIntake, away, full, half_appended, reply_lost
from tests.support.wait import wait_until


class _Time:
    """
    A clock that only sleeping moves.
    """

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def _bodies(count: int) -> list[bytes]:
    return [b'{"transaction_id":"txn_%d","amount":"1.00","timestamp":1747000000}' % number for number in range(count)]


async def test_everything_is_appended_once_and_in_order() -> None:
    intake = FakeIntake()

    done = await produce(_bodies(1_000), intake)

    assert intake.entries == _bodies(1_000)
    assert (done.appended, done.resent, done.rejected) == (1_000, 0, 0)


async def test_a_thousand_transactions_take_a_handful_of_calls() -> None:
    intake = FakeIntake()

    await produce(_bodies(1_000), intake, batch=256)

    assert len(intake.calls) <= 8
    assert max(map(len, intake.calls)) == 256


async def test_an_empty_source_appends_nothing() -> None:
    intake = FakeIntake()

    done = await produce([], intake)

    assert (done.appended, intake.calls) == (0, [])


async def test_only_the_body_is_appended() -> None:
    intake = FakeIntake()
    labelled = Labelled(body=b"{}", transaction_id="txn_1", occurred_at_ms=0, fraud=True, scenario="mule")

    await produce([labelled], intake)

    assert intake.entries == [b"{}"]


async def test_a_full_intake_is_waited_for_and_nothing_is_sent_twice() -> None:
    intake, time, said = FakeIntake(full, full), _Time(), []

    done = await produce(
        _bodies(3), intake, waiting=lambda why, pause_s: said.append((type(why), pause_s)), sleep=time.sleep, clock=time.clock
    )

    assert intake.entries == _bodies(3)
    assert (done.refused_waits, done.unavailable_waits, done.resent) == (2, 0, 0)
    assert said == [(AdmissionRefused, pause_s) for pause_s in time.slept]
    assert done.waited_s == pytest.approx(sum(time.slept))


@pytest.mark.parametrize("trouble", [away, reply_lost, half_appended])
async def test_a_batch_of_unknown_outcome_is_sent_again_whole(trouble: object) -> None:
    intake, time = FakeIntake(trouble), _Time()

    done = await produce(_bodies(4), intake, sleep=time.sleep, clock=time.clock)

    assert intake.calls == [_bodies(4), _bodies(4)]
    assert set(intake.entries) == set(_bodies(4))
    assert (done.appended, done.resent, done.unavailable_waits) == (4, 4, 1)


async def test_pauses_grow_up_to_a_bound() -> None:
    intake, time = FakeIntake(*[away] * 20), _Time()

    await produce(_bodies(1), intake, sleep=time.sleep, clock=time.clock)

    assert max(time.slept) <= LONGEST_PAUSE_S
    assert sum(time.slept[:5]) < sum(time.slept[-5:])


@pytest.mark.parametrize(("trouble", "error"), [(full, AdmissionRefused), (away, StreamUnavailable)])
async def test_patience_ends_with_the_trouble_itself(trouble: object, error: type[TransientError]) -> None:
    intake, time = FakeIntake(*[trouble] * 1_000), _Time()

    with pytest.raises(error):
        await produce(_bodies(1), intake, patience_s=30, sleep=time.sleep, clock=time.clock)

    assert 20 < sum(time.slept) <= 30


async def test_a_steady_rate_is_kept() -> None:
    intake, time = FakeIntake(), _Time()

    await produce(_bodies(500), intake, rate_per_s=200, sleep=time.sleep, clock=time.clock)

    assert sum(time.slept) == pytest.approx(500 / 200, abs=0.1)
    assert max(map(len, intake.calls)) == 2  # what falls due in 10 ms, not a burst each second


async def test_what_was_held_up_is_caught_up_with() -> None:
    time = _Time()

    class _SlowOnce(FakeIntake):
        async def append(self, bodies: list[bytes]) -> list[bytes]:
            if len(self.entries) == 100:
                time.now_s += 2.0
            return self.store(bodies)

    intake = _SlowOnce()
    done = await produce(_bodies(500), intake, rate_per_s=100, sleep=time.sleep, clock=time.clock)

    assert done.elapsed_s == pytest.approx(500 / 100, abs=0.1)
    assert done.behind_s == pytest.approx(2.0, abs=0.1)


async def test_a_clear_card_number_never_leaves_the_producer() -> None:
    intake = FakeIntake()
    clear = b'{"transaction_id":"txn_x","amount":"1.00","timestamp":1747000000,"card_id":"4111 1111 1111 1111"}'

    done = await produce([*_bodies(2), clear], intake)

    assert intake.entries == _bodies(2)
    assert (done.appended, done.rejected) == (2, 1)


async def test_the_check_can_be_left_to_the_fleet() -> None:
    intake = FakeIntake()
    clear = b'{"card_id":"4111111111111111"}'

    done = await produce([clear], intake, check=False)

    assert (intake.entries, done.rejected) == ([clear], 0)


async def test_progress_counts_what_is_on_the_stream() -> None:
    seen: list[int] = []

    await produce(_bodies(600), FakeIntake(), batch=256, progress=seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == 600


async def test_entry_ids_are_kept_where_asked_for() -> None:
    rows = [Labelled(body=body, transaction_id=f"txn_{number}", occurred_at_ms=0) for number, body in enumerate(_bodies(3))]

    done = await produce(rows, FakeIntake(), keep_entry_ids=True)

    assert done.entry_ids == {"txn_0": b"0-0", "txn_1": b"1-0", "txn_2": b"2-0"}


async def test_an_error_of_the_source_comes_out_after_what_was_read_before_it() -> None:
    intake = FakeIntake()

    def source() -> Iterator[bytes]:
        yield from _bodies(5)
        raise ValueError("the disk is gone")

    with pytest.raises(ValueError, match="the disk is gone"):
        await produce(source(), intake)

    assert intake.entries == _bodies(5)


async def test_an_idle_pipe_neither_holds_back_what_came_nor_blocks_the_loop() -> None:
    intake = FakeIntake()
    reader, writer = os.pipe()

    with os.fdopen(reader, "rb", buffering=0) as pipe:
        task = asyncio.create_task(produce(iter(pipe.readline, b""), intake))
        os.write(writer, _bodies(1)[0] + b"\n")
        await wait_until(lambda: len(intake.entries) == 1, "the first line of an open pipe to be appended")
        os.close(writer)
        done = await task

    assert done.appended == 1


async def test_a_long_source_is_read_only_a_little_ahead() -> None:
    drawn, gate = [], asyncio.Event()

    def source() -> Iterator[bytes]:
        for body in _bodies(10_000):
            drawn.append(body)
            yield body

    class _Shut(FakeIntake):
        async def append(self, bodies: list[bytes]) -> list[bytes]:
            await gate.wait()
            return self.store(bodies)

    intake = _Shut()
    task = asyncio.create_task(produce(source(), intake, batch=100))
    await wait_until(lambda: len(drawn) >= 400, "the feed to fill")
    ahead = len(drawn)
    gate.set()
    await task

    assert ahead <= 100 + 4 * 100 + 1
    assert len(intake.entries) == 10_000


async def test_cancelling_leaves_no_thread_that_reads_on() -> None:
    names = lambda: [thread.name for thread in threading.enumerate()]  # noqa: E731
    intake, time = FakeIntake(*[away] * 1_000_000), _Time()

    async def forever(_seconds: float) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(produce(iter(_bodies(100_000)), intake, sleep=forever, clock=time.clock))
    await wait_until(lambda: intake.calls, "the first call")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await wait_until(lambda: "producer-feed" not in names(), "the reading thread to end")
