"""
What people are told of one flagged decision: masked, in plain words, the same on every channel.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from fraudstream.domain.decision import Outcome

#: Version of the alert where machines read it: the webhook's body and the letters in ``alerts:undeliverable``.
ALERT_SCHEMA = "fraudstream.alert/1"


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

    Every text is one line without control characters; none is escaped for any channel. ``amount`` is written for people with
    its currency. ``channel`` is the way of payment. ``why`` holds at most three plain reasons. ``degraded`` says in words what
    the decision was made without, empty when it was whole. ``alert_id`` follows from the transaction id: a second alert of the
    same transaction has the same.
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
    channel: str
    score: float
    why: tuple[str, ...]
    rule_ids: tuple[str, ...]
    degraded: str
    rule_set: str
    model: str
    occurred_at: datetime
    decided_at: datetime

    @property
    def summary(self) -> str:
        """
        The alert in one line, for what shows only one.
        """
        card = f"card {self.card}" if self.card else ""
        parts = (self.title, self.amount, card, f"score {self.score:.2f}", self.degraded, self.transaction_id)
        return " · ".join(part for part in parts if part)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """
        What is known, as label and value, most telling first; what is unknown is left out.
        """
        pairs = (
            ("Amount", self.amount),
            ("Card", self.card),
            ("Merchant", self.merchant),
            ("Country", self.country),
            ("Channel", self.channel),
            ("Score", f"{self.score:.2f}"),
            ("Rules", ", ".join(self.rule_ids)),
            ("Transaction", self.transaction_id),
            ("Paid at", f"{self.occurred_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("Decided at", f"{self.decided_at:%Y-%m-%d %H:%M:%S} UTC"),
        )
        return tuple((label, value) for label, value in pairs if value)
