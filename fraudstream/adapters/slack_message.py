"""
An alert as Slack draws it (Block Kit): escaped, within Slack's limits, readable without colour.
"""

from typing import Any

from fraudstream.domain.alert import Alert, Severity

#: The stripe beside the message; the header says the same in words.
COLOURS: dict[Severity, str] = {Severity.CRITICAL: "#a30200", Severity.WARNING: "#daa038", Severity.INFO: "#3274d9"}
#: Slack's own limits in characters after escaping (slack_sdk.models.blocks); sections stay below their 3000.
_HEADER, _SECTION, _FIELD, _FALLBACK = 150, 2800, 2000, 300
#: Facts that stand in the two columns; the rest is in the headline or in the line at the bottom.
_COLUMNS = ("Merchant", "Country", "Channel", "Rules", "Paid at", "Decided at")


def slack_message(alert: Alert) -> dict[str, Any]:
    """
    Return the arguments of ``chat.postMessage``, all but the channel.
    """
    fallback = fit(f"[{alert.severity.value}] {alert.summary}", _FALLBACK)
    return {
        "text": fallback,
        "attachments": [{"color": COLOURS[alert.severity], "fallback": fallback, "blocks": _blocks(alert)}],
        "unfurl_links": False,
        "unfurl_media": False,
        "metadata": {"event_type": "fraudstream_alert", "event_payload": {"alert_id": alert.alert_id}},
    }


def _blocks(alert: Alert) -> list[dict[str, Any]]:
    facts = dict(alert.facts)
    columns = [_plain(f"{label}\n{facts[label]}", _FIELD) for label in _COLUMNS if label in facts]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(alert.title, _HEADER)},
        {"type": "section", "text": _marked(_headline(alert))},
        {"type": "section", "fields": columns},
    ]
    if alert.why:
        blocks.append(
            {"type": "section", "text": _plain("\n".join(["Why", *(f"• {reason}" for reason in alert.why)]), _SECTION)}
        )
    if alert.degraded:
        blocks.append({"type": "section", "text": _plain(f"⚠ {alert.degraded}", _SECTION)})
    return [*blocks, {"type": "context", "elements": [_plain(_origin(alert), _FIELD)]}]


def _headline(alert: Alert) -> str:
    """
    Our own words and numbers; nothing from outside stands where Slack reads markup, but the card's last four.
    """
    card = f" · card `{fit(alert.card, 20)}`" if alert.card else ""
    return f"*{fit(alert.amount, 60)}*{card} · score *{alert.score:.2f}* · {alert.severity.value}"


def _origin(alert: Alert) -> str:
    versions = [f"rules {alert.rule_set}" if alert.rule_set else "", f"model {alert.model}" if alert.model else ""]
    return " · ".join(part for part in (alert.transaction_id, alert.alert_id, *versions) if part)


def _plain(text: str, longest: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": fit(text, longest), "emoji": False}


def _marked(text: str) -> dict[str, Any]:
    # Verbatim: Slack must not make links or mentions of what looks like one.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def fit(text: str, longest: int) -> str:
    """
    Escape Slack's three control characters, and cut so that the escaped text fits and no escape is cut in two.

    Example:
        >>> fit("<!channel> & co", 40)
        '&lt;!channel&gt; &amp; co'
    """
    escaped = [_ESCAPES.get(character, character) for character in text]
    if sum(map(len, escaped)) <= longest:
        return "".join(escaped)
    kept, length = [], 1
    for piece in escaped:
        length += len(piece)
        if length > longest:
            break
        kept.append(piece)
    return "".join(kept) + "…"


_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
