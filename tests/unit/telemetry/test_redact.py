import string
from decimal import Decimal
from types import SimpleNamespace

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudstream.domain.masking import luhn
from fraudstream.domain.transaction import Transaction
from fraudstream.telemetry.redact import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, redact, redact_value, scrub

CARD = "4111111111111111"


def _with_check_digit(body: str) -> str:
    return next(body + digit for digit in string.digits if luhn(body + digit))


cards = st.from_regex(r"[1-9][0-9]{11,17}", fullmatch=True).map(_with_check_digit)
beside = st.sampled_from(["", "123 ", "09-", "x", "order 12 ", "2026-05 ", "+", "=", "card: "])
behind = st.sampled_from(["", " 123", "-1", " 12/27", "\u20ac", ".", "@example.com", "%"])


class Card:
    def __init__(self, number: str) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Card({self.number})"


def _grouped(card: str, separator: str) -> str:
    return separator.join(card[start : start + 4] for start in range(0, len(card), 4))


def _places(card: str, before: str, after: str) -> dict[str, object]:
    text = f"{before}{card}{after}"
    return {
        "text": text,
        "blanks": f"{before}{_grouped(card, ' ')}{after}",
        "dashes": f"{before}{_grouped(card, '-')}{after}",
        "whole": int(card),
        "negative": -int(card),
        "decimal": Decimal(card),
        "thing": Card(card),
        "error": ValueError(text),
        "listed": [1, [text, int(card)], {card}],
        "tupled": ("a", (card,)),
        "inside": {"note": {card: text, int(card): 1}},
        f"key {card}": 1,
        "raw": card.encode(),
        "deep": [[[[[[[text]]]]]]],
        "namespace": SimpleNamespace(number=card, text=text),
        "bytes_in_repr": Card(repr(card.encode())),
    }


@settings(max_examples=400, deadline=None)
@given(card=cards, before=beside, after=behind)
def test_no_card_number_comes_out_of_any_place(card: str, before: str, after: str) -> None:
    event = _places(card, before, after)

    line = orjson.dumps(redact(None, "info", event)).decode()

    for form in (card, _grouped(card, " "), _grouped(card, "-")):
        assert form not in line


@settings(max_examples=200, deadline=None)
@given(card=cards.filter(lambda card: len(card) >= 16), digits=st.from_regex(r"[0-9]{3,4}", fullmatch=True))
def test_a_code_beside_a_card_never_becomes_its_last_four(card: str, digits: str) -> None:
    text = f"{card} {digits}"

    shown = scrub(text)

    assert shown in (f"[PAN *{card[-4:]}] {digits}", "[PAN]")


@pytest.mark.parametrize("number", [4111111111111111.0, -4111111111111111.0])
def test_a_card_number_sent_as_a_float_is_masked(number: float) -> None:
    shown = redact_value("amount", number)

    assert CARD not in str(shown)


def test_a_card_number_under_a_safe_name_is_still_masked() -> None:
    event = {"entry_id": CARD, "count": int(CARD), "transaction_id": CARD, "timestamp": f"at {CARD}"}

    shown = redact(None, "info", event)

    assert CARD not in str(shown)


def test_times_and_entry_ids_are_left_alone_although_they_pass_luhn() -> None:
    time_ms = next(ms for ms in range(1747000000000, 1747000000010) if luhn(str(ms)))
    event = {"entry_id": f"{time_ms}-0", "now_ms": time_ms, "timestamp": "2026-01-01T00:00:00.123456Z"}

    shown = redact(None, "info", dict(event))

    assert shown == event


def test_a_numeric_transaction_id_without_an_issuer_prefix_stays_readable() -> None:
    numeric_id = _with_check_digit("900000000000000")

    shown = redact_value("transaction_id", numeric_id)

    assert shown == numeric_id


@pytest.mark.parametrize("name", ["cvv", "CVV2", "pin", "track2", "Authorization", "db_password", "X-Api-Key", "client_secret"])
def test_what_must_never_be_kept_is_dropped_by_name(name: str) -> None:
    shown = redact_value(name, "123")

    assert shown == "[REDACTED]"


@pytest.mark.parametrize("name", ["email", "phone", "cardholder_name", "client_ip", "customer_name"])
def test_personal_fields_keep_one_character(name: str) -> None:
    shown = redact_value(name, "jane")

    assert shown == "j***"


def test_card_tokens_and_function_names_stay_readable() -> None:
    event = {"card_token": "tok_8f3a", "name": "decode_transaction", "rule_id": "R014"}

    shown = redact(None, "info", dict(event))

    assert shown == event


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("write to jane.doe@example.com", "write to j***@example.com"),
        ("call +33 6 12 34 56 78", "call +33***78"),
        ("redis://user:p@ss@db:6379/0 refused", "redis://user:[REDACTED]@db:6379/0 refused"),
        ("error: password=hunter2, host=db", "error: password=[REDACTED], host=db"),
        ("{'cvv': '12 3', 'amount': 5}", "{'cvv': '[REDACTED]', 'amount': 5}"),
        ('{"cardholder_name": "Jane Doe"}', '{"cardholder_name": "J***"}'),
        ("T(email=None, ip='10.0.0.1')", "T(email=None, ip='1***')"),
        ("Authorization: Bearer abc.def", "Authorization: [REDACTED]"),
        ("token xoxb-12-34-abc", "token [REDACTED]"),
        ("https://hooks.slack.com/services/T/B/X", "https://hooks.slack.com/[REDACTED]"),
        ("address already in use: 127.0.0.1", "address already in use: 127.0.0.1"),
        ("\u0664\u0661\u0661\u0661" * 1 + "111111111111", "[PAN *1111]"),
    ],
)
def test_texts_lose_what_is_personal_and_nothing_else(text: str, shown: str) -> None:
    assert scrub(text) == shown


def test_the_repr_of_a_transaction_shows_neither_address_nor_code() -> None:
    transaction = Transaction(
        transaction_id="t1",
        amount_minor=1,
        currency="EUR",
        occurred_at_ms=1,
        email="jane@example.com",
        ip="10.1.2.3",
        metadata={"cvv": "987", "cardholder_name": "Jane Doe", "note": "+33612345678"},
    )

    shown = str(redact_value("transaction", transaction))

    for secret in ("jane@", "10.1.2.3", "987", "Jane", "33612345678"):
        assert secret not in shown


def test_a_text_is_scrubbed_before_it_is_cut() -> None:
    text = "x" * (MAX_TEXT - 12) + " " + CARD

    shown = redact_value("note", text)

    assert "4111" not in str(shown)
    assert len(str(shown)) <= MAX_TEXT + 1


def test_everything_that_comes_out_is_json() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    event = {
        "surrogate": "\ud800",
        "huge": 1 << 5000,
        "wide": 2**70,
        "nan": float("nan"),
        "broken": Broken(),
        "bytes": b"\x00\x01",
        "struct": msgspec.defstruct("S", ["a"])(a=1),
        "keys": {1: 2, None: 3, (1, 2): 4},
        "deep": [[[[[[[1]]]]]]],
        "many": list(range(MAX_ITEMS + 50)),
    }

    shown = orjson.loads(orjson.dumps(redact(None, "info", event)))

    assert shown["broken"] == "<Broken, not printable: RuntimeError>"
    assert shown["bytes"] == "<2 bytes>"
    assert shown["many"][-1] == "… 50 more"
    assert str(shown["deep"]).count("[") == MAX_DEPTH + 1
    assert shown["wide"] == str(2**70)


def test_redacting_does_not_change_what_was_logged() -> None:
    inner = {"email": "jane@example.com"}
    event = {"inner": inner}

    redact(None, "info", event)

    assert inner == {"email": "jane@example.com"}
    assert event == {"inner": inner}


def test_a_name_before_a_card_number_in_groups_leaves_none_of_its_digits() -> None:
    assert "1111 1111" not in scrub("email: 4111 1111 1111 1111")
    assert "1111 1111" not in scrub("pan=[4111 1111 1111 1111]")
