"""
Everything of the wire format that is neither money, time nor a card number.
"""

import msgspec
import pytest

from fraudstream.domain.limits import MAX_BODY_BYTES, MAX_METADATA_DEPTH
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import decode_transaction, parse_transaction
from tests.support.builders import NOW_MS
from tests.support.wire import a_body, read, refusal


def test_the_example_of_the_design_is_a_transaction() -> None:
    body = b'{"transaction_id":"txn_1","user_id":"user_9","amount":99.5,"merchant":"Example Shop","timestamp":1747000000}'

    transaction = parse_transaction(body, now_ms=NOW_MS, default_currency="USD")

    assert transaction == Transaction(
        transaction_id="txn_1",
        user_id="user_9",
        amount_minor=9950,
        currency="USD",
        merchant="Example Shop",
        occurred_at_ms=1_747_000_000_000,
    )


def test_every_field_finds_its_place() -> None:
    words = {name: f"{name} ä" for name in ("user_id", "card_id", "merchant", "merchant_category", "device_id", "ip", "email")}
    words |= {name: f"{name} é" for name in ("country", "channel", "type", "counterparty_id")}

    transaction = read(**words, latitude=-90, longitude=180)

    assert {name: getattr(transaction, name) for name in words} == words
    assert (transaction.latitude, transaction.longitude) == (-90.0, 180.0)
    assert transaction.metadata is None


def test_identifiers_may_be_numbers_however_long() -> None:
    transaction = read(transaction_id=7, user_id=10**29, card_id=-3, merchant=1)

    assert (transaction.transaction_id, transaction.user_id) == ("7", "1" + "0" * 29)
    assert (transaction.card_id, transaction.merchant) == ("-3", "1")


def test_merchant_id_is_another_name_of_merchant() -> None:
    assert read(merchant_id="m_1").merchant == "m_1"
    assert read(merchant="Shop", merchant_id="m_1").merchant == "Shop"


@pytest.mark.parametrize("absent", [None, ""])
def test_an_absent_merchant_does_not_hide_the_merchant_id(absent: str | None) -> None:
    assert read(merchant=absent, merchant_id="m_1").merchant == "m_1"


@pytest.mark.parametrize("absent", [None, ""])
def test_null_and_empty_are_absent(absent: str | None) -> None:
    assert read(user_id=absent, card_id=absent, ip=absent, metadata=None) == read()


def test_unknown_fields_are_kept_under_metadata_beside_what_stands_there() -> None:
    transaction = read(metadata={"a": 1, "b": [True, None]}, basket={"items": 3}, ärmel="x")

    assert transaction.metadata == {"a": 1, "b": [True, None], "basket": {"items": 3}, "ärmel": "x"}


@pytest.mark.parametrize(
    "levels", [*range(MAX_METADATA_DEPTH - 1, MAX_METADATA_DEPTH + 2), 500, *range(960, 1010), 5000, 30_000]
)
@pytest.mark.parametrize("field", ["metadata", "basket"])
def test_nesting_is_refused_before_it_exhausts_the_stack_of_whoever_reads_it_later(levels: int, field: str) -> None:
    inner = b"[" * (levels - 1) + b'"\\u0041"' + b"]" * (levels - 1)
    body = a_body(**{field: b'{"x":' + inner + b"}" if field == "metadata" else inner})

    if levels <= MAX_METADATA_DEPTH:
        assert parse_transaction(body, now_ms=NOW_MS, default_currency="USD").metadata
    else:
        assert refusal(body).reason in {"schema_invalid", "decode_error"}


@pytest.mark.parametrize(
    "identity", [b'"x"', b'"' + b"x" * 128 + b'"', b'"' + "ä".encode() * 64 + b'"', b'"a b"', b'"\\ud83d\\ude00"']
)
def test_a_transaction_id_has_1_to_128_bytes(identity: bytes) -> None:
    assert read(transaction_id=identity).transaction_id == msgspec.json.decode(identity, type=str, strict=False)


@pytest.mark.parametrize(
    "identity",
    [b'""', b'"' + b"x" * 129 + b'"', b'"' + "ä".encode() * 65 + b'"', b"1.5", b"true", b"null", b"[]", b"9" * 129],
)
def test_any_other_transaction_id_is_refused(identity: bytes) -> None:
    assert refusal(a_body(transaction_id=identity)).reason == "schema_invalid"


@pytest.mark.parametrize("character", ["\\u0000", "\\u0001", "\\n", "\\t", "\\u007f", "\\u0085"])
def test_a_control_character_in_a_transaction_id_is_refused(character: str) -> None:
    error = refusal(a_body(transaction_id=f'"a{character}b"'.encode()))

    assert error.reason == "schema_invalid"
    assert "control character" in error.detail


def test_nul_elsewhere_is_replaced_because_no_text_column_can_hold_it() -> None:
    transaction = read(merchant=b'"a\\u0000b"', basket=b'{"k\\u0000":["\\u0000"]}', metadata=b'{"m":"\\u0000"}')

    assert transaction.merchant == "a\ufffdb"
    assert transaction.metadata == {"basket": {"k\ufffd": ["\ufffd"]}, "m": "\ufffd"}


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"nul", b'{"transaction_id":', a_body()[:-1], a_body() + b"}", b"\x00" + a_body()),
        *(b"\xff\xfe", a_body(user_id=b'"\xff"'), a_body(user_id=b'"\xed\xa0\x80"'), a_body(x=b'"\xc3"')),
        *(a_body(user_id=b'"\\ud800"'), a_body(x=b'"\\ud800"'), a_body(x=b'{"\\udc00":1}')),
        *(a_body(user_id=b'"a\x01"'), a_body(user_id=b'"\\x41"'), a_body(x=b"01"), b"[" * 60_000),
    ],
)
def test_what_is_no_json_in_utf8_is_a_decode_error(body: bytes) -> None:
    assert refusal(body).reason == "decode_error"


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"null", b"{}", b'{"transaction_id":"a"}', a_body(metadata=b"[]")])
def test_json_that_is_no_transaction_is_schema_invalid(body: bytes) -> None:
    assert refusal(body).reason == "schema_invalid"


@pytest.mark.parametrize(
    "field",
    [
        {"user_id": b"1.5"},
        {"ip": b"1"},
        {"latitude": b'"1"'},
        {"latitude": b"90.01"},
        {"longitude": b"-181"},
        {"merchant": "x" * 1025},
    ],
)
def test_a_field_of_the_wrong_kind_or_size_is_refused_with_its_name(field: dict[str, object]) -> None:
    error = refusal(a_body(**field))

    assert (error.reason, error.transaction_id) == ("schema_invalid", "txn_1")
    assert next(iter(field)) in error.detail


def test_64_kib_are_taken_and_not_a_byte_more() -> None:
    padding = MAX_BODY_BYTES - len(a_body(note=""))

    assert read(note="x" * padding).metadata == {"note": "x" * padding}
    assert refusal(a_body(note="x" * (padding + 1))).reason == "too_large"


def test_an_entry_without_data_says_what_it_lacks() -> None:
    with pytest.raises(Exception, match="schema_invalid: the entry has no field 'data'"):
        decode_transaction({b"payload": b"{}"}, now_ms=NOW_MS, default_currency="USD")


def test_other_fields_of_the_entry_are_allowed() -> None:
    fields = {b"data": a_body(), b"schema": b"1", b"trace": b"\xff"}

    assert decode_transaction(fields, now_ms=NOW_MS, default_currency="USD") == read()
