"""
Alerts, notices and digests with plain values, of which a test names only what it is about.
"""

from typing import Any

from fraudstream.domain.alert import Alert, Digest, FoldedGroup, Notice, Severity
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.moments import moment
from fraudstream.stages.alert_grouping import bearing
from fraudstream.stages.alert_ports import AlertGroup
from fraudstream.stages.alert_text import build_alert
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


def a_notice(**changes: Any) -> Notice:
    """
    Return a notice of one alert; changes may be fields of the notice or of the alert in it.
    """
    of_alert = {name: value for name, value in changes.items() if name in Alert.__struct_fields__}
    alert = an_alert(**of_alert)
    values: dict[str, Any] = {
        "alert_id": alert.alert_id,
        "severity": alert.severity,
        "alert": alert,
        "family": "card testing",
        "subject": "this device",
        "transactions": 1,
        "told": 0,
        "value": (alert.amount,),
        "outcomes": {alert.outcome.value: 1},
        "opened_at": moment(NOW_MS),
        "last_at": moment(NOW_MS),
    }
    of_notice = {name: value for name, value in changes.items() if name in Notice.__struct_fields__}
    return Notice(**{**values, **of_notice})


def a_digest(**changes: Any) -> Digest:
    """
    Return the digest of a storm.
    """
    values: dict[str, Any] = {
        "alert_id": "dg_0123456789abcdef",
        "severity": Severity.CRITICAL,
        "reason": "storm",
        "groups": 412,
        "transactions": 1_807,
        "told": 0,
        "value": ("241,080.50 EUR", "9,100.00 USD"),
        "top": (
            FoldedGroup(
                alert_id="al_0123456789abcdef",
                severity=Severity.CRITICAL,
                title="Blocked: card testing at ACME GmbH",
                transactions=37,
                value=("12,480.00 EUR",),
            ),
            FoldedGroup(
                alert_id="al_fedcba9876543210",
                severity=Severity.WARNING,
                title="Held for review: guest checkout far from the card's last place",
                transactions=1,
                value=("9,100.00 USD",),
            ),
        ),
        "families": (("card testing", 1_402), ("stolen card", 405)),
        "merchants": (("ACME GmbH", 611), ("Example Shop", 208)),
        "opened_at": moment(NOW_MS),
        "last_at": moment(NOW_MS + 95_000),
        "over": False,
    }
    return Digest(**{**values, **changes})


def a_group(decision: Decision, **changes: Any) -> AlertGroup:
    """
    Return the group of one decision.
    """
    alert = build_alert(decision)
    transaction = decision.transaction
    values: dict[str, Any] = {
        "alert_id": alert.alert_id,
        "digest": False,
        "revision": "1",
        "severity": alert.severity,
        "bearing": bearing(decision),
        "alert": alert,
        "transactions": 1,
        "values": {transaction.currency: transaction.amount_minor},
        "major": transaction.amount_minor / 100,
        "outcomes": {decision.outcome.value: 1},
        "opened_ms": NOW_MS,
        "last_ms": NOW_MS,
        "merchant": alert.merchant,
    }
    return AlertGroup(**{**values, **changes})
