"""
What people are told of one flagged decision: masked, in plain words, the same on every channel.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from fraudstream.domain.decision import Outcome


class Severity(StrEnum):
    """
    How loudly an alert speaks.
    """

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """
    One alert. ``card`` shows at most the last four characters; no e-mail, name or phone is ever in it.

    ``amount`` is written for people with its currency. ``why`` holds at most three plain reasons. ``degraded`` says in words
    what the decision was made without, empty when it was whole.
    """

    alert_id: str
    transaction_id: str
    outcome: Outcome
    severity: Severity
    title: str
    amount: str
    card: str
    merchant: str
    country: str
    score: float
    why: tuple[str, ...]
    rule_ids: tuple[str, ...]
    degraded: str
    rule_set: str
    model: str
    occurred_at: datetime
    decided_at: datetime
