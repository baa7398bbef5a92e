"""
Event time in benchmarks goes on from one stretch of payments to the next.
"""

from itertools import islice

import msgspec

from fraudstream.app.bench_calendar import Calendar
from fraudstream.app.bench_reload import endless
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.producers.synthetic import generate


def test_each_stretch_takes_place_after_the_one_before_it() -> None:
    """
    All of them lay in the same two weeks: histories out of order, which nobody's are, and the more of them the longer it took.
    """
    calendar = Calendar()

    first, second = ([one.occurred_at_ms for one in generate(calendar.world(count))] for count in (300, 200))

    assert max(first) < min(second)
    assert first == sorted(first)


def test_payments_without_end_have_ids_of_their_own_and_come_in_the_order_of_time() -> None:
    bodies = [*islice(endless(), 19_900, 20_100)]

    payments = [parse_transaction(body, now_ms=4_000_000_000_000, default_currency="USD") for body in bodies]

    times = [one.occurred_at_ms for one in payments]
    assert times == sorted(times)
    assert len({one.transaction_id for one in payments}) == 200
    assert {one.transaction_id.partition("_")[0] for one in payments} == {"0", "1"}, "of two rounds"
    assert {one.user_id for one in payments[:100]} & {one.user_id for one in payments[100:]}, "the same people"
    assert all(isinstance(msgspec.json.decode(body)["timestamp"], float) for body in bodies)
