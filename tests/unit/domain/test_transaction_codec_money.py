"""
Amounts and balances: exact, half to even, in the exponent of their currency.
"""

import json
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.wire import a_body, read, refusal


@pytest.mark.parametrize(
    ("amount", "minor"),
    [
        (b"12.5", 1250),
        (b"99", 9900),
        (b'"99.50"', 9950),
        (b"0", 0),
        (b"-0", 0),
        (b"0.005", 0),
        (b"0.015", 2),
        (b"1.005", 100),
        (b"2.675", 268),
        (b"0.0050000000000000000000000000000001", 1),
        (b"1e2", 10_000),
        (b"1e-400", 0),
        (b"10000000000", 10**12),
        (b"10000000000.004", 10**12),
    ],
)
def test_an_amount_becomes_minor_units_rounded_half_to_even(amount: bytes, minor: int) -> None:
    assert read(amount=amount).amount_minor == minor


@pytest.mark.parametrize("zeros", [500, 60_000])
@pytest.mark.parametrize("quote", [b"", b'"'])
def test_a_digit_far_behind_the_point_still_decides_the_rounding(zeros: int, quote: bytes) -> None:
    amount = quote + b"0.005" + b"0" * zeros + b"1" + quote

    assert read(amount=amount).amount_minor == 1


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [
        ("JPY", "1500", 1500),
        ("JPY", "0.5", 0),
        ("JPY", "1.5", 2),
        ("KWD", "1.2345", 1234),
        ("KWD", "1.2355", 1236),
        ("CLF", "1", 10_000),
    ],
)
def test_the_exponent_of_the_currency_counts(currency: str, amount: str, minor: int) -> None:
    assert read(amount=amount, currency=currency).amount_minor == minor


def test_a_currency_may_be_written_small_and_defaults_where_it_is_missing_or_empty() -> None:
    assert read(currency="eur").currency == "EUR"
    assert [read().currency, read(currency="").currency, read(currency=None).currency] == ["USD"] * 3


@pytest.mark.parametrize("currency", ["XXX", "US", "DOLLAR", "€", "USD "])
def test_an_unknown_currency_is_refused(currency: str) -> None:
    error = refusal(a_body(currency=currency))

    assert (error.reason, error.transaction_id) == ("schema_invalid", "txn_1")
    assert "currency" in error.detail


@pytest.mark.parametrize(
    "amount",
    [
        *(b"-1", b"-0.01", b"10000000000.01", b"1e300", b"1e400", b"1e999999999999999999999", b"1" * 5000),
        *(b'"NaN"', b'"sNaN"', b'"Infinity"', b'"-Infinity"', b'"1e999999999999999999999"', b'"twelve"', b'""'),
        *(b"true", b"null", b"[]", b"{}"),
    ],
)
def test_an_amount_that_is_none_or_absurd_is_refused(amount: bytes) -> None:
    assert refusal(a_body(amount=amount)).reason == "schema_invalid"


@pytest.mark.parametrize("amount", [b"NaN", b"Infinity", b"-Infinity"])
def test_the_numbers_that_json_does_not_have_are_refused(amount: bytes) -> None:
    assert refusal(a_body(amount=amount)).reason == "decode_error"


def test_balances_may_be_negative_and_are_bounded_on_both_sides() -> None:
    transaction = read(balance_before="-12.345", balance_after=0, counterparty_balance_after="10000000000")

    assert transaction.balance_before_minor == -1234
    assert transaction.balance_after_minor == 0
    assert transaction.counterparty_balance_after_minor == 10**12
    assert transaction.counterparty_balance_before_minor is None
    assert refusal(a_body(balance_before="-10000000000.01")).reason == "schema_invalid"


def test_a_refusal_of_money_never_repeats_the_amount() -> None:
    assert "13579" not in refusal(a_body(amount=-13579.24)).detail


@given(st.decimals(min_value=0, max_value=10**9, allow_nan=False, allow_infinity=False, places=None))
def test_any_decimal_is_rounded_once_and_exactly(amount: Decimal) -> None:
    with localcontext() as context:
        context.prec = 5000
        expected = int((amount * 100).quantize(Decimal(1), ROUND_HALF_EVEN))

    assert read(amount=str(amount)).amount_minor == expected


@given(st.integers(min_value=0, max_value=10**12), st.sampled_from([("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)]))
def test_minor_units_survive_the_way_out_and_back(minor: int, currency: tuple[str, int]) -> None:
    code, exponent = currency
    major = Decimal(minor).scaleb(-exponent)

    assert read(amount=str(major), currency=code).amount_minor == minor
    assert read(amount=json.dumps(float(major)).encode(), currency=code).amount_minor == minor
