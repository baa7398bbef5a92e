"""
The sign of life: there while the loop lives, gone when it hangs.
"""

import asyncio
import random
import time

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.backoff import full_jitter
from fraudstream.fleet.heartbeat import Heartbeat
from tests.support.fake_stream import FakeHeart, FakeStream, MemoryStreams
from tests.support.fleet import RememberingReport
from tests.support.wait import wait_until_sync

LIFE_S = 0.06


def a_heart() -> FakeHeart:
    stream = FakeStream(MemoryStreams())
    asyncio.run(stream.open())
    return FakeHeart(stream, LIFE_S)


def a_heartbeat(heart: FakeHeart) -> Heartbeat:
    return Heartbeat(heart, lambda: (), life_s=LIFE_S, report=RememberingReport())


def test_it_beats_before_anything_is_read() -> None:
    heart = a_heart()
    heartbeat = a_heartbeat(heart)

    heartbeat.start()

    assert heart.beats >= 1
    heartbeat.stop()


def test_it_goes_on_while_the_loop_ticks() -> None:
    heart = a_heart()
    heartbeat = a_heartbeat(heart)
    heartbeat.start()

    def ticking() -> bool:
        heartbeat.tick()
        return heart.beats > 12

    wait_until_sync(ticking, "more beats than one life holds")
    heartbeat.stop()


def test_it_stops_when_the_loop_hangs_and_comes_back_with_it() -> None:
    heart = a_heart()
    heartbeat = a_heartbeat(heart)
    heartbeat.start()
    wait_until_sync(lambda: time.monotonic() - heartbeat._ticked_at > 2 * LIFE_S, "the loop has hung for two lives")
    beats = heart.beats
    hung_until = time.monotonic() + 2 * LIFE_S

    wait_until_sync(lambda: time.monotonic() > hung_until, "two more lives")
    silent = heart.beats
    heartbeat.tick()
    wait_until_sync(lambda: heart.beats > silent, "it beats again")

    assert silent == beats
    heartbeat.stop()


def test_after_the_stop_nothing_beats_and_the_connection_is_closed() -> None:
    heart = a_heart()
    heartbeat = a_heartbeat(heart)
    heartbeat.start()

    heartbeat.stop()
    beats = heart.beats
    until = time.monotonic() + LIFE_S
    wait_until_sync(lambda: time.monotonic() > until, "one life")

    assert heart.beats == beats
    assert heart.closed


def test_a_server_that_is_away_does_not_end_it() -> None:
    heart = a_heart()
    heart.error = StreamUnavailable("away")
    heartbeat = a_heartbeat(heart)
    heartbeat.start()

    until = time.monotonic() + LIFE_S
    wait_until_sync(lambda: time.monotonic() > until, "some beats have failed")
    heart.error = None
    heartbeat.tick()
    wait_until_sync(lambda: heart.beats > 0, "it beats again")

    heartbeat.stop()


def test_an_unforeseen_error_does_not_end_it_silently() -> None:
    """
    The thread died of it: the worker went on reading while others took every entry out of its hands as those of a dead one.
    """
    heart = a_heart()
    report = RememberingReport()
    heartbeat = Heartbeat(heart, lambda: (), life_s=LIFE_S, report=report)
    heartbeat.start()
    beats = heart.beats

    heart.error = TypeError("a reply of another shape")
    heartbeat.tick()
    wait_until_sync(lambda: report.retries, "it was reported")
    heart.error = None

    def ticking() -> bool:
        heartbeat.tick()
        return heart.beats > beats

    wait_until_sync(ticking, "it beats again")
    heartbeat.stop()
    assert "another shape" in report.retries[0][1]


def test_backoff_doubles_up_to_its_bound_and_is_never_nothing() -> None:
    rng = random.Random(1)

    for attempt in (*range(40), 10**6):
        pause_s = full_jitter(attempt, first_s=0.05, longest_s=5.0, rng=rng)
        bound = min(5.0, 0.05 * 2 ** min(attempt, 32))
        assert bound / 10 <= pause_s <= bound
