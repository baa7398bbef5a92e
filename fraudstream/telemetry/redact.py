"""
The one redactor: what must not be read in logs, alerts or exports is taken out here, last of all.

Card numbers come from ``domain.masking``, what an address looks like and which words are tokens from ``domain.tokens``; this
module adds credentials, and what a field's name tells. Everything that is not plain JSON becomes text here, before it is
scrubbed, and never after.
"""

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any

from fraudstream.domain.masking import has_card_number, is_card_number_id, mask_cards
from fraudstream.domain.tokens import EMAIL, PHONE, TOKEN

#: Longest text of one value, in characters. The cut comes after the scrub: before it, it could leave 12 digits of a card.
MAX_TEXT = 4096
#: How deep a value is looked into; below stands ``[DEPTH]``.
MAX_DEPTH = 6
#: How many items of one list or mapping are kept: a line is for reading.
MAX_ITEMS = 100

#: Names whose value never comes out, whatever it is.
_DROP_NAMES = (
    "cvv cvc cvv2 cvc2 cav2 cvn cid card_verification security_code magstripe "
    "pin pin_block track track1 track2 track_data pan card_number authorization proxy_authorization "
    "cookie set_cookie password passwd secret token api_key x_api_key slack_token bot_token access_token dsn signature"
)
#: Names whose value keeps its first character. Not a bare ``name``: it would hide the functions of a traceback.
_MASK_NAMES = (
    "cardholder cardholder_name customer_name first_name last_name full_name email phone phone_number ip ip_address address "
    "device_fingerprint"
)
#: Names of our own whose values look like card numbers by chance: one number in ten passes the check.
_SAFE_NAMES = (
    "timestamp level logger event_id stream_id entry_id trace_id worker group attempt duration_ms amount_minor count "
    "occurred_at_ms received_at_ms decided_at_ms now_ms due_ms"
)
#: Too short to mean the same as an ending: ``card_token`` is what we want people to send.
_NOT_AS_ENDING = "cid pin pan track token signature"
_DROP = frozenset(_DROP_NAMES.split())
_MASK = frozenset(_MASK_NAMES.split())
_SAFE = frozenset(_SAFE_NAMES.split())
_DROP_ENDINGS = tuple(f"_{name}" for name in sorted(_DROP.difference(_NOT_AS_ENDING.split())))
_MASK_ENDINGS = tuple(f"_{name}" for name in sorted(_MASK))
_ID = "transaction_id"

_THIRTEEN_DIGITS = re.compile(r"[0-9](?:[ -]?[0-9]){12}")
#: An id of Redis Streams (milliseconds since 1970, a counter), or a time as the logs write it.
_TIME = re.compile(r"[12][0-9]{12}-[0-9]{1,6}|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z")
#: The password in ``redis://user:password@host``; greedy, because a password may hold an ``@`` itself.
_URL_PASSWORD = re.compile(r"(://[^\s/:@]*:)[^\s/]+@")
_SLACK_TOKEN = re.compile(r"\bx(?:ox[a-z]|app)-[A-Za-z0-9-]+")
_SLACK_HOOK = re.compile(r"(hooks\.slack(?:-gov)?\.com/)[^\s\"']+")
#: ``cvv=123`` and ``'cvv': '123'`` inside a text, as the ``repr`` of an object writes them: the sign, the name before it,
#: the value after it.
_IS = re.compile(r"[=:]\s?")
_LAST_WORD = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)['\"]?\s?\Z")
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|(?:Bearer |Basic )?[^\s,;&)\]}]+")
#: Longest name that is looked for in a text.
_MAX_NAME = 40


#: What a field's name says of its value; plain integers, because every value of every line asks.
_OTHER, _SAFE_NAME, _ID_NAME, _MASK_NAME, _DROP_NAME = range(5)


@lru_cache(maxsize=4096)
def _name(key: str) -> int:
    name = key.lower().replace("-", "_")
    if name in _DROP or name.endswith(_DROP_ENDINGS):
        return _DROP_NAME
    if name in _MASK or name.endswith(_MASK_ENDINGS):
        return _MASK_NAME
    if name == _ID:
        return _ID_NAME
    return _SAFE_NAME if name in _SAFE else _OTHER


#: Short texts that were looked through and held nothing: names of events, workers and rules come again in every line. What held
#: something is not kept, so that no secret stays in memory.
_clean: set[str] = set()
_SHORT, _MOST_CLEAN = 64, 4096


def scrub(text: str) -> str:
    """
    Return a text without card numbers, e-mail addresses, phone numbers and credentials.

    A card becomes ``[PAN *1234]``, an address ``j***@example.com``, a phone number ``+33***78``, a credential ``[REDACTED]``.

    Example:
        >>> scrub("jane.doe@example.com paid with 4111 1111 1111 1111, cvv=123")
        'j***@example.com paid with [PAN *1111], cvv=[REDACTED]'
    """
    if text in _clean:
        return text
    scrubbed = _scrubbed(text)
    if scrubbed == text and len(text) <= _SHORT:
        if len(_clean) >= _MOST_CLEAN:
            _clean.clear()
        _clean.add(text)
    return scrubbed


def _scrubbed(text: str) -> str:
    if not text.isascii():
        # A lone surrogate cannot be written as UTF-8, and a digit of another script is a digit to the reader.
        text = _plain_digits(text.encode("utf-8", "backslashreplace").decode())
    if "://" in text:
        text = _URL_PASSWORD.sub(r"\1[REDACTED]@", text)
    if "@" in text:
        text = EMAIL.sub(_hidden_address, text)
    if len(text) >= 13 and _THIRTEEN_DIGITS.search(text) is not None:
        text = mask_cards(text)
    if "+" in text:
        text = PHONE.sub(lambda match: f"{match[0][:3]}***{match[0][-2:]}", text)
    if "=" in text or ":" in text:
        # After the numbers: a name hides one word, and a card number in groups is four of them.
        text = _scrub_named(text)
    if "xox" in text or "xapp" in text:
        text = _SLACK_TOKEN.sub("[REDACTED]", text)
    if "hooks.slack" in text:
        text = _SLACK_HOOK.sub(r"\1[REDACTED]", text)
    return text


def _hidden_address(match: re.Match[str]) -> str:
    return match[0] if TOKEN.fullmatch(match[0]) else f"{match[1][0]}***@{match[2]}"


def _plain_digits(text: str) -> str:
    if not any(character.isdecimal() and not character.isascii() for character in text):
        return text
    return "".join(str(int(c)) if c.isdecimal() else c for c in text)


def _scrub_named(text: str) -> str:
    """
    Hide the values that stand behind a name that says what they are.
    """
    out, at = [], 0
    for sign in _IS.finditer(text):
        start = sign.start()
        word = _LAST_WORD.search(text[max(at, start - _MAX_NAME) : start])
        kind = _OTHER if word is None else _name(word[1])
        value = _VALUE.match(text, sign.end()) if kind >= _MASK_NAME else None
        if value is not None:
            out += [text[at : sign.end()], _hidden(kind, value[0])]
            at = value.end()
    return "".join([*out, text[at:]]) if out else text


def _hidden(kind: int, value: str) -> str:
    quote = value[0] if value[0] in "'\"" else ""
    inner = value.strip(quote) if quote else value
    if kind == _DROP_NAME:
        return f"{quote}[REDACTED]{quote}"
    # None and empty values say nothing of anybody.
    return value if inner in ("", "None", "null") else f"{quote}{inner[:1]}***{quote}"


def redact_value(key: str, value: Any, depth: int = 0) -> Any:
    """
    Return a value as JSON that may be read by anybody, given the name it stands under.

    Args:
        key: Name of the field; an inner mapping brings its own.
        value: Anything; what JSON does not know becomes its ``repr``.
        depth: How deep the value already stands.
    """
    kind = _name(key)
    if kind == _MASK_NAME and isinstance(value, str) and TOKEN.fullmatch(value) is not None:
        kind = _OTHER  # it says of nobody who it was
    if kind >= _MASK_NAME and value is not None:
        return "[REDACTED]" if kind == _DROP_NAME else f"{scrub(str(value))[:1]}***"
    if isinstance(value, str):
        return _redact_text(kind, value)
    if value is None or value is True or value is False:
        return value
    if isinstance(value, float):
        return value if -1e12 < value < 1e12 or not has_card_number(f"{value:f}") else scrub(f"{value:f}")
    if isinstance(value, int):
        return value if -(10**12) < value < 10**12 else _redact_int(kind, value)
    return _redact_other(key, value, depth)


def _redact_text(kind: int, text: str) -> str:
    if kind == _SAFE_NAME and (len(text) < 13 or _TIME.fullmatch(text) is not None):
        return text
    if kind == _ID_NAME and text.isdecimal() and text.isascii():
        return mask_cards(text) if is_card_number_id(text) else text
    text = scrub(text)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _redact_int(kind: int, number: int) -> int | str:
    if kind == _SAFE_NAME and number < 2 * 10**12:
        return number  # milliseconds since 1970; cards of 13 digits begin with a 4
    if number.bit_length() > 256:
        return f"<integer of {number.bit_length()} bits>"
    text = str(number)
    if has_card_number(text):
        return mask_cards(text)
    return number if -(2**63) <= number < 2**63 else text  # JSON readers know no larger ones


def _redact_other(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if depth >= MAX_DEPTH and isinstance(value, Mapping | list | tuple | set | frozenset):
        return "[DEPTH]"
    if isinstance(value, Mapping):
        some = list(value.items())[:MAX_ITEMS]
        return {scrub(str(k))[:MAX_TEXT]: redact_value(str(k), v, depth + 1) for k, v in some} | _more(len(value))
    if isinstance(value, list | tuple | set | frozenset):
        items = [redact_value(key, item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        return items + list(_more(len(value)))
    return _redact_text(_OTHER, _text_of(value))


def _more(length: int) -> dict[str, str]:
    return {} if length <= MAX_ITEMS else {f"… {length - MAX_ITEMS} more": ""}


def _text_of(value: object) -> str:
    try:
        return repr(value)
    except Exception as exc:  # noqa: BLE001 - a broken __repr__ must not cost us the line that reports it
        return f"<{type(value).__name__}, not printable: {type(exc).__name__}>"


def _known(items: list[Any]) -> bool:
    for item in items:  # noqa: SIM110 -- a generator costs more than the list
        if type(item) is not str or item not in _clean:
            return False
    return True


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """
    Redact one log event: the last processor before the renderer (structlog's signature).
    """
    redacted: dict[str, Any] = {}
    for key, value in event.items():
        kind, type_ = _name(key), type(value)
        name = key if len(key) < 13 else scrub(key)
        # Most values of most lines: short texts that are known, small numbers, and lists of such texts.
        if kind < _MASK_NAME and (
            (type_ is str and value in _clean)
            or ((type_ is int or type_ is float) and -1e12 < value < 1e12)
            or type_ is bool
            or (type_ is list and len(value) <= MAX_ITEMS and _known(value))
        ):
            redacted[name] = value
        else:
            redacted[name] = redact_value(key, value)
    return redacted
