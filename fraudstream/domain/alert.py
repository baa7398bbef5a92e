"""
What people are told: of one flagged decision, of a group of them, of many groups; masked, in plain words, for every channel.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

from fraudstream.domain.decision import Outcome

#: Version of the alert where machines read it: the webhook's body and the letters in ``alerts:undeliverable``.
ALERT_SCHEMA = "fraudstream.alert/1"
DIGEST_SCHEMA = "fraudstream.alert_digest/1"
#: What was done, by outcome.
_DONE = {"block": "blocked", "review": "held for review", "challenge": "challenged", "approve": "approved"}


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


class Answer(StrEnum):
    """
    What a person said of an alert group.
    """

    OPEN = ""
    FRAUD = "fraud"
    LEGITIMATE = "legitimate"


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """
    What people are told of one alert group: its loudest alert, and what has come together since.

    ``alert_id`` is that of the group, which is the id of the alert that opened it. ``value`` holds the amounts, one text per
    currency. ``outcomes`` counts the decisions. ``subject`` says in words what the payments have in common (``this card``),
    ``family`` why they were flagged. ``told`` is how many payments this channel told of before; 0 makes it the first message.
    ``transaction_ids`` are those that it tells of for the first time, at most some hundreds.
    ``previous`` is the group of the same kind before this one, empty when there was none. ``told_severity`` is the one that the
    channel has told; the last four fields say what people have answered.
    """

    alert_id: str
    severity: Severity
    alert: Alert
    family: str
    subject: str
    transactions: int
    told: int
    value: tuple[str, ...]
    outcomes: Mapping[str, int]
    opened_at: datetime
    last_at: datetime
    transaction_ids: tuple[str, ...] = ()
    told_severity: Severity | None = None
    previous: str = ""
    case_url: str = ""
    runbook_url: str = ""
    buttons: bool = False
    answer: Answer = Answer.OPEN
    answered_by: str = ""
    acknowledged_by: str = ""
    snoozed_by: str = ""

    @property
    def title(self) -> str:
        """
        The headline, with the number of payments where there are several.
        """
        return self.alert.title if self.transactions == 1 else f"{self.alert.title} ({self.transactions:,} payments)"

    @property
    def together(self) -> str:
        """
        How many payments came together since when; empty for a single one.
        """
        if self.transactions == 1:
            return ""
        done = ", ".join(f"{count:,} {_DONE.get(outcome, outcome)}" for outcome, count in self.outcomes.items())
        since = f"{self.opened_at:%H:%M:%S} to {self.last_at:%H:%M:%S} UTC"
        return f"{self.transactions:,} payments of {self.subject} from {since}: {done}; {' + '.join(self.value)}"

    @property
    def standing(self) -> str:
        """
        What people have said so far, in one line; empty while nobody has.
        """
        said = [
            f"marked {self.answer.value} by {self.answered_by}" if self.answer is not Answer.OPEN else "",
            f"acknowledged by {self.acknowledged_by}" if self.acknowledged_by else "",
            f"rule snoozed for {self.subject} by {self.snoozed_by}" if self.snoozed_by else "",
        ]
        words = " · ".join(one for one in said if one)
        return words[:1].upper() + words[1:]

    @property
    def summary(self) -> str:
        """
        The notice in one line, for what shows only one.
        """
        return " · ".join(part for part in (self.alert.summary, self.together, self.standing) if part)


class FoldedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """
    One alert group as a line of a digest.
    """

    alert_id: str
    severity: Severity
    title: str
    transactions: int
    value: tuple[str, ...]


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """
    Many alert groups in one message. ``reason`` is storm, quiet or info; ``top`` are the groups with the highest amounts.

    ``families`` and ``merchants`` count payments, most first. ``over`` says that nothing will be added any more. ``snoozes``
    names the rules that are snoozed now: who reads a digest should know what is missing from it.
    """

    alert_id: str
    severity: Severity
    reason: str
    groups: int
    transactions: int
    told: int
    value: tuple[str, ...]
    top: tuple[FoldedGroup, ...]
    families: tuple[tuple[str, int], ...]
    merchants: tuple[tuple[str, int], ...]
    opened_at: datetime
    last_at: datetime
    over: bool
    snoozes: tuple[str, ...] = ()
    overview_url: str = ""

    @property
    def title(self) -> str:
        """
        The headline: what happened, and whether it still does.
        """
        counted = f"{self.groups:,} alerts, {self.transactions:,} payments"
        if self.reason == "storm":
            return f"Alert storm {'is over' if self.over else 'since'} {self._since}: {counted}"
        return f"{'Held over quiet hours' if self.reason == 'quiet' else 'For information'}: {counted}"

    @property
    def summary(self) -> str:
        """
        The digest in one line.
        """
        leading = f"most of them {self.families[0][0]}" if self.families else ""
        return " · ".join(part for part in (self.title, " + ".join(self.value), leading) if part)

    @property
    def _since(self) -> str:
        return f"({self.opened_at:%H:%M} to {self.last_at:%H:%M} UTC)" if self.over else f"{self.opened_at:%H:%M} UTC"


#: What a channel can be given to tell.
Message = Notice | Digest
