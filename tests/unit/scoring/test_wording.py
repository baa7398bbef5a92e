"""
What an analyst reads of a feature.
"""

import math

import pytest

from fraudstream.scoring.wording import describe


@pytest.mark.parametrize(
    ("name", "unit", "value", "text"),
    [
        ("card_count_1h", "count", 6, "6 payments on this card in the last hour"),
        ("card_count_10m", "count", 1, "1 payment on this card in the last 10 minutes"),
        ("merchant_count_24h", "count", 1234, "1,234 payments at this merchant in the last 24 hours"),
        ("device_distinct_card_24h", "count", 3, "3 different cards from this device in the last 24 hours"),
        ("card_distinct_country_7d", "count", 2, "2 different countries on this card in the last 7 days"),
        ("user_sum_amount_minor_24h", "minor", 12345, "total amount by this customer in the last 24 hours: 12,345 minor units"),
        ("card_seconds_since_last", "s", 45, "45 seconds since the last payment on this card"),
        ("card_seconds_since_last", "s", 7300, "2 hours since the last payment on this card"),
        ("hour", "hour", 3, "paid between 03:00 and 03:59"),
        ("card_count_1h", "count", math.nan, "no history for card count in the last hour"),
        ("something_new_5m", "bananas", 2.5, "something new in the last 5 minutes: 2.5 bananas"),
        ("something_new", "", math.nan, "something new: no history"),
    ],
)
def test_feature_is_told_in_words(name: str, unit: str, value: float, text: str) -> None:
    assert describe(name, unit, value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e30, 0.0, 5e-324])
@pytest.mark.parametrize("name", ["card_count_1h", "hour", "weekday", "card_seconds_since_last", "user_ratio_amount", "other"])
def test_every_value_can_be_told(name: str, value: float) -> None:
    assert describe(name, "s", value)
