"""
Whole nouns with plain values, of which a test names only what it is about.
"""

import itertools
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fraudstream.domain.decision import DECISION_SCHEMA, Decision, Label, LabelValue, Outcome
from fraudstream.domain.decision_codec import encode_decision
from fraudstream.domain.evidence import Action, Reason, RuleHit
from fraudstream.domain.moments import moment
from fraudstream.domain.transaction import Transaction
from fraudstream.fleet.ports import Delivery

#: 2026-01-15 12:00:00 UTC, in milliseconds: the present of tests.
NOW_MS = 1_768_478_400_000
_numbers = itertools.count(1)


def a_transaction(**changes: Any) -> Transaction:
    """
    Return a transaction of its own id, with every entity present.
    """
    number = next(_numbers)
    values: dict[str, Any] = {
        "transaction_id": f"txn_{number}",
        "amount_minor": 1250,
        "currency": "USD",
        "occurred_at_ms": NOW_MS - 2_000,
        "user_id": "user_1",
        "card_id": "card_1",
        "merchant": "Example Shop",
        "merchant_category": "grocery",
        "device_id": "device_1",
        "ip": "203.0.113.7",
        "email": "jane@example.com",
        "country": "DE",
        "latitude": 52.52,
        "longitude": 13.405,
        "channel": "web",
        "type": "payment",
    }
    return Transaction(**{**values, **changes})


def a_decision(transaction: Transaction | None = None, **changes: Any) -> Decision:
    """
    Return a whole decision: approved, unless an outcome is named; flagged ones carry a rule hit and a reason.
    """
    transaction = transaction or a_transaction()
    flagged = changes.get("outcome", Outcome.APPROVE) is not Outcome.APPROVE
    hit = RuleHit(rule_id="many_cards", action=Action.REVIEW, reason="cards", explanation="cards (7) > 5", tags=("velocity",))
    values: dict[str, Any] = {
        "schema": DECISION_SCHEMA,
        "transaction": transaction,
        "outcome": Outcome.APPROVE,
        "score": 0.91 if flagged else 0.125,
        "probability": 0.81 if flagged else 0.125,
        "points": 10.0 if flagged else 0.0,
        "reasons": (Reason(code="many_cards", text="7 cards on this device within the hour", value=7.0),) if flagged else (),
        "rule_hits": (hit,) if flagged else (),
        "shadow_hits": (),
        "degraded": (),
        "feature_set": "0123456789abcdef",
        "vector": struct.pack("<4f", 1.0, 0.5, 12.5, float("nan")),
        "rule_set": "a" * 64,
        "lists": {"blocked_cards": "b" * 64},
        "model": "c" * 64,
        "occurred_at": moment(transaction.occurred_at_ms),
        "received_at": moment(NOW_MS - 20),
        "decided_at": moment(NOW_MS),
    }
    return Decision(**{**values, **changes})


def a_label(**changes: Any) -> Label:
    """
    Return a label of its own id.
    """
    number = next(_numbers)
    values: dict[str, Any] = {
        "label_id": f"label_{number}",
        "transaction_id": f"txn_{number}",
        "label": LabelValue.FRAUD,
        "source": "chargeback",
        "labelled_at": datetime(2026, 1, 15, 12, tzinfo=UTC),
    }
    return Label(**{**values, **changes})


def a_delivery(fields: dict[bytes, bytes] | None = None, **changes: Any) -> Delivery:
    """
    Return a delivery of its own entry id.
    """
    values: dict[str, Any] = {"entry_id": b"%d-0" % (NOW_MS + next(_numbers)), "fields": fields or {}}
    return Delivery(**{**values, **changes})


def a_delivery_of(decisions: Sequence[Decision], **changes: Any) -> Delivery:
    """
    Return an entry of ``transactions:decisions``: one field per decision.
    """
    return a_delivery({each.transaction.transaction_id.encode(): encode_decision(each) for each in decisions}, **changes)
