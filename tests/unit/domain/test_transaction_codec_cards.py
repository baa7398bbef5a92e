"""
Clear card numbers are refused wherever they stand, and ordinary numbers are not taken for them.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.transaction_codec import parse_transaction
from tests.support.builders import NOW_MS
from tests.support.wire import CARD, a_body, read, refusal

FULL_WIDTH = "".join(chr(0xFF10 + int(digit)) for digit in CARD)
ARABIC = "".join(chr(0x0660 + int(digit)) for digit in CARD)
TEXT_FIELDS = (
    *("transaction_id", "user_id", "card_id", "merchant", "merchant_id", "merchant_category", "device_id", "ip", "email"),
    *("country", "channel", "type", "counterparty_id"),
)


@pytest.mark.parametrize("field", TEXT_FIELDS)
@pytest.mark.parametrize("written", [CARD, f"card {CARD}!", "4111 1111 1111 1111", "4111-1111-1111-1111"])
def test_a_card_number_in_any_text_field_is_refused(field: str, written: str) -> None:
    error = refusal(a_body(**{field: written}))

    assert error.reason == "card_number"
    assert CARD not in str(error)
    assert field in error.detail


@pytest.mark.parametrize("field", ["transaction_id", "user_id", "card_id", "merchant", "device_id", "counterparty_id"])
def test_a_card_number_written_as_a_number_is_refused(field: str) -> None:
    assert refusal(a_body(**{field: int(CARD)})).reason == "card_number"


@pytest.mark.parametrize(
    "kept",
    [
        *({"note": CARD}, {"note": {"deep": [1, {"er": CARD}]}}, {CARD: 1}, {"note": {f"pan {CARD}": None}}),
        *({"note": int(CARD)}, {"note": float(CARD)}, {"metadata": {"x": [CARD]}}, {"metadata": {CARD: 1}}),
        *({"note": "378282246310005"}, {"note": "6011 1111 1111 1117"}, {"note": "3056 930902 5904"}),
        {"note": f"99 {CARD} 12"},
    ],
)
def test_a_card_number_inside_what_is_kept_is_refused(kept: dict[str, Any]) -> None:
    assert refusal(a_body(**kept)).reason == "card_number"


@pytest.mark.parametrize(
    "written",
    [
        *(b'"\\u0034111111111111111"', b'"4111\\u002d1111\\u002d1111\\u002d1111"', b'"4111\\u00a01111\\u00a01111\\u00a01111"'),
        *(f'"{FULL_WIDTH}"'.encode(), '"4111\u20131111\u20131111\u20131111"'.encode()),
        *('"4111\u00a01111\u00a01111\u00a01111"'.encode(), f'"{ARABIC}"'.encode()),
        *(b"4.111111111111111e15", b"4111111111111111.0", b'{"\\u0034111111111111111":1}'),
    ],
)
def test_a_card_number_cannot_hide_behind_escapes_scripts_or_exponents(written: bytes) -> None:
    assert refusal(a_body(note=written)).reason == "card_number"


@pytest.mark.parametrize("field", ["amount", "balance_before", "counterparty_balance_after"])
def test_a_card_number_as_money_is_refused_without_its_value(field: str) -> None:
    error = refusal(a_body(**{field: CARD}))

    assert error.reason == "card_number"
    assert CARD not in str(error)


def test_an_id_that_holds_a_card_number_is_not_repeated_in_the_refusal() -> None:
    assert refusal(a_body(transaction_id=f"pay {CARD}")).transaction_id is None
    assert refusal(a_body(transaction_id=f"pay {CARD}", amount="x")).transaction_id is None


@pytest.mark.parametrize("identity", ["9111111111111111", "1234567812345670", "41111111111111110", "4222222222222"])
def test_an_all_digit_transaction_id_needs_15_or_16_digits_and_an_issuer_to_be_a_card(identity: str) -> None:
    assert read(transaction_id=identity).transaction_id == identity


@pytest.mark.parametrize("identity", [CARD, "378282246310005", "5555555555554444", "2223003122003222", "6011111111111117"])
def test_an_all_digit_transaction_id_of_an_issuer_is_refused(identity: str) -> None:
    assert refusal(a_body(transaction_id=identity)).reason == "card_number"


@pytest.mark.parametrize("timestamp", [1_747_000_000_000, 1_747_000_000_004, 1_747_000_000_012])
def test_a_timestamp_is_never_a_card_number(timestamp: int) -> None:
    assert read(timestamp=timestamp).occurred_at_ms == timestamp


@given(
    st.floats(min_value=0, max_value=10**6, allow_nan=False),
    st.floats(min_value=-90, max_value=90),
    st.floats(min_value=-1, max_value=1),
)
def test_the_long_fractions_of_computed_numbers_are_no_card_numbers(amount: float, latitude: float, kept: float) -> None:
    """
    One in ten of them passes Luhn: coordinates from a phone and sums like 0.1 + 0.2 went to the dead letters by the thousand.
    """
    transaction = read(amount=amount, latitude=latitude, drift=kept)

    assert transaction.latitude == latitude


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "1e999999999", "-1e999999999"])
def test_money_that_is_no_number_is_refused_in_words_also_beside_long_digits(value: str) -> None:
    assert refusal(a_body(amount=value, balance_before=value, note="1" * 30)).reason == "schema_invalid"


@pytest.mark.parametrize(
    "digits", ["411111111111", "4111111111111112", "41111111111111111111", "4111_1111_1111_1111", "4111a111111111111"]
)
def test_what_is_no_card_number_passes(digits: str) -> None:
    assert read(user_id=digits, note=digits).user_id == digits


def test_a_window_inside_a_longer_number_says_nothing() -> None:
    assert read(note=f"99{CARD}9999").metadata == {"note": f"99{CARD}9999"}


@given(st.text(max_size=30), st.integers(min_value=0, max_value=len(TEXT_FIELDS) - 1))
def test_whatever_is_accepted_reads_back_the_same(text: str, index: int) -> None:
    body = a_body(**{TEXT_FIELDS[index]: f"x{text}y"}, note={"text": text})

    try:
        transaction = parse_transaction(body, now_ms=NOW_MS, default_currency="USD")
    except InvalidTransaction:
        return
    assert transaction.metadata == {"note": {"text": text.replace("\x00", "\ufffd")}}
