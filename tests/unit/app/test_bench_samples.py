"""
What counts as flat, and the world that the long benchmarks send.
"""

import json
import time
import urllib.error
import urllib.request

import pytest

from fraudstream.app.bench_hook import Hook
from fraudstream.app.bench_samples import REDIS_DATA, Sample, as_if_even, trend
from fraudstream.app.bench_world import rounds


def test_a_curve_that_settles_is_flat_whatever_it_did_at_first() -> None:
    points = [(float(at), min(100.0, 4.0 * at)) for at in range(60)]

    found = trend("redis", "MB", points, share=0.05, least=1.0)

    assert found.flat
    assert (found.first, found.last, found.highest) == (0.0, 100.0, 100.0)
    assert found.slope_per_minute == pytest.approx(0, abs=1e-6)


def test_a_curve_that_grows_beyond_its_bound_is_not_flat() -> None:
    points = [(float(at), 100 + at / 2) for at in range(61)]

    found = trend("redis", "MB", points, share=0.05, least=1.0)

    assert not found.flat
    assert found.slope_per_minute == pytest.approx(30)
    assert found.growth == pytest.approx(15)
    assert found.bound == pytest.approx(0.05 * 122.5)


def looks(rates: list[float], *, kept_mb: float = 0.0) -> list[Sample]:
    """
    Return a look a second at a Redis of 10 MB that keeps 100 bytes of each payment for 60 s, and so much of each for ever.
    """
    came = [sum(rates[:at]) for at in range(len(rates))]
    return [
        Sample(
            at_s=float(at),
            memory_mb={REDIS_DATA: 10 + 1e-4 * (came[at] - came[max(0, at - 60)]) + kept_mb * came[at]},
            appended=1 + round(came[at]),
        )
        for at in range(len(rates))
    ]


def test_what_a_quicker_machine_remembers_is_no_growth() -> None:
    samples = looks([2_000.0] * 80 + [5_000.0] * 120)

    plain = trend(REDIS_DATA, "MB", [(one.at_s, one.memory_mb[REDIS_DATA]) for one in samples], share=0.05, least=1.0)
    even = trend(REDIS_DATA, "MB", as_if_even(samples, 60), share=0.05, least=1.0)

    assert not plain.flat, "or there is nothing to take out"
    assert even.flat
    assert even.growth == pytest.approx(0, abs=0.1)


def test_what_is_kept_of_each_payment_for_ever_is_growth_all_the_same() -> None:
    samples = looks([2_000.0] * 80 + [5_000.0] * 120, kept_mb=2e-5)

    assert not trend(REDIS_DATA, "MB", as_if_even(samples, 60), share=0.05, least=1.0).flat


def test_a_time_in_which_nothing_was_forgotten_is_shown_as_it_is() -> None:
    samples = looks([2_000.0] * 30)

    assert as_if_even(samples, 60) == [(one.at_s, one.memory_mb[REDIS_DATA]) for one in samples]


def test_a_small_process_may_grow_by_what_is_noise() -> None:
    assert trend("alerter", "MB", [(0.0, 10.0), (1.0, 10.0), (2.0, 10.0), (3.0, 12.0)], share=0.05, least=8.0).flat


def test_the_same_people_pay_days_later_in_each_round_with_new_ids() -> None:
    paid = [json.loads(body) for body in rounds(90, seconds=60, payments=30)]

    assert len({one["transaction_id"] for one in paid}) == 90
    assert {one["card_id"] for one in paid[:30]} == {one["card_id"] for one in paid[60:]}
    times = [one["timestamp"] for one in paid]
    assert times == sorted(times)
    assert times[-1] <= time.time() * 1000


def test_the_payments_end_when_their_time_is_over() -> None:
    assert list(rounds(1_000, seconds=-1, payments=30)) == []


def test_a_receiver_that_was_away_is_back_at_the_same_place() -> None:
    with Hook() as hook:
        url = hook.url
        urllib.request.urlopen(url, data=b"{}")
        hook.stop()

        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url, data=b"{}")
        hook.start()
        urllib.request.urlopen(url, data=b"{}")

        assert (hook.url, hook.told) == (url, 2)
