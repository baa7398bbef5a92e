"""
From a group in the book to the message that people read. Pure.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile

import msgspec

from fraudstream.domain.alert import Digest, FoldedGroup, Notice, Severity
from fraudstream.domain.moments import moment
from fraudstream.stages.alert_ports import AlertGroup, DigestFacts, Shown
from fraudstream.stages.alert_text import amount_text, plain, plain_id

#: What the payments of a group have in common, in words that hide which one it is.
_SUBJECTS: Mapping[str, str] = {
    "card": "this card",
    "user": "this customer",
    "device": "this device",
    "merchant": "this merchant",
    "ip": "this network address",
    "payment": "this payment",
}
#: From mild to severe.
SEVERITIES = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a message offers beside its words. In ``case_url``, ``{alert_id}`` and ``{transaction_id}`` are filled in.
    """

    case_url: str = ""
    runbook_url: str = ""
    overview_url: str = ""
    buttons: bool = False


def build_notice(group: AlertGroup, shown: Shown, links: Links, transaction_ids: Sequence[str] = ()) -> Notice:
    """
    Say one group in plain words.
    """
    assert group.alert is not None, "a digest has no alert of its own"
    return Notice(
        alert_id=group.alert_id,
        severity=group.severity,
        alert=group.alert,
        family=plain(group.bearing.family.replace("_", " "), 80),
        subject=_SUBJECTS.get(group.bearing.entity, _SUBJECTS["payment"]),
        transactions=group.transactions,
        told=shown.told,
        value=amounts(group.values),
        outcomes=dict(sorted(group.outcomes.items(), key=lambda pair: -pair[1])),
        opened_at=moment(group.opened_ms),
        last_at=moment(group.last_ms),
        transaction_ids=tuple(plain_id(one) for one in transaction_ids),
        told_severity=shown.severity,
        previous=group.previous,
        case_url=_filled(links.case_url, group),
        runbook_url=links.runbook_url,
        buttons=links.buttons,
        answer=group.answer,
        answered_by=group.answered_by,
        acknowledged_by=group.acknowledged_by,
        snoozed_by=group.snoozed_by,
    )


def build_digest(group: AlertGroup, shown: Shown, facts: DigestFacts, links: Links) -> Digest:
    """
    Say many groups in one message.
    """
    return Digest(
        alert_id=group.alert_id,
        severity=group.severity,
        reason=group.bearing.family,
        groups=facts.groups,
        transactions=group.transactions,
        told=shown.told,
        value=amounts(group.values),
        top=tuple(_line(one) for one in facts.top if one.alert is not None),
        families=tuple((plain(name.replace("_", " "), 80), count) for name, count in facts.families),
        merchants=tuple((plain(name, 80), count) for name, count in facts.merchants),
        opened_at=moment(group.opened_ms),
        last_at=moment(group.last_ms),
        over=group.over,
        snoozes=tuple(_snooze(scope) for scope in facts.snoozes),
        overview_url=links.overview_url,
    )


def amounts(values: Mapping[str, int]) -> tuple[str, ...]:
    """
    Write sums of money, the largest number first; currencies are not converted.
    """
    return tuple(amount_text(minor, currency) for currency, minor in sorted(values.items(), key=lambda pair: -pair[1]))


def reply_words(notice: Notice, shown: Shown) -> tuple[str, str]:
    """
    Return what belongs under a message that is shown already: the words, and the mark by which they are not said twice.

    Replies come at every tenfold of payments, when the severity rises, and when a person said something; else both are empty.
    """
    mark = "|".join((str(_tenfold(notice.transactions)), notice.severity.value, notice.standing))
    if not shown.place or mark == shown.reply:
        return "", mark
    before = (shown.reply or f"{_tenfold(shown.told)}|{shown.severity or notice.severity}|").split("|", 2)
    words = []
    if before[1] in SEVERITIES and SEVERITIES.index(Severity(before[1])) < SEVERITIES.index(notice.severity):
        words.append(f"Severity rose to {notice.severity.value}: {notice.alert.title}")
    if int(before[0]) < _tenfold(notice.transactions):
        words.append(f"{notice.transactions:,} payments by now, {' + '.join(notice.value)}")
    if before[2] != notice.standing:
        words.append(notice.standing or "The answer was taken back")
    return " · ".join(words), mark


def _tenfold(transactions: int) -> int:
    """
    Return the largest power of ten that so many payments have reached.
    """
    reached = list(takewhile(lambda power: power <= transactions, (10**exponent for exponent in range(10))))
    return reached[-1] if reached else 0


def _filled(url: str, group: AlertGroup) -> str:
    transaction_id = group.alert.transaction_id if group.alert is not None else ""
    return url.replace("{alert_id}", _quoted(group.alert_id)).replace("{transaction_id}", _quoted(transaction_id))


def _quoted(text: str) -> str:
    """
    Percent-encode what has a meaning in a link (RFC 3986 section 2.3 names what has none).
    """
    plain_bytes = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return "".join(chr(byte) if byte in plain_bytes else f"%{byte:02X}" for byte in text.encode())


def _line(group: AlertGroup) -> FoldedGroup:
    assert group.alert is not None, "digests are not folded into digests"
    return FoldedGroup(
        alert_id=group.alert_id,
        severity=group.severity,
        title=group.alert.title,
        transactions=group.transactions,
        value=amounts(group.values),
    )


def _snooze(scope: str) -> str:
    rule, entity, _ = scope.split("|", 2)
    return f"{plain(rule, 80)} for {'one ' + entity if entity else 'everything'}"
