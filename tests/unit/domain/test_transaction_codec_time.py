"""
The payment's own time, in the three forms that producers send.
"""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.limits import MAX_AHEAD_MS
from fraudstream.domain.moments import moment, shared_moment
from tests.support.builders import NOW_MS
from tests.support.wire import a_body, read, refusal

AT_MS = 1_747_000_000_000


@pytest.mark.parametrize(
    "timestamp",
    [
        b"1747000000",
        b"1747000000.0",
        b"1.747e9",
        b"1747000000000",
        b"1747000000000.4",
        b'"2025-05-11T21:46:40Z"',
        b'"2025-05-11T21:46:40.000+00:00"',
        b'"2025-05-11T23:46:40+02:00"',
        b'"2025-05-11T16:16:40-05:30"',
        b'"2025-05-11t21:46:40z"',
    ],
)
def test_one_moment_in_every_form(timestamp: bytes) -> None:
    assert read(timestamp=timestamp).occurred_at_ms == AT_MS


def test_parts_of_a_second_are_kept() -> None:
    assert read(timestamp=1_747_000_000.123).occurred_at_ms == AT_MS + 123
    assert read(timestamp="2025-05-11T21:46:40.123456Z").occurred_at_ms == AT_MS + 123


def test_numbers_are_milliseconds_from_ten_to_the_eleventh_on() -> None:
    assert read(timestamp=100_000_000_000).occurred_at_ms == 100_000_000_000
    assert refusal(a_body(timestamp=99_999_999_999)).reason == "schema_invalid"


def test_the_first_and_the_last_second_that_records_can_hold() -> None:
    assert read(timestamp=0).occurred_at_ms == 0
    assert refusal(a_body(timestamp=-1)).reason == "schema_invalid"
    assert "2106" in refusal(a_body(timestamp=2**32)).detail
    assert "2106" in refusal(a_body(timestamp=2**32 * 1000)).detail


def test_a_clock_may_be_300_seconds_ahead_and_no_more() -> None:
    assert read(timestamp=NOW_MS + MAX_AHEAD_MS).occurred_at_ms == NOW_MS + MAX_AHEAD_MS
    assert "future" in refusal(a_body(timestamp=NOW_MS + MAX_AHEAD_MS + 1)).detail
    assert "future" in refusal(a_body(timestamp="2030-01-01T00:00:00Z")).detail


@pytest.mark.parametrize(
    "timestamp",
    [
        *(b'"2025-05-11T21:46:40"', b'"2025-05-11"', b'"1747000000"', b'"yesterday"', b'""', b'"2016-12-31T23:59:60Z"'),
        *(b'"9999-12-31T23:59:59-23:59"', b'"0001-01-01T00:00:00+23:59"', b"1e300", b"-1e300", b"1" * 30),
        *(b"true", b"null", b"[]", b"{}"),
    ],
)
def test_a_time_that_is_none_is_refused(timestamp: bytes) -> None:
    error = refusal(a_body(timestamp=timestamp))

    assert error.reason == "schema_invalid"
    assert "timestamp" in error.detail


def test_a_time_without_offset_is_told_what_it_lacks() -> None:
    assert "offset" in refusal(a_body(timestamp="2025-05-11T21:46:40")).detail


@given(st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2026, 1, 1), timezones=st.just(UTC)))
def test_a_moment_is_the_same_as_text_and_as_a_number(at: datetime) -> None:
    milliseconds = int(at.timestamp()) * 1000

    assert read(timestamp=at.replace(microsecond=0).isoformat()).occurred_at_ms == milliseconds
    assert moment(milliseconds) == at.replace(microsecond=0)


@given(st.integers(0, 2**32 * 1000 - 1))
def test_a_moment_is_exact_to_the_millisecond(at_ms: int) -> None:
    assert moment(at_ms) == shared_moment(at_ms) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
