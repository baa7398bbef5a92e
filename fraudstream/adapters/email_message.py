"""
What is told as a mail: the same facts as text and as simple HTML, with headers that let clients sort and thread it.
"""

from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from html import escape

from fraudstream.domain.alert import Digest, FoldedGroup, Message, Notice, Severity

COLOURS: dict[Severity, str] = {Severity.CRITICAL: "#a30200", Severity.WARNING: "#8a6d00", Severity.INFO: "#1f5fbf"}
_PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body style="margin:0;padding:24px;background:#f4f5f7;font-family:Arial,Helvetica,sans-serif;color:#1d1f23">
<table role="presentation" cellpadding="0" cellspacing="0" style="width:100%;max-width:600px;margin:0 auto;background:#ffffff;\
border-top:6px solid {colour}">
<tr><td style="padding:24px">
<p style="margin:0 0 4px;font-size:13px;font-weight:bold;color:{colour}">{severity}</p>
<h1 style="margin:0 0 16px;font-size:20px;line-height:1.3">{title}</h1>
{degraded}{lead}{why}<table cellpadding="0" cellspacing="0" style="width:100%;border-collapse:collapse;font-size:14px">
{rows}
</table>
{links}<p style="margin:20px 0 0;font-size:12px;color:#5f6670">{footer}</p>
</td></tr>
</table>
</body>
</html>
"""
_DEGRADED = (
    '<p style="margin:0 0 16px;padding:8px 12px;font-size:14px;background:#fff4d6;border-left:3px solid #8a6d00">{text}</p>\n'
)
_LEAD = '<p style="margin:0 0 16px;font-size:14px">{text}</p>\n'
_LINK = '<a href="{url}" style="color:#1f5fbf">{words}</a>'
_ROW = (
    '<tr><th scope="row" style="width:1%;padding:6px 24px 6px 0;border-top:1px solid #e3e5e8;text-align:left;'
    'font-weight:normal;color:#5f6670;white-space:nowrap;vertical-align:top">{label}</th>'
    '<td style="padding:6px 0;border-top:1px solid #e3e5e8;word-break:break-word">{value}</td></tr>'
)


def email_message(message: Message, *, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """
    Return the mail of one message.

    ``Message-ID`` and ``Date`` follow from the message alone, so that a mail sent twice is the same mail to whoever looks. One
    that tells a group anew follows the first one, and mail programs show both as one thread.
    """
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = f"[{message.severity.value.upper()}] {message.title}"
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Date"] = message.last_at if message.told else _first_moment(message)
    first = f"<{message.alert_id}@{domain_of(sender)}>"
    mail["Message-ID"] = first if not message.told else f"<{message.alert_id}.{message.transactions}@{domain_of(sender)}>"
    if message.told:
        mail["In-Reply-To"] = mail["References"] = first
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Fraudstream-Alert-Id"] = message.alert_id
    mail.set_content(_text(message))
    mail.add_alternative(_html(message), subtype="html")
    return mail


def _first_moment(message: Message) -> datetime:
    return message.alert.decided_at if isinstance(message, Notice) else message.opened_at


def domain_of(sender: str) -> str:
    """
    Return the domain of an address, with or without a name before it.
    """
    return sender.rpartition("@")[2].rstrip("> ") or "localhost"


def _text(message: Message) -> str:
    facts = _facts(message)
    width = max((len(label) for label, _ in facts), default=0)
    paragraphs = [
        f"[{message.severity.value.upper()}] {message.title}",
        *_lead(message),
        "\n".join([_reasons_title(message), *(f"- {one}" for one in _reasons(message))]) if _reasons(message) else "",
        "\n".join(f"{label:<{width}}  {value}" for label, value in facts),
        "\n".join(f"{words}: {url}" for words, url in _links(message)),
        _footer(message),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _html(message: Message) -> str:
    reasons = "".join(f'<li style="margin:0 0 4px">{escape(one)}</li>' for one in _reasons(message))
    degraded = message.alert.degraded if isinstance(message, Notice) else ""
    links = " · ".join(_LINK.format(url=escape(url), words=escape(words)) for words, url in _links(message))
    return _PAGE.format(
        title=escape(message.title),
        colour=COLOURS[message.severity],
        severity=message.severity.value.upper(),
        degraded=_DEGRADED.format(text=escape(degraded)) if degraded else "",
        lead="".join(_LEAD.format(text=escape(text)) for text in _lead(message) if text != degraded),
        why=f'<p style="margin:0 0 6px;font-size:14px;font-weight:bold">{_reasons_title(message)}</p>\n'
        f'<ul style="margin:0 0 20px;padding-left:20px;font-size:14px">{reasons}</ul>\n'
        if reasons
        else "",
        rows="\n".join(_ROW.format(label=escape(label), value=escape(value)) for label, value in _facts(message)),
        links=f'<p style="margin:20px 0 0;font-size:14px">{links}</p>\n' if links else "",
        footer=escape(_footer(message)),
    )


def _lead(message: Message) -> list[str]:
    """
    Return what stands before the reasons.
    """
    if isinstance(message, Notice):
        return [text for text in (message.alert.degraded, message.together, message.standing) if text]
    snoozes = f"Snoozed now: {'; '.join(message.snoozes)}" if message.snoozes else ""
    counted = f"{message.transactions:,} payments in {message.groups:,} alerts: {' + '.join(message.value)}"
    return [text for text in (counted, snoozes) if text]


def _reasons_title(message: Message) -> str:
    return "Why" if isinstance(message, Notice) else "Highest amounts"


def _reasons(message: Message) -> Sequence[str]:
    return message.alert.why if isinstance(message, Notice) else [_folded(one) for one in message.top]


def _folded(one: FoldedGroup) -> str:
    counted = "" if one.transactions == 1 else f", {one.transactions:,} payments"
    return f"{one.title}: {' + '.join(one.value)}{counted} ({one.alert_id})"


def _facts(message: Message) -> Sequence[tuple[str, str]]:
    if isinstance(message, Notice):
        return message.alert.facts
    families = [(f"Kind: {name}", f"{count:,} payments") for name, count in message.families]
    return [*families, *((f"Merchant: {name}", f"{count:,} payments") for name, count in message.merchants)]


def _links(message: Message) -> list[tuple[str, str]]:
    """
    Return links to look at; none that does something when it is opened: mail programs open links by themselves.
    """
    if isinstance(message, Digest):
        return [("Open overview", message.overview_url)] if message.overview_url else []
    return [(words, url) for words, url in (("Open case", message.case_url), ("Runbook", message.runbook_url)) if url]


def _footer(message: Message) -> str:
    return f"Alert {message.alert_id}. Sent at least once: a second mail with this id and these numbers is the same alert."
