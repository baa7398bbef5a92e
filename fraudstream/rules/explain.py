"""
Why a rule fired: its condition as it was written, with the values that made it true, personal ones masked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.currency import format_minor
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.instants import moment_text
from fraudstream.rules.lexer import Token, TokenKind
from fraudstream.rules.lists import email_domain, read_address
from fraudstream.rules.syntax import Arithmetic as WrittenArithmetic
from fraudstream.rules.syntax import Attribute as Written
from fraudstream.rules.syntax import (
    Call,
    Comparison,
    Expression,
    Inversion,
    Logical,
    Membership,
    Negation,
    TextTest,
)
from fraudstream.rules.vocabulary import NUMBER_FIELDS, PERSONAL, TEXT_FIELDS, Attribute, Kind

#: Longest text value that is shown, in characters.
SHOWN_CHARACTERS = 64
_MISSING = "missing"

Explain = Callable[[Transaction, NDArray[np.float32]], str]


def build_explain(text: str, tokens: Sequence[Token], condition: Expression, known: Mapping[str, Attribute]) -> Explain:
    """
    Return a function that writes the condition with the values of one transaction.

    Strings that a personal field is compared with are hidden too: where the rule fired, they say what the field holds.
    """
    hidden = list(_personal_spans(condition))
    parts: list[str | Explain] = []
    before: Token | None = None
    for token in tokens:
        if before is not None and before.end < token.at:
            parts.append(" ")
        secret = token.kind is TokenKind.STRING and any(at <= token.at < end for at, end in hidden)
        parts.append("'…'" if secret else text[token.at : token.end])
        if token.kind is TokenKind.ATTRIBUTE:
            parts.extend(("[", _shower(token.text, known[token.text]), "]"))
        before = token
    return _joined(parts)


def _joined(parts: Sequence[str | Explain]) -> Explain:
    # One template filled in one go: the quickest way that Python has.
    template = "".join([part.replace("%", "%%") if isinstance(part, str) else "%s" for part in parts])
    showers = [part for part in parts if not isinstance(part, str)]

    def explain(transaction: Transaction, features: NDArray[np.float32]) -> str:
        return template % tuple([show(transaction, features) for show in showers])

    return explain


def _personal_spans(node: Expression) -> Iterator[tuple[int, int]]:
    match node:
        case Inversion():
            yield from _personal_spans(node.operand)
        case Logical():
            for operand in node.operands:
                yield from _personal_spans(operand)
        case Comparison() if _personal(node.left) or _personal(node.right):
            yield node.at, node.end
        case TextTest() if _personal(node.value):
            yield node.at, node.end
        case Membership(op="in") if _personal(node.value):
            yield node.at, node.end
        case _:
            return


def _personal(node: Expression) -> bool:
    match node:
        case Written():
            return node.name in PERSONAL
        case Negation():
            return _personal(node.operand)
        case WrittenArithmetic():
            return _personal(node.left) or _personal(node.right)
        case Call():
            # The domain of an address is a provider, its length nobody's.
            return node.function not in ("domain", "length") and any(map(_personal, node.arguments))
        case _:
            return False


def _shower(name: str, attribute: Attribute) -> Explain:
    """
    Return how the value of one attribute is shown.
    """
    if attribute.column is not None:
        column = attribute.column
        return lambda _, features: show_number(float(features[column]))
    if attribute.kind is Kind.TEXT:
        text = TEXT_FIELDS[attribute.name]
        show = _masker(name) if name in PERSONAL else show_text
        return lambda transaction, _: _MISSING if (value := text(transaction)) is None else show(value)
    number = NUMBER_FIELDS[attribute.name]
    if attribute.kind is Kind.MONEY:
        return lambda transaction, _: _show_money(number(transaction), transaction.currency)
    if attribute.kind is Kind.TIME:
        return lambda transaction, _: moment_text(transaction.occurred_at_ms)
    # Places are shown to a tenth of a degree, some eleven kilometres.
    digits = 1 if name in PERSONAL else None
    return lambda transaction, _: show_number(number(transaction), digits)


def show_number(value: float | None, digits: int | None = None) -> str:
    """
    Write a number for people: whole ones in full, others with six significant digits, or ``digits`` behind the point.
    """
    if value is None or not isfinite(value):
        return _MISSING
    if digits is not None:
        return f"{value:.{digits}f}"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}"


def _show_money(minor: float | None, currency: str) -> str:
    return _MISSING if minor is None else format_minor(int(minor), currency)


def show_text(value: str) -> str:
    """
    Write a text in quotes, cut to 64 characters, without anything that would move a cursor.
    """
    cut = value if len(value) <= SHOWN_CHARACTERS else value[: SHOWN_CHARACTERS - 1] + "…"
    if not cut.isprintable():
        cut = "".join(character if character.isprintable() else "\ufffd" for character in cut)
    return f"'{cut}'"


def _masker(name: str) -> Callable[[str], str]:
    return {"email": mask_email, "ip": mask_address}.get(name, mask_identifier)


def mask_identifier(value: str) -> str:
    """
    Keep the last four characters of an identifier, fewer when it is short: never more than a third.
    """
    kept = min(4, len(value) // 3)
    return show_text("***" + (value[-kept:] if kept else ""))


def mask_email(value: str) -> str:
    """
    Keep the domain of an e-mail address.
    """
    domain = email_domain(value)
    return show_text("***" if domain is None else f"***@{domain}")


def mask_address(value: str) -> str:
    """
    Keep the network of an internet address: 24 bits of version 4, 48 of version 6.
    """
    address = read_address(value)
    if address is None:
        return "'***'"
    version, number = address
    if version == 4:
        return "'" + ".".join(str(number >> shift & 255) for shift in (24, 16, 8)) + ".*'"
    return "'" + ":".join(f"{number >> shift & 0xFFFF:x}" for shift in (112, 96, 80)) + ":*'"
