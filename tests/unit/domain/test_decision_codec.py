"""
Decisions and labels as bytes and back.
"""

import msgspec
import pytest

from fraudstream.domain.decision_codec import decode_decision, decode_label, encode_decision
from fraudstream.domain.errors import InvalidLabel
from tests.support.builders import a_decision, a_label
from tests.support.wire import read


def test_what_is_kept_can_be_written_and_read_again() -> None:
    transaction = read(basket={"big": 2**63, "bigger": 10**29, "small": 5e-324, "deep": [[[{}]]], "nul": "a\x00b"})

    decision = a_decision(transaction, vector=b"")

    assert decode_decision(encode_decision(decision)) == decision


def test_a_label_round_trip() -> None:
    label = a_label()

    assert decode_label({b"data": msgspec.json.encode(label)}) == label


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "schema_invalid"),
        ({b"data": b"{}"}, "schema_invalid"),
        ({b"data": b"\xff"}, "decode_error"),
        ({b"data": b'{"source":' + b"[" * 60_000}, "schema_invalid"),
        ({b"data": msgspec.json.encode(a_label(label_id=""))}, "schema_invalid"),
        ({b"data": msgspec.json.encode(a_label()).replace(b'Z"', b'"')}, "schema_invalid"),
        ({b"data": msgspec.json.encode(a_label()).replace(b'"fraud"', b'"maybe"')}, "schema_invalid"),
    ],
)
def test_what_is_no_label_is_refused(fields: dict[bytes, bytes], reason: str) -> None:
    with pytest.raises(InvalidLabel) as refused:
        decode_label(fields)

    assert refused.value.reason == reason
