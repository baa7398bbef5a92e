"""
From a decision to the alert that people read: how loud, which words, what is hidden. Pure, and the same on every channel.

The policy of severities stands here (``SEVERITIES``).
"""

import hashlib
import unicodedata
from collections.abc import Iterable

from fraudstream.domain.alert import Alert, Severity
from fraudstream.domain.currency import EXPONENTS, format_minor
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.evidence import Fallback, Reason, RuleHit
from fraudstream.telemetry.redact import scrub

#: How loud each outcome is. An approved decision raises none; were one found in the stream it would be information.
SEVERITIES: dict[Outcome, Severity] = {
    Outcome.BLOCK: Severity.CRITICAL,
    Outcome.REVIEW: Severity.WARNING,
    Outcome.CHALLENGE: Severity.INFO,
    Outcome.APPROVE: Severity.INFO,
}
_DONE: dict[Outcome, str] = {
    Outcome.BLOCK: "Blocked",
    Outcome.REVIEW: "Held for review",
    Outcome.CHALLENGE: "Challenged",
    Outcome.APPROVE: "Approved",
}
_WITHOUT: dict[Fallback, str] = {
    Fallback.MODEL_DEADLINE: "the model (no answer in time)",
    Fallback.MODEL_ERROR: "the model (it failed)",
    Fallback.RULES_DEADLINE: "the rules (no answer in time)",
    Fallback.RULES_ERROR: "the rules (they failed)",
    Fallback.DEAD_LETTER: "a part of the evidence (working on it failed too often)",
    Fallback.FEATURE_SET: "a part of the evidence (the workers' features differed)",
}
_MOST_REASONS = 3
_MOST_RULES = 5
#: Longest texts, in characters: a line on a phone, a clause in a list.
_TITLE, _NAME, _REASON = 140, 80, 200
_CARD_TAIL = 4


def build_alert(decision: Decision) -> Alert:
    """
    Say one decision in plain words.
    """
    transaction = decision.transaction
    merchant = plain(transaction.merchant or "", _NAME)
    return Alert(
        alert_id=alert_id(transaction.transaction_id),
        transaction_id=plain_id(transaction.transaction_id),
        outcome=decision.outcome,
        severity=SEVERITIES[decision.outcome],
        title=_title(decision, merchant),
        amount=amount_text(transaction.amount_minor, transaction.currency),
        card=masked_card(transaction.card_id),
        merchant=merchant,
        country=plain(transaction.country or "", _NAME),
        channel=plain(transaction.channel or "", _NAME),
        score=decision.score,
        why=_why(decision),
        rule_ids=tuple(plain(hit.rule_id, _NAME) for hit in decision.rule_hits[:_MOST_RULES]),
        degraded=degraded_text(decision.degraded),
        rule_set=decision.rule_set[:12],
        model=decision.model[:12],
        occurred_at=decision.occurred_at,
        decided_at=decision.decided_at,
    )


def alert_id(transaction_id: str) -> str:
    """
    Return the id of a transaction's alert: always the same one, so that a second message can be told from a second alert.
    """
    return f"al_{hashlib.blake2b(transaction_id.encode(), digest_size=10).hexdigest()}"


def plain(text: str, longest: int) -> str:
    """
    Return an outside text as one visible line: redacted, without control or direction characters, cut last.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(map(_visible, text))
    return shorten(scrub(" ".join(text.split())), longest)


def plain_id(transaction_id: str) -> str:
    """
    Return a transaction id for reading; a number stays as it is, the decoder has refused those that are card numbers.
    """
    return transaction_id if transaction_id.isdecimal() else plain(transaction_id, 128)


def shorten(text: str, longest: int) -> str:
    """
    Cut a text that is too long, and show that it was.
    """
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


def _visible(character: str) -> str:
    """
    Control characters and odd blanks become a blank; formatting ones, which can turn a line around, vanish.
    """
    category = unicodedata.category(character)
    if category in ("Cf", "Cs", "Co", "Cn"):
        return ""
    return " " if category in ("Cc", "Zl", "Zp", "Zs") else character


def masked_card(card_id: str | None) -> str:
    """
    Return at most the last four characters of a card's id, and none of an id that has no more than four.

    Example:
        >>> masked_card("tok_9f3a4242")
        '•••• 4242'
    """
    visible = "".join(character for character in card_id or "" if character.isalnum())
    return f"•••• {visible[-_CARD_TAIL:]}" if len(visible) > _CARD_TAIL else ""


def amount_text(amount_minor: int, currency: str) -> str:
    """
    Write an amount for people; a currency that we do not know shows its minor units and says so.
    """
    return format_minor(amount_minor, currency) if currency in EXPONENTS else f"{amount_minor} minor units {currency[:3]}"


def degraded_text(degraded: Iterable[Fallback]) -> str:
    """
    Say what a decision was made without; nothing, when it was whole.

    Example:
        >>> degraded_text([Fallback.MODEL_DEADLINE])
        'degraded: decided without the model (no answer in time)'
    """
    missing = [_WITHOUT[fallback] for fallback in dict.fromkeys(degraded)]
    return f"degraded: decided without {' and without '.join(missing)}" if missing else ""


def _title(decision: Decision, merchant: str) -> str:
    first = decision.reasons[0] if decision.reasons else None
    what = plain(first.text or first.code, 70) if first is not None else f"score {decision.score:.2f}"
    place = f" at {merchant}" if merchant else ""
    return shorten(f"{_DONE[decision.outcome]}: {what}{place}", _TITLE)


def _why(decision: Decision) -> tuple[str, ...]:
    hits = {hit.rule_id: hit for hit in decision.rule_hits}
    reasons = decision.reasons or tuple(Reason(code=hit.rule_id, text=hit.reason or hit.rule_id) for hit in decision.rule_hits)
    texts = [plain(_with_value(reason, hits.get(reason.code)), _REASON) for reason in reasons[:_MOST_REASONS]]
    return tuple(text for text in texts if text)


def _with_value(reason: Reason, hit: RuleHit | None) -> str:
    """
    Add the value to a reason that does not name one: the rule's own words with values, or the feature's number.
    """
    text = reason.text or reason.code
    if any(character.isdigit() for character in text):
        return text
    if hit is not None and hit.explanation:
        return f"{text} ({hit.explanation.replace('_', ' ')})"
    return text if reason.value is None else f"{text} ({reason.value:,.6g})"
