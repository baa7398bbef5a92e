"""
What becomes of a delivery that is no transaction: a letter that can be read, and holds no card number in any form.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.limits import MAX_BODY_BYTES
from fraudstream.domain.masking import has_card_number
from fraudstream.fleet.ports import Letter
from fraudstream.stages.intake import decode_batch, letter_for
from tests.support.builders import NOW_MS, a_delivery
from tests.support.wire import CARD, a_body


def the_letter(body: bytes, **others: bytes) -> Letter:
    fields = {b"data": body, **{name.encode(): value for name, value in others.items()}}
    cases, letters = decode_batch([a_delivery(fields)], now_ms=NOW_MS, default_currency="USD")
    assert cases == []
    return letters[0]


def test_a_letter_keeps_the_bytes_and_the_other_fields_of_its_entry() -> None:
    letter = the_letter(b'{"broken": \xff', trace=b"abc", schema=b"1")

    assert letter.fields == {b"data": b'{"broken": \xff', b"trace": b"abc", b"schema": b"1"}
    assert (letter.reason, letter.error) == ("decode_error", "the body is not UTF-8")


@pytest.mark.parametrize("written", [CARD, "4111 1111 1111 1111", "4111-1111-1111-1111", "4111\u00a01111\u00a01111\u00a01111"])
def test_a_card_number_is_masked_in_its_place(written: str) -> None:
    letter = the_letter(b'{"transaction_id":"txn_1","amount":1,"timestamp":1747000000,"note":"' + written.encode() + b'"}')

    assert letter.reason == "card_number"
    assert letter.fields[b"data"].endswith(b'"note":"[PAN *1111]"}')


@pytest.mark.parametrize(
    "written",
    [
        b'"\\u0034111111111111111"',
        b'"4111\\u002D1111\\u002d1111\\u002d1111"',
        b'"4111\\u00a01111\\u00A01111\\u00a01111"',
        b'"\\\\\\u0034111111111111111"',
    ],
)
def test_a_card_number_behind_escapes_is_masked_too(written: bytes) -> None:
    """
    It was refused, and then stood in the dead letters as the producer had written it: one decode away from clear text.
    """
    letter = the_letter(a_body(note=written))

    assert letter.reason == "card_number"
    assert b"[PAN *1111]" in letter.fields[b"data"]
    assert b"11111111" not in letter.fields[b"data"]


@pytest.mark.parametrize("written", [b"4.111111111111111e15", b"41111111111111.11E2"])
def test_a_body_whose_card_number_cannot_be_masked_is_withheld(written: bytes) -> None:
    letter = the_letter(a_body(note=written, filler="1" * 30))

    assert letter.reason == "card_number"
    assert letter.fields[b"data"] == b"withheld: a card number stands in it in a form that cannot be masked"


def test_card_numbers_are_masked_also_where_another_reason_came_first() -> None:
    letter = the_letter(b'{"transaction_id":"txn_1","note":"\\u0034111111111111111"}', trace=CARD.encode())

    assert letter.reason == "schema_invalid"
    assert b"11111111" not in letter.fields[b"data"]
    assert letter.fields[b"trace"] == b"[PAN *1111]"


def test_a_field_name_and_an_error_are_masked_and_bounded() -> None:
    letter = letter_for(
        a_delivery({CARD.encode(): b"x", b"n" * 500: b"y"}), "max_retries", f"ValueError('{CARD}')" + "x" * 9000
    )

    assert set(letter.fields) == {b"[PAN *1111]", b"n" * 128}
    assert letter.error.startswith("ValueError('[PAN *1111]')")
    assert len(letter.error) == 2000


def test_a_body_that_is_too_large_is_cut_and_says_so() -> None:
    body = a_body(note="x" * MAX_BODY_BYTES)

    letter = the_letter(body)

    assert letter.reason == "too_large"
    assert letter.fields[b"data"] == body[:MAX_BODY_BYTES]
    assert letter.fields[b"truncated"] == b"data: first %d of %d bytes" % (MAX_BODY_BYTES, len(body))


def test_a_cut_never_leaves_most_of_a_card_number() -> None:
    body = b"x" * (MAX_BODY_BYTES - 15) + b" " + CARD.encode()

    assert b"411111" not in the_letter(body).fields[b"data"]


def test_an_entry_without_data_leaves_a_letter() -> None:
    _, (letter,) = decode_batch([a_delivery({b"payload": b"1"})], now_ms=NOW_MS, default_currency="USD")

    assert (letter.reason, letter.fields) == ("schema_invalid", {b"payload": b"1"})


@given(st.binary(max_size=200))
def test_bytes_without_card_numbers_and_escapes_are_kept_as_they_are(body: bytes) -> None:
    letter = letter_for(a_delivery({b"data": body}), "decode_error", "")

    if b"\\u00" not in body and not any(48 <= byte <= 57 for byte in body):
        assert letter.fields[b"data"] == body


@given(st.lists(st.sampled_from([CARD, "\\u0034111111111111111", "\\\\", "\\u0020", "12", '"', "\xff", " "]), max_size=8))
def test_no_letter_holds_the_middle_of_a_card_number(parts: list[str]) -> None:
    letter = letter_for(a_delivery({b"data": "x".join(parts).encode("latin-1")}), "decode_error", "")

    assert b"1111111111" not in letter.fields[b"data"]


#: Milliseconds of 2025 that pass for a card number, as one in ten does.
CARD_LIKE_MS = 1_747_000_000_005


@pytest.mark.parametrize("written", [b"%d" % CARD_LIKE_MS, b'"%d"' % CARD_LIKE_MS, b"%d.25" % CARD_LIKE_MS])
def test_the_time_of_a_payment_stays_in_its_letter(written: bytes) -> None:
    """
    One in ten times in milliseconds became ``[PAN *0005]``: the letter was no JSON any more, and a replay had no time.
    """
    body = b'{"transaction_id":"txn_1", "timestamp" : ' + written + b',"amount":-1}'

    letter = the_letter(body)

    assert has_card_number(str(CARD_LIKE_MS))
    assert letter.fields[b"data"] == body


def test_the_time_stays_in_bytes_that_are_no_json_while_a_card_beside_it_goes() -> None:
    letter = the_letter(b'{"timestamp":%d,"amount":1,"note":"%s",\xff' % (CARD_LIKE_MS, CARD.encode()))

    assert letter.fields[b"data"] == b'{"timestamp":%d,"amount":1,"note":"[PAN *1111]",\xff' % CARD_LIKE_MS


@pytest.mark.parametrize("written", [CARD, f'"{CARD}"', '"4111 1111 1111 1111"', "4222222222222"])
def test_a_card_number_is_no_time(written: str) -> None:
    letter = the_letter(b'{"transaction_id":"txn_1","timestamp":' + written.encode() + b',"amount":1}')

    assert not has_card_number(json.loads(letter.fields[b"data"])["timestamp"])
    assert CARD.encode() not in letter.fields[b"data"]


def test_only_the_time_of_the_payment_itself_stays() -> None:
    """
    What is refused for a number in it must not keep that number: below the top a field named timestamp is like any other.
    """
    letter = the_letter(a_body(metadata={"timestamp": CARD_LIKE_MS}))

    assert letter.reason == "card_number"
    assert json.loads(letter.fields[b"data"])["metadata"] == {"timestamp": "[PAN *0005]"}


@pytest.mark.parametrize("written", [CARD, f"-{CARD}", f"{CARD}.50", f"[{CARD}, 1, {CARD}]", f'{{"{CARD}": {CARD}}}'])
def test_a_letter_whose_body_was_json_is_json(written: str) -> None:
    """
    An unquoted number became ``[PAN *1111]`` without quotes: nobody could read or correct the letter again.
    """
    letter = the_letter(a_body(card_id=written.encode()))

    assert "[PAN *1111]" in json.dumps(json.loads(letter.fields[b"data"])["card_id"])
    assert CARD.encode() not in letter.fields[b"data"]


JSON_VALUES = st.recursive(
    st.sampled_from([CARD, int(CARD), -int(CARD), "\\", '"', "é\x00", CARD_LIKE_MS, str(CARD_LIKE_MS), None, True, 1.5, 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["timestamp", "a", CARD]), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES, st.booleans())
def test_json_stays_json_without_a_card_number_whatever_stands_in_it(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()

    masked = letter_for(a_delivery({b"data": body}), "schema_invalid", "").fields[b"data"]

    assert CARD.encode() not in masked
    if isinstance(value, dict | list):
        assert isinstance(json.loads(masked), type(value))
