import itertools
from collections.abc import Callable

import pytest

from fraudstream.domain.errors import InvalidSettings, InvalidSource
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.late import refuse_late
from fraudstream.producers.live import live

_NOW_MS = 1_768_478_400_000


def _aged(age_s: int) -> Labelled:
    return Labelled(body=b"{}", transaction_id=f"txn_{age_s}", occurred_at_ms=_NOW_MS - age_s * 1000)


def _ticking() -> Callable[[], int]:
    return itertools.count(_NOW_MS, 250).__next__


def test_the_first_event_older_than_the_horizon_ends_the_source() -> None:
    passed: list[Labelled] = []

    with pytest.raises(InvalidSource, match=r"txn_3601 is 3601 s old.*--allow-late"):
        passed.extend(refuse_late([_aged(3_599), _aged(3_601), _aged(1)], now_ms=_NOW_MS, horizon_s=3_600, allow=False))


@pytest.mark.parametrize(("horizon_s", "allow"), [(0, False), (3_600, True)])
def test_old_events_pass_where_they_are_wanted(horizon_s: int, allow: bool) -> None:
    source = [_aged(100_000), _aged(1)]

    assert list(refuse_late(source, now_ms=_NOW_MS, horizon_s=horizon_s, allow=allow)) == source


def test_an_event_of_unknown_time_is_for_the_fleet_to_judge() -> None:
    broken = Labelled(body=b"{", transaction_id="", occurred_at_ms=0)

    assert list(refuse_late([broken], now_ms=_NOW_MS, horizon_s=3_600, allow=False)) == [broken]


def test_a_live_stream_stamps_each_payment_with_the_time_it_is_drawn() -> None:
    rows = list(itertools.islice(live(5, now_ms=_ticking()), 100))

    times = [parse_transaction(row.body, now_ms=rows[-1].occurred_at_ms, default_currency="USD").occurred_at_ms for row in rows]

    assert times == [row.occurred_at_ms for row in rows]
    assert times == list(range(times[0], times[0] + 100 * 250, 250))


def test_a_live_stream_goes_on_into_the_next_world_with_new_ids() -> None:
    rows = itertools.islice(live(5, now_ms=_ticking()), 20_010)

    assert len({row.transaction_id for row in rows}) == 20_010


def test_a_live_stream_of_one_attack_holds_no_other() -> None:
    rows = itertools.islice(live(5, now_ms=_ticking(), fraud_rate=0.3, scenario="mule"), 20_000)

    frauds = [row.scenario for row in rows if row.fraud]

    assert len(frauds) == 6_000
    assert {*frauds} == {"mule"}


def test_an_attack_that_nobody_wrote_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="phishing"):
        next(live(5, now_ms=_ticking(), scenario="phishing"))
