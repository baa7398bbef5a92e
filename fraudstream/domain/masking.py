"""
Find and mask clear card numbers in text that nobody has parsed yet.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

#: Most digits of a card number.
CARD_DIGITS = 19
#: Blanks and dashes that people and word processors put between groups of digits.
_BETWEEN = "[ \u00a0\u2000-\u200a\u202f\u3000\u2010-\u2015\u2212\ufe58\ufe63\uff0d-]"
#: A run of at least thirteen digits, of any script, in which single blanks or dashes may stand between digits.
CARD_RUN = re.compile(rf"\d(?:{_BETWEEN}?\d){{12,}}")
#: The same over ASCII bytes: the quick look that every body gets before anything else is tried.
CARD_RUN_BYTES = re.compile(rb"[0-9](?:[ -]?[0-9]){12}")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_SEPARATORS = re.compile(f"({_BETWEEN})")
#: Amex, Visa, Mastercard, Discover, JCB, Diners Club, UnionPay: the schemes whose card numbers have 15 or 16 digits.
_ISSUER_PREFIXES = "34 37 4 51 52 53 54 55 22 23 24 25 26 27 6011 64 65 35 36 38 39 62"
_ISSUERS = tuple(_ISSUER_PREFIXES.split())


#: What must never be kept after authorisation, not even encrypted (PCI DSS 3.3.1): verification codes, PINs, tracks.
_SENSITIVE_NAMES = (
    "cvv cvc cvv2 cvc2 cav2 cvn cardverification securitycode pin pinblock track track1 track2 trackdata magstripe"
)
_SENSITIVE = frozenset(_SENSITIVE_NAMES.split())
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
#: Tracks one and two of a magnetic stripe (ISO/IEC 7813), wherever they stand.
_TRACK = re.compile(r"%?[A-Z][0-9]{12,19}\^[^\^\n]{2,26}\^[0-9]{4,}[^?\s\"]*\??|;?[0-9]{12,19}=[0-9]{4,}\??")
HIDDEN = "[REDACTED]"

#: Every digit, blank and dash becomes 1, all else 0: a card number needs thirteen of them in a row. A quarter of the time that
#: the pattern takes, which only bodies with such a row get to see.
_OF_CARDS = bytes(0x31 if byte in b"0123456789 -" else 0x30 for byte in range(256))
_ROW = b"1" * 13


def may_hold_card_number(body: bytes) -> bool:
    """
    Say whether thirteen digits stand in a row in plain ASCII bytes, single blanks and dashes passed over.
    """
    return _ROW in body.translate(_OF_CARDS) and CARD_RUN_BYTES.search(body) is not None


def luhn(digits: str) -> bool:
    """
    Say whether a string of decimal digits passes the check of ISO/IEC 7812-1 annex B.
    """
    plain = sum(map(int, digits[-1::-2]))
    return (plain + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


def is_card_number_id(digits: str) -> bool:
    """
    Say whether an all-digit id is a card number: 15 or 16 digits with an issuer's prefix.

    Ids are often plain numbers, and one in ten of them passes Luhn by chance; so more is asked of them than of other text.
    """
    return len(digits) in (15, 16) and digits.startswith(_ISSUERS) and luhn(digits)


def has_card_number(text: str) -> bool:
    """
    Say whether a card number stands in a text, alone, in groups, or beside other groups of digits.

    A run of digits without separators counts as a card only as a whole (13 to 19 digits): a window inside a longer number
    says nothing, one in ten passes Luhn by chance.
    """
    return any(next(_cards(match[0]), None) is not None for match in CARD_RUN.finditer(text))


def _cards(run: str) -> Iterator[tuple[int, int]]:
    """
    Yield the places in a run of digit groups (in group indices, end exclusive) that are card numbers.

    Places may overlap: beside other digits a longer or shifted window passes by chance, and nobody can say which is the card.
    """
    groups = _SEPARATORS.split(run)[::2]
    for start in range(len(groups)):
        digits = ""
        for end in range(start + 1, len(groups) + 1):
            digits += groups[end - 1]
            if len(digits) > CARD_DIGITS:
                break
            if len(digits) >= 13 and luhn(digits):
                yield start, end


def _mask_run(match: re.Match[str]) -> str:
    parts = _SEPARATORS.split(match[0])
    for start, end, certain in reversed(_joined(_cards(match[0]))):
        digits = "".join(parts[2 * start : 2 * end : 2])
        parts[2 * start : 2 * end - 1] = [f"[PAN *{digits[-4:]}]" if certain else "[PAN]"]
    return "".join(parts)


def _joined(places: Iterable[tuple[int, int]]) -> list[tuple[int, int, bool]]:
    """
    Join places that overlap; the last four digits are known (True) only where one place stands alone.
    """
    joined: list[tuple[int, int, bool]] = []
    for start, end in places:
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end), False)
        else:
            joined.append((start, end, True))
    return joined


@lru_cache(maxsize=4096)
def is_sensitive(name: str) -> bool:
    """
    Say whether a field by this name holds what must never be kept: a verification code, a PIN, a track.

    Its last words decide, however they are put together: ``card_cvv``, ``Track 2``, ``pinBlock``. ``track`` must stand alone.
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    endings = {"".join(words[start:]) for start in range(len(words))}
    return not _SENSITIVE.isdisjoint(endings - {"track"} if len(words) > 1 else endings)


def without_sensitive(value: Any) -> Any:
    """
    Return a JSON value in which every field that must never be kept is hidden, and every text is free of tracks.
    """
    if isinstance(value, dict):
        return {name: HIDDEN if is_sensitive(name) else without_sensitive(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_sensitive(one) for one in value]
    return _TRACK.sub("[TRACK]", value) if isinstance(value, str) and len(value) > 16 else value


def mask_cards(text: str) -> str:
    """
    Replace every card number by ``[PAN *1234]``: the last four digits are all that is kept.

    Where digits beside it make it unsure which four are the last of the card, it becomes ``[PAN]``: a code could be among them.
    """
    if "^" in text or "=" in text:
        text = _TRACK.sub("[TRACK]", text)
    return CARD_RUN.sub(_mask_run, text)
