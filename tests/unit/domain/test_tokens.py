"""
Tokens: always the same for one person, nobody's without the key, and everything else untouched.
"""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.errors import InvalidSettings
from fraudstream.domain.masking import has_card_number
from fraudstream.domain.tokens import TOKEN, Tokens
from fraudstream.domain.transaction import Transaction
from fraudstream.telemetry.redact import redact_value, scrub
from tests.support.builders import a_transaction

TOKENS, OTHER = Tokens(b"0123456789abcdef"), Tokens(b"fedcba9876543210")
EMAIL, PHONE, CARD = "Jane.Doe+x@Example.com", "+33 6 12 34 56 78", "4111 1111 1111 1111"
names = st.from_regex(r"[a-z0-9._%+-]{1,20}", fullmatch=True).map(lambda name: f"{name}@example.org")


def test_one_person_is_one_token_however_it_is_written() -> None:
    assert TOKENS.email(EMAIL) == TOKENS.email(f" {EMAIL} ")
    assert TOKENS.email("jane.doe@a.org") == TOKENS.email("JANE.DOE@a.org")
    assert TOKENS.phone(PHONE) == TOKENS.phone("+33612345678") == TOKENS.phone("+33 (6) 12-34-56-78")
    assert TOKENS.card(CARD) == TOKENS.card("4111-1111-1111-1111") == TOKENS.card("4111111111111111")


def test_another_key_gives_other_tokens() -> None:
    pairs = [
        (TOKENS.email(EMAIL), OTHER.email(EMAIL)),
        (TOKENS.phone(PHONE), OTHER.phone(PHONE)),
        (TOKENS.card(CARD), OTHER.card(CARD)),
    ]

    assert all(one != other for one, other in pairs)
    assert all(TOKEN.fullmatch(one) for pair in pairs for one in pair)


def test_the_domain_stays_because_rules_look_at_it() -> None:
    assert TOKENS.email(EMAIL).endswith("@Example.com")


@pytest.mark.parametrize("key", [b"", b"short"])
def test_a_short_key_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidSettings, match="at least 16"):
        Tokens(key)


@given(st.lists(st.sampled_from([EMAIL, PHONE, "and", "1.5", "x@y", "+1", "@", "+"]) | names, max_size=6).map(" ".join))
def test_a_second_time_changes_nothing_and_nobody_can_be_read(text: str) -> None:
    once = TOKENS.text(text)

    assert TOKENS.text(once) == once
    assert "Jane.Doe" not in once
    assert "12 34 56" not in once
    assert scrub(once) == once, "what is a token is no address"
    assert not has_card_number(once)


@given(
    st.sampled_from(["user_id", "card_id", "merchant", "device_id", "email", "channel", "counterparty_id", "transaction_id"])
)
def test_every_text_of_a_transaction_is_looked_through(name: str) -> None:
    paid = a_transaction(**{name: f"x {EMAIL} {PHONE}", "metadata": {EMAIL: [{"deep": PHONE}], "n": 1.5, "none": None}})

    hidden = TOKENS.transaction(paid)

    assert "Jane.Doe" not in str(hidden)
    assert "12 34 56" not in str(hidden)
    assert hidden.metadata is not None
    assert (hidden.metadata["n"], hidden.metadata["none"]) == (1.5, None)
    others = [each for each in Transaction.__struct_fields__ if each not in (name, "metadata", "email")]
    assert [getattr(hidden, each) for each in others] == [getattr(paid, each) for each in others]


def test_a_transaction_without_people_is_not_copied() -> None:
    paid = a_transaction(email=None)

    assert TOKENS.transaction(paid) is paid
    assert msgspec.json.encode(TOKENS.transaction(a_transaction())).count(b"email_") == 1


def test_the_redactor_shows_tokens_and_hides_addresses() -> None:
    token = TOKENS.email(EMAIL)

    assert redact_value("email", token) == token
    assert redact_value("email", EMAIL) == "J***"
    assert scrub(f"{token} and {EMAIL}") == f"{token} and J***@Example.com"
