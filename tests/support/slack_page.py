"""
A message of Slack drawn as a web page, so that people can look at it: what Block Kit's own builder shows, without an account.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape, unescape
from typing import Any

_STYLE = """
body { margin: 0; background: #ffffff; color: #1d1c1d; font: 15px/1.46 Lato, "Helvetica Neue", Arial, sans-serif; }
.channel { padding: 12px 20px; border-bottom: 1px solid #dddddd; font-weight: 700; font-size: 18px; }
.message { display: grid; grid-template-columns: 36px 1fr; gap: 8px; padding: 12px 20px; width: 700px; }
.reply { margin-left: 44px; padding-top: 4px; }
.face { width: 36px; height: 36px; border-radius: 4px; background: #4a154b; color: #fff; }
.face { text-align: center; line-height: 36px; font-weight: 700; }
.name { font-weight: 900; }
.app { margin: 0 4px; padding: 1px 3px; border-radius: 2px; background: #e8e8e8; color: #616061; font: 700 10px Arial; }
.time { color: #616061; font-size: 12px; font-weight: 400; } .edited { color: #868686; font-size: 13px; }
.attachment { display: grid; grid-template-columns: 4px 1fr; gap: 12px; margin-top: 4px; }
.bar { border-radius: 8px; } .block { margin: 3px 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.header { font-size: 18px; font-weight: 900; line-height: 1.33; }
.fields { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 16px; }
.actions { display: flex; flex-wrap: wrap; gap: 8px; white-space: normal; }
.button { padding: 0 12px; border: 1px solid #bbbabb; border-radius: 4px; }
.button { font-weight: 700; font-size: 13px; line-height: 28px; }
.danger { border-color: #e01e5a; color: #e01e5a; } .primary { border-color: #007a5a; background: #007a5a; color: #fff; }
.context { color: #616061; font-size: 13px; display: flex; flex-wrap: wrap; gap: 4px 12px; }
code { padding: 2px 3px; border: 1px solid #dddddd; border-radius: 3px; background: #f8f8f8; color: #e01e5a; font-size: 12px; }
"""


def slack_page(channel: str, messages: Sequence[Mapping[str, Any]]) -> str:
    """
    Return a page with messages as they stand in a channel; one with ``thread_ts`` is drawn as a reply under the one before.
    """
    drawn = "".join(_message(message) for message in messages)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(channel)}</title><style>{_STYLE}</style>'
        f'<div class="channel">{escape(channel)}</div>{drawn}</html>'
    )


def _message(message: Mapping[str, Any]) -> str:
    reply = " reply" if "thread_ts" in message else ""
    inside = "".join(_attachment(one) for one in message.get("attachments", ()))
    # Where there are blocks, the text is only what a notification shows.
    text = "" if inside else f'<div class="block">{_plain(message["text"])}</div>'
    edited = ' <span class="edited">(edited)</span>' if message.get("edited") else ""
    at = escape(message.get("at", "12:00 PM"))
    return (
        f'<div class="message{reply}"><div class="face">F</div><div><span class="name">fraudstream</span>'
        f'<span class="app">APP</span> <span class="time">{at}</span>{edited}{text}{inside}</div></div>'
    )


def _attachment(attachment: Mapping[str, Any]) -> str:
    blocks = "".join(_blocks(attachment["blocks"]))
    return f'<div class="attachment"><div class="bar" style="background:{attachment["color"]}"></div><div>{blocks}</div></div>'


def _blocks(blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for block in blocks:
        match block["type"]:
            case "header":
                yield f'<div class="block header">{_text(block["text"])}</div>'
            case "section":
                if "text" in block:
                    yield f'<div class="block">{_text(block["text"])}</div>'
                if "fields" in block:
                    yield f'<div class="block fields">{"".join(f"<div>{_text(one)}</div>" for one in block["fields"])}</div>'
            case "actions":
                buttons = "".join(
                    f'<span class="button {one.get("style", "")}">{_text(one["text"])}</span>' for one in block["elements"]
                )
                yield f'<div class="block actions">{buttons}</div>'
            case "context":
                yield f'<div class="block context">{"".join(f"<span>{_text(one)}</span>" for one in block["elements"])}</div>'
            case other:
                raise ValueError(f"no drawing for a block {other!r}")


def _text(text: Mapping[str, Any]) -> str:
    return _plain(text["text"]) if text["type"] == "plain_text" else _marked(text["text"])


def _plain(text: str) -> str:
    """
    Slack undoes its three escapes and shows the rest as it is.
    """
    return escape(unescape(text))


def _marked(text: str) -> str:
    """
    The part of mrkdwn that we write: bold, code, dates.
    """
    dated = re.sub(r"<!date\^(\d+)\^[^|>]*\|[^>]*>", lambda found: _date(int(found[1])), text)
    coded = re.sub(r"`([^`]+)`", r"<code>\1</code>", _plain(dated))
    return re.sub(r"\*([^*]+)\*", r"<b>\1</b>", coded)


def _date(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%b %d, %Y %H:%M:%S}"
