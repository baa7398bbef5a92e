"""
What a definition may name: the fields of a transaction, the aggregates over an entity's past, the functions of expressions.
"""

import math
from dataclasses import dataclass

from fraudstream.domain.transaction import NUMBER_FIELDS

#: Fields that hold words or ids; records keep a 32-bit hash of those that a feature asks of the past.
TEXT_FIELDS = (
    "currency",
    "user_id",
    "card_id",
    "merchant",
    "merchant_category",
    "device_id",
    "ip",
    "email",
    "country",
    "channel",
    "type",
    "counterparty_id",
)
#: Every field that an expression over the current transaction may name.
FIELDS = (*NUMBER_FIELDS, "timestamp", *TEXT_FIELDS)
#: What a past transaction came to, as its record's flags hold it, plus one (without a decision yet it counts as approved).
OUTCOMES = {"approve": 1, "challenge": 2, "review": 3, "block": 4}
#: What is known of a past transaction since; one without a label has none.
LABELS = {"fraud": 1, "legitimate": 2}
#: Numbers that a condition on past transactions may name: records keep no others.
PAST_NUMBERS = ("amount",)

#: Functions of expressions: the types of their arguments (a last ``...`` repeats the one before) and of their answer.
FUNCTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "hour": (("time",), "number"),
    "minute": (("time",), "number"),
    "weekday": (("time",), "number"),
    "abs": (("number",), "number"),
    "log10": (("number",), "number"),
    "min": (("number", "number", "..."), "number"),
    "max": (("number", "number", "..."), "number"),
    "coalesce": (("number", "number"), "number"),
    "is_missing": (("any",), "truth"),
}


@dataclass(frozen=True, slots=True)
class AggregateKind:
    """
    One aggregate: what it takes in brackets (``amount``, ``text``, or nothing), whether buckets can answer it, the default
    where the window holds nothing, the unit, and whether it reads labels.
    """

    argument: str
    on_buckets: bool
    default: float
    unit: str
    labels: bool = False


_NAN = math.nan

#: The aggregates of the language, by name.
AGGREGATES = {
    "count": AggregateKind("", on_buckets=True, default=0.0, unit="transactions"),
    "sum": AggregateKind("amount", on_buckets=True, default=0.0, unit="minor units"),
    "avg": AggregateKind("amount", on_buckets=True, default=_NAN, unit="minor units"),
    "min": AggregateKind("amount", on_buckets=False, default=_NAN, unit="minor units"),
    "max": AggregateKind("amount", on_buckets=False, default=_NAN, unit="minor units"),
    "stddev": AggregateKind("amount", on_buckets=False, default=_NAN, unit="minor units"),
    "median": AggregateKind("amount", on_buckets=False, default=_NAN, unit="minor units"),
    "distinct": AggregateKind("text", on_buckets=False, default=0.0, unit="values"),
    "is_new": AggregateKind("text", on_buckets=False, default=_NAN, unit="1 = new"),
    "first_seen": AggregateKind("", on_buckets=False, default=_NAN, unit="seconds"),
    "last_seen": AggregateKind("", on_buckets=False, default=_NAN, unit="seconds"),
    "time_since_last": AggregateKind("", on_buckets=False, default=_NAN, unit="seconds"),
    "ratio_to_baseline": AggregateKind("amount", on_buckets=False, default=_NAN, unit="ratio"),
    "rank": AggregateKind("amount", on_buckets=False, default=_NAN, unit="share"),
    "speed_kmh": AggregateKind("", on_buckets=False, default=_NAN, unit="km/h"),
    "fraud_count": AggregateKind("", on_buckets=True, default=0.0, unit="frauds", labels=True),
    "fraud_rate": AggregateKind("", on_buckets=True, default=_NAN, unit="share", labels=True),
    "last_label": AggregateKind("", on_buckets=False, default=_NAN, unit="1 = fraud", labels=True),
    "time_since_fraud": AggregateKind("", on_buckets=False, default=_NAN, unit="seconds", labels=True),
    "clean_since_fraud": AggregateKind("", on_buckets=False, default=_NAN, unit="transactions", labels=True),
    "run_length": AggregateKind("", on_buckets=False, default=0.0, unit="transactions", labels=True),
}
#: Aggregates whose answer is true or false, so that an expression may use them as a condition.
TRUTH_AGGREGATES = ("is_new", "last_label")

#: Most different windows and delays of one kind of entity: ages are sorted into as many classes, each a byte.
MAX_EDGES = 200
#: Shortest and longest window, and the longest delay, in seconds.
MIN_WINDOW_S, MAX_WINDOW_S, MAX_DELAY_S = 60, 90 * 86_400, 90 * 86_400
