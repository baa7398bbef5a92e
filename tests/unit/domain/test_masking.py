"""
Masking: no card number survives, nothing else is touched.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.domain.masking import HIDDEN, has_card_number, is_card_number_id, luhn, mask_cards, without_sensitive
from tests.support.wire import CARD

_prefixes = st.sampled_from(["4", "51", "37", "6011", "22", "62"])


def with_check_digit(digits: str) -> str:
    return next(digits + check for check in "0123456789" if luhn(digits + check))


_cards = st.builds(
    lambda prefix, rest: with_check_digit((prefix + rest)[:15]), _prefixes, st.text("0123456789", min_size=15, max_size=15)
)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (CARD, "[PAN *1111]"),
        (f"pay {CARD} now", "pay [PAN *1111] now"),
        ("4111 1111 1111 1111", "[PAN *1111]"),
        ("4111-1111-1111-1111, 4111111111111111", "[PAN *1111], [PAN *1111]"),
        (f'{{"card":"{CARD}"}}', '{"card":"[PAN *1111]"}'),
        ("4111\u00a01111\u00a01111\u00a01111", "[PAN *1111]"),
        ("", ""),
        ("1234567890123", "1234567890123"),
        ("order 12345", "order 12345"),
    ],
)
def test_a_card_number_keeps_its_last_four_digits(text: str, masked: str) -> None:
    assert mask_cards(text) == masked


def test_beside_other_digits_nobody_says_which_four_are_the_last() -> None:
    masked = mask_cards("4111 1111 1111 1111 123 4111 1111 1111 1111")

    assert not has_card_number(masked)
    assert "1111 1111" not in masked


@given(st.text(alphabet="0123456789 -x", max_size=60))
def test_nothing_that_is_masked_still_holds_a_card_number(text: str) -> None:
    assert not has_card_number(mask_cards(text))


@given(st.text(max_size=60))
def test_text_without_a_card_number_is_left_as_it_is(text: str) -> None:
    if not has_card_number(text):
        assert mask_cards(text) == text


@given(_cards, st.sampled_from(["", " ", "-", "\u00a0", "\u2013"]), st.sampled_from(["", "x", " paid", ","]))
def test_every_card_number_is_found_in_groups_of_four(card: str, separator: str, after: str) -> None:
    written = separator.join(card[i : i + 4] for i in range(0, len(card), 4))

    assert has_card_number(written + after)
    assert card[:12] not in mask_cards(written + after)


@given(st.integers(min_value=0, max_value=10**18))
def test_one_check_digit_of_ten_passes(number: int) -> None:
    assert sum(luhn(f"{number}{check}") for check in range(10)) == 1


def test_only_15_and_16_digits_of_an_issuer_make_an_id_a_card_number() -> None:
    assert is_card_number_id(CARD)
    assert is_card_number_id("378282246310005")
    assert not is_card_number_id("4222222222222")
    assert not is_card_number_id("9111111111111111")


@pytest.mark.parametrize(
    "name",
    [
        "cvv",
        "CVV2",
        "card-cvc",
        "card_pin",
        "PIN",
        "pin_block",
        "Track2",
        "track data",
        "security_code",
        "x_cvn",
        "Track 2",
        "pinBlock",
        "cardCVV",
    ],
)
def test_what_must_never_be_kept_is_known_by_its_name(name: str) -> None:
    kept = without_sensitive({"a": [{name: "123", "note": "x"}], name: {"v": "123"}})

    assert kept == {"a": [{name: HIDDEN, "note": "x"}], name: HIDDEN}


@pytest.mark.parametrize("name", ["pinned", "tracking_id", "spin", "opinion", "card_track_record", "description"])
def test_other_names_are_none_of_them(name: str) -> None:
    assert without_sensitive({name: "123"}) == {name: "123"}


@pytest.mark.parametrize(
    "track",
    [
        f"%B{CARD}^DOE/JANE^29121011000012300000?",
        f";{CARD}=29121010000045600000?",
        f"{CARD}=2912101",
        f"B{CARD}^DOE JANE^2912101",
    ],
)
def test_no_digit_of_a_track_survives(track: str) -> None:
    for masked in (mask_cards(f"read {track} twice"), without_sensitive({"note": [f"read {track} twice"]})["note"][0]):
        assert masked == "read [TRACK] twice"
