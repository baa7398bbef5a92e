"""
The quick way through the decoder says exactly what the long one says.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain import transaction_codec
from fraudstream.domain.errors import InvalidTransaction
from fraudstream.domain.limits import MAX_ID_BYTES, MAX_TEXT_BYTES
from fraudstream.domain.transaction_codec import parse_transaction

NOW_MS = 1_769_990_400_000
_texts = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(["", "ä" * 300, "a" * 257, "a" * 1024, "a" * 1025, "4111 1111 1111 1111", "nul\x00", "ok", "\u202e"]),
    st.integers(-5, 10**6),
    st.booleans(),
)
_bodies = st.fixed_dictionaries(
    {
        "transaction_id": st.one_of(_texts, st.just("t" * (MAX_ID_BYTES + 1)), st.just("tx_1")),
        "amount": st.sampled_from(["12.50", 12.5, "1e3", "-1", "NaN", 10**13, None, "0.005", "0.015"]),
        "timestamp": st.sampled_from(
            ["2026-01-19T00:20:28.927Z", "2026-01-19T00:20:28", 1_769_000_000, 1.5e12, -1, NOW_MS + 400_000, "soon", None]
        ),
    },
    optional={
        **dict.fromkeys(("user_id", "card_id", "merchant", "merchant_id", "ip", "email", "country", "channel", "type"), _texts),
        "currency": st.sampled_from(["USD", "usd", "JPY", "XXX", "", None]),
        "latitude": st.sampled_from([0.0, 90, -90.01, None, "1"]),
        "longitude": st.sampled_from([0.0, 180, -180.01, None]),
        "metadata": st.sampled_from([None, {}, {"a": 1}]),
        "balance_before": st.sampled_from(["1.5", None]),
        "unknown": st.integers(0, 3),
    },
)


def read(body: bytes) -> object:
    try:
        return parse_transaction(body, now_ms=NOW_MS, default_currency="EUR")
    except InvalidTransaction as exc:
        return exc.reason, exc.detail, exc.transaction_id


@given(_bodies)
def test_a_body_that_is_taken_over_reads_as_it_would_when_looked_through(fields: dict[str, object]) -> None:
    body = msgspec.json.encode(fields)
    quick = read(body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction_codec, "_read_plain", lambda _: None)
        thorough = read(body)

    assert quick == thorough


def test_what_our_producers_send_is_taken_over() -> None:
    body = b'{"transaction_id":"tx","amount":"6.99","timestamp":"2026-01-19T00:20:28.927Z","user_id":"u","latitude":19.6}'

    assert transaction_codec._read_plain(body) is not None


def test_a_plain_text_is_never_longer_than_what_is_refused() -> None:
    longest = "a" * (MAX_TEXT_BYTES // 4)

    assert len("\U0001f600".encode()) * len(longest) <= MAX_TEXT_BYTES
