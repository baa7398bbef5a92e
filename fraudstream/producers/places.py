"""
The stage of the synthetic world: cities, kinds of shops, words for names. Plain tables, no chance in them.
"""

from typing import NamedTuple


class City(NamedTuple):
    """
    A place where people live and pay. ``offset_h`` is its distance from UTC in hours (no summer time), ``share`` its relative
    number of inhabitants in this world, ``usd`` the price of one US dollar in its currency (rounded, never updated).
    """

    name: str
    country: str
    latitude: float
    longitude: float
    offset_h: float
    share: float
    currency: str
    usd: float


CITIES: tuple[City, ...] = (
    City("New York", "US", 40.71, -74.01, -5, 12, "USD", 1.0),
    City("Chicago", "US", 41.88, -87.63, -6, 7, "USD", 1.0),
    City("Los Angeles", "US", 34.05, -118.24, -8, 9, "USD", 1.0),
    City("Houston", "US", 29.76, -95.37, -6, 6, "USD", 1.0),
    City("Toronto", "CA", 43.65, -79.38, -5, 5, "CAD", 1.36),
    City("Mexico City", "MX", 19.43, -99.13, -6, 4, "MXN", 18.0),
    City("Sao Paulo", "BR", -23.55, -46.63, -3, 4, "BRL", 5.4),
    City("London", "GB", 51.51, -0.13, 0, 8, "GBP", 0.79),
    City("Manchester", "GB", 53.48, -2.24, 0, 3, "GBP", 0.79),
    City("Paris", "FR", 48.86, 2.35, 1, 6, "EUR", 0.92),
    City("Lyon", "FR", 45.76, 4.84, 1, 2, "EUR", 0.92),
    City("Berlin", "DE", 52.52, 13.41, 1, 5, "EUR", 0.92),
    City("Munich", "DE", 48.14, 11.58, 1, 3, "EUR", 0.92),
    City("Madrid", "ES", 40.42, -3.70, 1, 4, "EUR", 0.92),
    City("Rome", "IT", 41.90, 12.50, 1, 3, "EUR", 0.92),
    City("Amsterdam", "NL", 52.37, 4.90, 1, 3, "EUR", 0.92),
    City("Stockholm", "SE", 59.33, 18.07, 1, 2, "SEK", 10.5),
    City("Warsaw", "PL", 52.23, 21.01, 1, 2, "PLN", 4.0),
    City("Istanbul", "TR", 41.01, 28.98, 3, 2, "TRY", 34.0),
    City("Johannesburg", "ZA", -26.20, 28.05, 2, 2, "ZAR", 18.0),
    City("Mumbai", "IN", 19.08, 72.88, 5.5, 3, "INR", 84.0),
    City("Singapore", "SG", 1.35, 103.82, 8, 2, "SGD", 1.34),
    City("Tokyo", "JP", 35.68, 139.69, 9, 3, "JPY", 150.0),
    City("Sydney", "AU", -33.87, 151.21, 10, 2, "AUD", 1.52),
)


class Category(NamedTuple):
    """
    A kind of merchant. ``median`` is the median price in US dollars, ``sigma`` the standard deviation of its logarithm,
    ``share`` its relative part of ordinary payments, ``online`` the part of its merchants that sell online,
    ``loot`` how much a thief likes it (relative).
    """

    name: str
    noun: str
    median: float
    sigma: float
    share: float
    online: float
    loot: float


CATEGORIES: tuple[Category, ...] = (
    Category("grocery", "Grocers", 32, 0.70, 25, 0.10, 1.0),
    Category("restaurant", "Kitchen", 22, 0.60, 15, 0.15, 0.5),
    Category("fuel", "Fuel", 45, 0.35, 8, 0.0, 0.6),
    Category("transit", "Transit", 3.2, 0.50, 9, 0.30, 0.2),
    Category("pharmacy", "Pharmacy", 18, 0.70, 5, 0.15, 0.5),
    Category("fashion", "Outfitters", 55, 0.70, 6, 0.60, 2.0),
    Category("electronics", "Electronics", 140, 1.00, 3, 0.70, 6.0),
    Category("travel", "Journeys", 260, 0.90, 2, 0.90, 3.0),
    Category("digital", "Media", 7, 0.80, 9, 1.0, 1.5),
    Category("gaming", "Games", 9, 0.90, 3, 1.0, 2.0),
    Category("gift_cards", "Gifts", 50, 0.60, 1, 0.80, 6.0),
    Category("household", "Home", 60, 0.80, 6, 0.50, 1.5),
    Category("utilities", "Energy", 80, 0.50, 3, 0.90, 0.3),
    Category("jewellery", "Jewels", 220, 0.90, 0.6, 0.50, 4.0),
    Category("charity", "Relief", 15, 0.90, 0.6, 0.90, 1.0),
    Category("cash", "Cashpoint", 80, 0.60, 4, 0.0, 0.5),
)

#: First words of merchants' names.
ADJECTIVES = ("Amber", "Harbour", "Northern", "Silver", "Corner", "Old", "Green", "Maple", "River", "Golden", "Sunny", "Union")

#: Relative number of payments by local hour of the day, midnight first: quiet nights, a lunch hill, an evening peak.
HOURS = (3, 2, 1.4, 1, 1, 1.6, 4, 8, 11, 12, 13, 15, 17, 15, 13, 13, 14, 17, 20, 19, 15, 12, 9, 5)
#: Relative number of payments by weekday, Monday first.
WEEKDAYS = (0.92, 0.92, 0.95, 1.0, 1.15, 1.2, 0.86)


def category_number(name: str) -> int:
    """
    Return the row of ``CATEGORIES`` that a name stands in.
    """
    return [category.name for category in CATEGORIES].index(name)
