"""
An alert as a mail: the same facts as text and as simple HTML, with headers that let clients sort and never answer it.
"""

from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from html import escape

from fraudstream.domain.alert import Alert, Severity

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
{degraded}{why}<table cellpadding="0" cellspacing="0" style="width:100%;border-collapse:collapse;font-size:14px">
{rows}
</table>
<p style="margin:20px 0 0;font-size:12px;color:#5f6670">Alert {alert_id}. Sent at least once: a second mail with this id \
is the same alert.</p>
</td></tr>
</table>
</body>
</html>
"""
_DEGRADED = (
    '<p style="margin:0 0 16px;padding:8px 12px;font-size:14px;background:#fff4d6;border-left:3px solid #8a6d00">{text}</p>\n'
)
_ROW = (
    '<tr><th scope="row" style="width:1%;padding:6px 24px 6px 0;border-top:1px solid #e3e5e8;text-align:left;'
    'font-weight:normal;color:#5f6670;white-space:nowrap;vertical-align:top">{label}</th>'
    '<td style="padding:6px 0;border-top:1px solid #e3e5e8;word-break:break-word">{value}</td></tr>'
)


def email_message(alert: Alert, *, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """
    Return the mail of one alert.

    ``Message-ID`` and ``Date`` follow from the alert alone, so that a mail sent twice is the same mail to whoever looks.
    """
    message = EmailMessage(policy=SMTP)
    message["Subject"] = f"[{alert.severity.value.upper()}] {alert.title}"
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    message["Date"] = alert.decided_at
    message["Message-ID"] = f"<{alert.alert_id}@{domain_of(sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message["X-Fraudstream-Alert-Id"] = alert.alert_id
    message.set_content(_text(alert))
    message.add_alternative(_html(alert), subtype="html")
    return message


def domain_of(sender: str) -> str:
    """
    Return the domain of an address, with or without a name before it.
    """
    return sender.rpartition("@")[2].rstrip("> ") or "localhost"


def _text(alert: Alert) -> str:
    width = max(len(label) for label, _ in alert.facts)
    paragraphs = [
        f"[{alert.severity.value.upper()}] {alert.title}",
        alert.degraded,
        "\n".join(["Why", *(f"- {reason}" for reason in alert.why)]) if alert.why else "",
        "\n".join(f"{label:<{width}}  {value}" for label, value in alert.facts),
        f"Alert {alert.alert_id}. Sent at least once: a second mail with this id is the same alert.",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _html(alert: Alert) -> str:
    reasons = "".join(f'<li style="margin:0 0 4px">{escape(reason)}</li>' for reason in alert.why)
    return _PAGE.format(
        title=escape(alert.title),
        colour=COLOURS[alert.severity],
        severity=alert.severity.value.upper(),
        degraded=_DEGRADED.format(text=escape(alert.degraded)) if alert.degraded else "",
        why=f'<p style="margin:0 0 6px;font-size:14px;font-weight:bold">Why</p>\n<ul style="margin:0 0 20px;padding-left:20px;'
        f'font-size:14px">{reasons}</ul>\n'
        if reasons
        else "",
        rows="\n".join(_ROW.format(label=escape(label), value=escape(value)) for label, value in alert.facts),
        alert_id=escape(alert.alert_id),
    )
