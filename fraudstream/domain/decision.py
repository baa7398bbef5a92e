"""
The joined record of a transaction, and the label that is learned later.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from fraudstream.domain.evidence import Fallback, Reason, RuleHit
from fraudstream.domain.transaction import Transaction

#: Version of the decision on the wire; a reader refuses another major.
DECISION_SCHEMA = "fraudstream.decision/1"


class Outcome(StrEnum):
    """
    The answer. Every outcome but ``approve`` is *flagged*.
    """

    __hash__ = str.__hash__  # that of an enumeration is written in Python, and every decision is counted by its outcome

    APPROVE = "approve"
    CHALLENGE = "challenge"
    REVIEW = "review"
    BLOCK = "block"


class Decision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    Everything that is known of one decision; the recorder needs nothing else.

    Nothing in it can refer back to it, so the cycle collector is spared: it took two fifths of a recorder's time.

    ``score`` is what the bands acted on: clamp(probability + points / 100, 0, 1); its parts are ``probability`` (None without
    the model) and ``points``. ``degraded`` names why a group had no opinion; it is empty in a whole decision. ``vector`` holds
    the features in the order of ``feature_set``, little-endian float32, empty when they could not be computed. ``received_at``
    is when the entry was added to the stream, ``decided_at`` when the decision was joined (both by the clock of Redis),
    ``occurred_at`` the payment's own time.
    """

    schema: str
    transaction: Transaction
    outcome: Outcome
    score: float
    probability: float | None
    points: float
    reasons: tuple[Reason, ...]
    rule_hits: tuple[RuleHit, ...]
    shadow_hits: tuple[RuleHit, ...]
    degraded: tuple[Fallback, ...]
    feature_set: str
    vector: bytes
    rule_set: str
    lists: dict[str, str]
    model: str
    occurred_at: datetime
    received_at: datetime
    decided_at: datetime

    @property
    def flagged(self) -> bool:
        """
        Whether the decision also goes to ``transactions:fraud``.
        """
        return self.outcome is not Outcome.APPROVE


class LabelValue(StrEnum):
    """
    Ground truth learned later.
    """

    FRAUD = "fraud"
    LEGITIMATE = "legitimate"
    UNSURE = "unsure"


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """
    What somebody learned of one transaction; ``label_id`` makes a second delivery harmless.
    """

    label_id: str
    transaction_id: str
    label: LabelValue
    source: str
    labelled_at: datetime
