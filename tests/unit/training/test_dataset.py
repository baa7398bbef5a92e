"""
Labelled history as rows: what a row knows of earlier labels.
"""

import json

import numpy as np

from fraudstream.features.load import load_features
from fraudstream.producers.labelled import Labelled
from fraudstream.training.dataset import build

FEATURES = load_features(
    "version 1\nentity merchant log\n"
    "feature merchant_frauds_delayed_2d = fraud_count() by merchant delayed 2d\n"
    "feature merchant_seen = count() by merchant\n"
)
DAY_MS = 86_400_000


def a_payment(number: int) -> Labelled:
    at_ms = 1_740_960_000_000 + number * DAY_MS
    body = {"transaction_id": f"t{number}", "amount": 1, "timestamp": at_ms, "merchant": "shop"}
    return Labelled(body=json.dumps(body).encode(), transaction_id=f"t{number}", occurred_at_ms=at_ms, fraud=True, scenario="")


def test_a_small_shop_is_known_by_its_labels_as_soon_as_a_fleet_would_know_it() -> None:
    rows = build(FEATURES, map(a_payment, range(12)))

    known = np.nan_to_num(rows.matrix[:, 0]).tolist()
    assert known == [0, 0, *range(1, 11)], "one payment a day, each a fraud, each told two days later"
    assert rows.matrix[:, 1].tolist() == list(range(12))
