"""
Source text to tokens, and the picture of a problem: line, caret, remedy.
"""

import re
from dataclasses import dataclass

from fraudstream.features.syntax import Span

#: Seconds of each unit that a duration may be written in.
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+|\#[^\n]*)
      | (?P<duration>[0-9]+[smhdw]\b)
      | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<text>"[^"\n]*")
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<symbol><=|>=|!=|==|[=<>()+\-*/,.])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """
    One word of the source. ``kind`` is duration, number, text, name, symbol, or end; ``first`` marks the first one of its line.
    """

    kind: str
    text: str
    at: Span
    first: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Something wrong, where it stands, and what to do about it.
    """

    at: Span
    what: str
    remedy: str

    def picture(self, source: str, name: str) -> str:
        """
        Draw the problem for people: file, line and column, the line itself, carets below, the remedy.
        """
        line_start = source.rfind("\n", 0, self.at.start) + 1
        line_end = source.find("\n", line_start)
        line = source[line_start : len(source) if line_end < 0 else line_end].replace("\t", " ").rstrip("\r")
        column = self.at.start - line_start
        carets = "^" * max(1, min(self.at.end - self.at.start, len(line) - column))
        where = f"{name}:{source.count(chr(10), 0, line_start) + 1}:{column + 1}"
        return f"{where}: {self.what}\n    {line}\n    {' ' * column}{carets}\n    {self.remedy}"


def tokens(source: str) -> tuple[list[Token], list[Problem]]:
    """
    Split a source; characters that belong to nothing are skipped and reported.
    """
    found: list[Token] = []
    problems: list[Problem] = []
    place, first = 0, True
    while place < len(source):
        match = _TOKEN.match(source, place)
        if match is None:
            problems.append(_stray(source, place))
            place = _after_stray(source, place)
            continue
        kind = match.lastgroup or ""
        if kind != "blank":
            found.append(Token(kind, match[0], Span(place, match.end()), first))
        first = "\n" in match[0] or (first and kind == "blank")
        place = match.end()
    found.append(Token("end", "the end of the file", Span(len(source), len(source)), first=True))
    return found, problems


def _stray(source: str, place: int) -> Problem:
    if source[place] == '"':
        return Problem(Span(place, place + 1), "this text is not closed", 'end it with " on the same line')
    return Problem(Span(place, place + 1), f"unexpected character {source[place]!r}", "remove it")


def _after_stray(source: str, place: int) -> int:
    if source[place] != '"':
        return place + 1
    end = source.find("\n", place)
    return len(source) if end < 0 else end


def seconds(duration: str) -> int:
    """
    Return the seconds of a duration as it is written, such as ``24h``.
    """
    return int(duration[:-1]) * SECONDS[duration[-1]]
