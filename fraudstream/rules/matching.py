"""
Text patterns without regular expressions: each is linear in the text, or at worst text times pattern.
"""

from collections.abc import Callable

_RUN, _ONE = 0, 1


def like(pattern: str) -> Callable[[str], bool]:
    r"""
    Return a test for a LIKE pattern: ``%`` stands for any run of characters, ``_`` for one, ``\`` takes the next as it is.

    The last ``%`` is the only place that is ever tried again, so that no pattern can blow up.

    Example:
        >>> like("card%_9")("card-test-19")
        True
    """
    wanted = _wanted(pattern)

    def matches(text: str) -> bool:
        at = want = 0
        star, resume = -1, 0
        while at < len(text):
            if want < len(wanted) and wanted[want] == _RUN:
                star, resume = want, at
                want += 1
            elif want < len(wanted) and wanted[want] in (_ONE, text[at]):
                at += 1
                want += 1
            elif star >= 0:
                resume += 1
                at, want = resume, star + 1
            else:
                return False
        return all(part == _RUN for part in wanted[want:])

    return matches


def _wanted(pattern: str) -> list[str | int]:
    """
    Return one item per step of the pattern: any run, any one character, or the character itself.
    """
    wanted: list[str | int] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            wanted.append(next(characters, "\\"))
        else:
            wanted.append({"_": _ONE, "%": _RUN}.get(character, character))
    return wanted


def text_test(op: str, pattern: str) -> Callable[[str], bool]:
    """
    Return the test of one of ``like startswith endswith contains``; all of them tell small letters from capitals.
    """
    match op:
        case "like":
            return like(pattern)
        case "startswith":
            return lambda text: text.startswith(pattern)
        case "endswith":
            return lambda text: text.endswith(pattern)
        case "contains":
            return lambda text: pattern in text
        case _:
            raise ValueError(op)
