"""
What an analyst reads of a feature.
"""

import math
from pathlib import Path

import pytest

from fraudstream.features.load import load_features
from fraudstream.scoring.wording import teller

SHIPPED = load_features((Path(__file__).parents[3] / "models" / "default.features").read_text()).features


@pytest.mark.parametrize(
    ("name", "unit", "value", "text"),
    [
        ("card_count_1h", "transactions", 6, "6 payments on this card in the last hour"),
        ("card_count_10m", "transactions", 1, "1 payment on this card in the last 10 minutes"),
        ("card_small_count_1h", "transactions", 4, "4 small payments on this card in the last hour"),
        ("merchant_count_24h", "transactions", 1234, "1,234 payments at this merchant in the last 24 hours"),
        ("device_distinct_card_id_24h", "values", 3, "3 different cards from this device in the last 24 hours"),
        ("card_distinct_country_7d", "values", 1, "1 country on this card in the last 7 days"),
        ("card_is_new_device_id", "1 = new", 1, "a device never seen before on this card"),
        ("user_is_new_ip", "1 = new", 0, "an address seen before by this customer"),
        (
            "user_sum_amount_minor_24h",
            "minor units",
            12345,
            "total amount by this customer in the last 24 hours: 12,345 minor units",
        ),
        ("card_time_since_last", "seconds", 45, "45 seconds since the last payment on this card"),
        ("card_time_since_last", "seconds", 7300, "2 hours since the last payment on this card"),
        ("user_first_seen", "seconds", 864_000, "first payment by this customer was 10 days ago"),
        ("card_ratio_to_baseline_30d", "ratio", 4.2, "amount is 4.2 times what is usual on this card in the last 30 days"),
        ("card_speed_kmh", "km/h", 5120.4, "5,120 km/h from the last place on this card"),
        ("merchant_fraud_rate_7d", "share", 0.125, "12.5% reported as fraud at this merchant in the last 7 days"),
        ("amount_minor", "minor units", 9900, "amount of 9,900 minor units"),
        ("hour_of_day", "hours", 3, "paid between 03:00 and 03:59 UTC"),
        ("night", "1 = yes", 1, "paid before 7:00 UTC"),
    ],
)
def test_feature_is_told_in_words(name: str, unit: str, value: float, text: str) -> None:
    assert teller(name, unit, "Not this sentence.")(value) == text


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("bananas", 2.5, "How many fell: 2.5 bananas"),
        ("1 = yes", 1, "How many fell: yes"),
        ("seconds", 7300, "How many fell: 2 hours"),
        ("", math.nan, "How many fell: no history"),
    ],
)
def test_name_without_a_pattern_is_told_by_its_definition(unit: str, value: float, text: str) -> None:
    assert teller("something_new", unit, "How many fell.")(value) == text


def test_name_without_pattern_or_definition_is_told_by_itself() -> None:
    assert teller("something_new", "")(3) == "something new: 3"


def test_unknown_value_is_told_by_its_definition() -> None:
    assert teller("card_count_1h", "transactions", "Payments of the card.")(math.nan) == "Payments of the card: no history"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e30, 0.0, 5e-324])
@pytest.mark.parametrize("feature", SHIPPED, ids=lambda feature: feature.name)
def test_every_value_of_every_shipped_feature_can_be_told(feature: object, value: float) -> None:
    text = teller(feature.name, feature.unit, feature.description)(value)

    assert text
    assert not text.endswith(".")
    assert "nan" not in text
    assert "_" not in text
