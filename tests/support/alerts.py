"""
Alerts with plain values, of which a test names only what it is about.
"""

from typing import Any

from fraudstream.domain.alert import Alert, Severity
from fraudstream.domain.codec import moment
from fraudstream.domain.decision import Outcome
from tests.support.builders import NOW_MS


def an_alert(**changes: Any) -> Alert:
    """
    Return a critical alert about a blocked payment.
    """
    values: dict[str, Any] = {
        "alert_id": "al_0123456789abcdef",
        "transaction_id": "txn_42",
        "outcome": Outcome.BLOCK,
        "severity": Severity.CRITICAL,
        "title": "Blocked: card testing at ACME GmbH",
        "amount": "2,480.00 EUR",
        "card": "•••• 4242",
        "merchant": "ACME GmbH",
        "country": "BR",
        "channel": "online",
        "score": 0.97,
        "why": ("23 cards on this device in 5 minutes (limit 5)", "first payment in this country", "41 times the usual amount"),
        "rule_ids": ("R014", "R002"),
        "degraded": "",
        "rule_set": "3f8a1c02aa10",
        "model": "b7d1f09c4e21",
        "occurred_at": moment(NOW_MS - 2_000),
        "decided_at": moment(NOW_MS),
    }
    return Alert(**{**values, **changes})
