"""
The limits that Slack documents for a message of blocks, checked before Slack does: it would refuse the whole message.

The SDK's own check passes some of what Slack refuses, for example a button's text of 76 characters.

References:
    docs.slack.dev/reference/block-kit (blocks, button element, composition objects) and methods/chat.postMessage.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Longest texts in characters, by where they stand; most of a kind.
_TEXT, _HEADER, _FIELD, _FALLBACK = 3000, 150, 2000, 4000
_BLOCKS, _FIELDS, _ACTIONS, _CONTEXT = 50, 10, 25, 10
_BUTTON, _VALUE, _ID, _URL = 75, 2000, 255, 3000
_CONFIRM = {"title": 100, "text": 300, "confirm": 30, "deny": 30}
_KNOWN = ("header", "section", "actions", "context", "divider")


def problems(message: Mapping[str, Any]) -> list[str]:
    """
    Return what Slack would refuse in the arguments of ``chat.postMessage``; nothing, when it would take them.
    """
    return list(_problems(message))


def _problems(message: Mapping[str, Any]) -> Iterator[str]:
    if not message.get("text"):
        yield "text: empty; phones and screen readers would have nothing to show"
    yield from _longer("text", message.get("text", ""), _FALLBACK)
    for number, attachment in enumerate(message.get("attachments", ())):
        yield from _blocks(f"attachments[{number}]", attachment.get("blocks", ()))
    yield from _blocks("blocks", message.get("blocks", ()))


def _blocks(where: str, blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _more(where, blocks, _BLOCKS)
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(ids) != len(set(ids)):
        yield f"{where}: two blocks have the same block_id"
    for number, block in enumerate(blocks):
        yield from _block(f"{where}[{number}]", block)


def _block(where: str, block: Mapping[str, Any]) -> Iterator[str]:
    kind = block.get("type")
    yield from _longer(f"{where}.block_id", block.get("block_id", ""), _ID)
    match kind:
        case "header":
            yield from _text(f"{where}.text", block.get("text"), _HEADER, kinds=("plain_text",))
        case "section":
            yield from _section(where, block)
        case "actions":
            yield from _some(where, block.get("elements", ()), _ACTIONS)
            actions = [element.get("action_id") for element in block.get("elements", ())]
            if len(actions) != len(set(actions)):
                yield f"{where}: two elements have the same action_id"
            for number, element in enumerate(block.get("elements", ())):
                yield from _button(f"{where}.elements[{number}]", element)
        case "context":
            yield from _some(where, block.get("elements", ()), _CONTEXT)
            for number, element in enumerate(block.get("elements", ())):
                yield from _text(f"{where}.elements[{number}]", element, _TEXT)
        case _ if kind not in _KNOWN:
            yield f"{where}: no block is called {kind!r}"


def _section(where: str, block: Mapping[str, Any]) -> Iterator[str]:
    if "text" not in block and "fields" not in block:
        yield f"{where}: a section needs text or fields"
    if "text" in block:
        yield from _text(f"{where}.text", block["text"], _TEXT)
    if "fields" in block:
        yield from _some(f"{where}.fields", block["fields"], _FIELDS)
        for number, field in enumerate(block["fields"]):
            yield from _text(f"{where}.fields[{number}]", field, _FIELD)


def _button(where: str, button: Mapping[str, Any]) -> Iterator[str]:
    if button.get("type") != "button":
        yield f"{where}: {button.get('type')!r} is not among our elements"
        return
    yield from _text(f"{where}.text", button.get("text"), _BUTTON, kinds=("plain_text",))
    yield from _longer(f"{where}.value", button.get("value", ""), _VALUE)
    yield from _longer(f"{where}.action_id", button.get("action_id", ""), _ID)
    yield from _longer(f"{where}.url", button.get("url", ""), _URL)
    if button.get("style") not in (None, "primary", "danger"):
        yield f"{where}.style: {button['style']!r} is neither primary nor danger"
    if "confirm" in button:
        for name, longest in _CONFIRM.items():
            yield from _text(f"{where}.confirm.{name}", button["confirm"].get(name), longest)


def _text(
    where: str, text: Mapping[str, Any] | None, longest: int, *, kinds: Sequence[str] = ("plain_text", "mrkdwn")
) -> Iterator[str]:
    if text is None:
        yield f"{where}: missing"
        return
    if text.get("type") not in kinds:
        yield f"{where}: {text.get('type')!r} is not {' or '.join(kinds)}"
    if not text.get("text"):
        yield f"{where}: empty"
    yield from _longer(where, text.get("text", ""), longest)


def _longer(where: str, text: str, longest: int) -> Iterator[str]:
    if len(text) > longest:
        yield f"{where}: {len(text)} characters, {longest} are allowed"


def _more(where: str, things: Sequence[Any], most: int) -> Iterator[str]:
    if len(things) > most:
        yield f"{where}: {len(things)}, {most} are allowed"


def _some(where: str, things: Sequence[Any], most: int) -> Iterator[str]:
    if not things:
        yield f"{where}: empty"
    yield from _more(where, things, most)
