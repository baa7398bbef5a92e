import pytest

from fraudstream.producers.cards import holds_card_number, may_hold_card_numbers
from fraudstream.producers.tokens import card_token, token

_WHOLE = '{"transaction_id":"txn_1","amount":1,"timestamp":1747000000,%s}'


@pytest.mark.parametrize(
    "rest",
    [
        '"card_id":"4111111111111111"',
        '"card_id":4111111111111111',
        '"card_id":"4111-1111-1111-1111"',
        '"note":"card 4111 1111 1111 1111 please"',
        '"metadata":{"deep":["378282246310005"]}',
        '"card_id":"\\u0034111111111111111"',
    ],
)
def test_a_card_number_is_found_wherever_it_stands(rest: str) -> None:
    assert holds_card_number((_WHOLE % rest).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"transaction_id":"txn_1","amount":1,"timestamp":1747000000008,"card_id":"card_1"}',  # milliseconds that pass Luhn
        b'{"transaction_id":"1747000000008","amount":1,"timestamp":1747000000}',
        (_WHOLE % '"card_id":"4111111111111112"').encode(),
        (_WHOLE % '"merchant":"Caf\u00e9"').encode(),
        b"not json at all",
        b"",
        b"\xff\xfe",
    ],
)
def test_what_is_no_card_number_is_let_through(body: bytes) -> None:
    assert not holds_card_number(body)


def test_a_card_number_is_found_in_what_is_no_transaction() -> None:
    assert holds_card_number(b"4111111111111111;12.50;Example Shop")


def test_a_card_token_depends_on_key_and_digits_alone() -> None:
    tokens = [
        card_token(b"key", "4111111111111111"),
        card_token(b"key", "4111 1111-1111 1111"),
        card_token(b"other", "4111111111111111"),
        card_token(b"key", "4111111111111112"),
    ]

    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 3


def test_no_token_holds_a_digit_run_as_long_as_a_card() -> None:
    tokens = [card_token(b"key", str(number)) for number in range(500)]

    assert not any(holds_card_number(word.encode()) or any(map(str.isdigit, word)) for word in tokens)
    assert max(len(token("card", number, b"world")) for number in range(500)) < 13


def test_digits_of_two_bodies_are_no_card_number() -> None:
    assert not may_hold_card_numbers([b'{"a":411111', b"1111111111}"])


@pytest.mark.parametrize("body", [b'{"a":"4111 1111 1111 1111"}', b'{"a":"\\u0034"}', '{"a":"٤"}'.encode()])
def test_one_body_that_must_be_looked_through_is_seen_among_others(body: bytes) -> None:
    assert may_hold_card_numbers([b'{"a":1}', body, b'{"a":2}'])
    assert not may_hold_card_numbers([b'{"a":1}', b'{"a":2}'])
