"""
Find and mask clear card numbers in text that nobody has parsed yet.
"""

import re
from collections.abc import Iterator

#: A run of at least thirteen digits in which single blanks or dashes may stand between digits.
CARD_RUN = re.compile(r"[0-9](?:[ -]?[0-9]){12,}")
#: The same over bytes: the quick look that every body gets before anything else is tried.
CARD_RUN_BYTES = re.compile(rb"[0-9](?:[ -]?[0-9]){12}")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_SEPARATORS = re.compile(r"([ -])")


def luhn(digits: str) -> bool:
    """
    Say whether a string of decimal digits passes the check of ISO/IEC 7812-1 annex B.
    """
    plain = sum(map(int, digits[-1::-2]))
    return (plain + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])) % 10 == 0


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
    """
    groups = _SEPARATORS.split(run)[::2]
    start = 0
    while start < len(groups):
        for end in range(len(groups), start, -1):
            digits = "".join(groups[start:end])
            if 13 <= len(digits) <= 19 and luhn(digits):
                yield start, end
                start = end - 1
                break
        start += 1


def _mask_run(match: re.Match[str]) -> str:
    parts = _SEPARATORS.split(match[0])
    for start, end in reversed(list(_cards(match[0]))):
        digits = "".join(parts[2 * start : 2 * end : 2])
        parts[2 * start : 2 * end - 1] = [f"[PAN *{digits[-4:]}]"]
    return "".join(parts)


def mask_cards(text: str) -> str:
    """
    Replace every card number by ``[PAN *1234]``: the last four digits are all that is kept.
    """
    return CARD_RUN.sub(_mask_run, text)
