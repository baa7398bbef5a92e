"""
What Slack draws (Block Kit): escaped, within Slack's limits, readable without colour.
"""

import json
from datetime import datetime
from typing import Any

from fraudstream.domain.alert import Answer, Digest, FoldedGroup, Message, Notice, Severity

#: The stripe beside the message; the header says the same in words.
COLOURS: dict[Severity, str] = {Severity.CRITICAL: "#a30200", Severity.WARNING: "#daa038", Severity.INFO: "#3274d9"}
ANSWERED: dict[Answer, str] = {Answer.FRAUD: "#dddddd", Answer.LEGITIMATE: "#2eb886"}
#: Slack's own limits in characters after escaping (slack_sdk.models.blocks); sections stay below their 3000.
_HEADER, _SECTION, _FIELD, _FALLBACK, _BUTTON = 150, 2800, 2000, 300, 75
#: Facts that stand in the two columns; the rest is in the headline or in the line at the bottom.
_COLUMNS = ("Merchant", "Country", "Channel", "Rules", "Paid at", "Decided at")
#: What the buttons send; ``alerts serve`` acts on them.
FRAUD, LEGITIMATE, SNOOZE, UNDO = (f"alert_{word}" for word in ("fraud", "legitimate", "snooze", "undo"))
SNOOZE_HOURS = 24


def slack_message(message: Message) -> dict[str, Any]:
    """
    Return the arguments of ``chat.postMessage``, all but the channel.
    """
    blocks = _notice(message) if isinstance(message, Notice) else _digest(message)
    return {
        "text": fit(f"[{message.severity.value}] {message.summary}", _FALLBACK),
        "attachments": [{"color": _colour(message), "fallback": fit(message.title, _FALLBACK), "blocks": blocks}],
        "unfurl_links": False,
        "unfurl_media": False,
        "metadata": {
            "event_type": "fraudstream_alert",
            "event_payload": {"alert_id": message.alert_id, "transactions": message.transactions},
        },
    }


def _colour(message: Message) -> str:
    if isinstance(message, Notice) and message.answer is not Answer.OPEN:
        return ANSWERED[message.answer]
    return COLOURS[message.severity]


def _notice(notice: Notice) -> list[dict[str, Any]]:
    alert = notice.alert
    facts = dict(alert.facts)
    columns = [_plain(f"{label}\n{facts[label]}", _FIELD) for label in _COLUMNS if label in facts]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(notice.title, _HEADER)},
        {"type": "section", "text": _marked(_headline(notice))},
    ]
    if notice.together:
        blocks.append({"type": "section", "text": _plain(notice.together, _SECTION)})
    if alert.why:
        blocks.append({"type": "section", "text": _marked("*Why*")})
        blocks.append({"type": "section", "text": _plain("\n".join(f"• {one}" for one in alert.why), _SECTION)})
    blocks.append({"type": "section", "fields": columns})
    if alert.degraded:
        blocks.append({"type": "section", "text": _plain(f"⚠ {alert.degraded}", _SECTION)})
    if notice.standing:
        blocks.append({"type": "section", "text": _plain(f"✔ {notice.standing}", _SECTION)})
    if actions := _actions(notice):
        blocks.append({"type": "actions", "block_id": "alert_actions", "elements": actions})
    return [*blocks, {"type": "context", "elements": [_plain(_origin(notice), _FIELD), _marked(_date(notice.last_at))]}]


def _headline(notice: Notice) -> str:
    """
    Our own words and numbers; nothing from outside stands where Slack reads markup, but the card's last four.
    """
    alert = notice.alert
    card = f" · card `{fit(alert.card, 20)}`" if alert.card else ""
    latest = "" if notice.transactions == 1 else " (the latest)"
    return f"*{fit(alert.amount, 60)}*{latest}{card} · score *{alert.score:.2f}* · {notice.severity.value}"


def _origin(notice: Notice) -> str:
    alert = notice.alert
    versions = [f"rules {alert.rule_set}" if alert.rule_set else "", f"model {alert.model}" if alert.model else ""]
    before = f"follows {notice.previous}" if notice.previous else ""
    return " · ".join(part for part in (alert.transaction_id, notice.alert_id, *versions, before) if part)


def _actions(notice: Notice) -> list[dict[str, Any]]:
    elements: list[dict[str, Any]] = []
    if notice.buttons and notice.answer is not Answer.OPEN:
        elements.append(_button(UNDO, "Undo", notice, f"Take back that it was marked {notice.answer.value}?"))
    elif notice.buttons:
        counted = "this payment" if notice.transactions == 1 else f"all {notice.transactions:,} payments"
        elements.append(_button(FRAUD, "Fraud", notice, f"Label {counted} as fraud?", style="danger"))
        elements.append(_button(LEGITIMATE, "Legitimate", notice, f"Label {counted} as legitimate?", style="primary"))
        if not notice.snoozed_by and notice.alert.rule_ids:
            words = f"Snooze this rule for {notice.subject} {SNOOZE_HOURS} h"
            elements.append(_button(SNOOZE, words, notice, "Decisions stay as they are; nobody is told of them until then."))
    if notice.case_url:
        elements.append(
            {"type": "button", "action_id": "open_case", "text": _plain("Open case", _BUTTON), "url": notice.case_url}
        )
    if notice.runbook_url:
        elements.append(
            {"type": "button", "action_id": "open_runbook", "text": _plain("Runbook", _BUTTON), "url": notice.runbook_url}
        )
    return elements


def _button(action: str, words: str, notice: Notice, asked: str, *, style: str = "") -> dict[str, Any]:
    return {
        "type": "button",
        "action_id": action,
        "text": _plain(words, _BUTTON),
        # No card data: who reads the request learns which alert is meant, and nothing about a payment.
        "value": json.dumps({"v": 1, "alert": notice.alert_id}),
        **({"style": style} if style else {}),
        "confirm": {
            "title": _plain("Are you sure?", 100),
            "text": _plain(asked, 300),
            "confirm": _plain("Yes", 30),
            "deny": _plain("No", 30),
        },
    }


def _digest(digest: Digest) -> list[dict[str, Any]]:
    counted = f"*{digest.transactions:,}* payments in *{digest.groups:,}* alerts · {fit(' + '.join(digest.value), 200)}"
    lines = "\n".join(f"{place}. {_line(one)}" for place, one in enumerate(digest.top, 1))
    tables = [
        _plain("\n".join([title, *(f"{name}: {count:,}" for name, count in rows)]), _FIELD)
        for title, rows in (("By kind", digest.families), ("By merchant", digest.merchants))
        if rows
    ]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(digest.title, _HEADER)},
        {"type": "section", "text": _marked(counted)},
    ]
    if lines:
        blocks.append({"type": "section", "text": _marked("*Highest amounts*")})
        blocks.append({"type": "section", "text": _plain(lines, _SECTION)})
    if tables:
        blocks.append({"type": "section", "fields": tables})
    if digest.snoozes:
        blocks.append({"type": "section", "text": _plain(f"Snoozed: {'; '.join(digest.snoozes)}", _SECTION)})
    if digest.overview_url:
        button = {
            "type": "button",
            "action_id": "open_overview",
            "text": _plain("Open overview", _BUTTON),
            "url": digest.overview_url,
        }
        blocks.append({"type": "actions", "elements": [button]})
    note = f"{digest.alert_id} · each alert is kept: fraudstream alerts show ID"
    return [*blocks, {"type": "context", "elements": [_plain(note, _FIELD), _marked(_date(digest.last_at))]}]


def _line(one: FoldedGroup) -> str:
    counted = "" if one.transactions == 1 else f", {one.transactions:,} payments"
    return f"{one.title[:120]}: {' + '.join(one.value)[:60]}{counted} ({one.alert_id})"


def _date(moment: datetime) -> str:
    """
    Let Slack write a time in the reader's own zone; the words after the bar are for clients that cannot.
    """
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} {{time_secs}}|{moment:%Y-%m-%d %H:%M:%S} UTC>"


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
