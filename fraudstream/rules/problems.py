"""
What is wrong with a rule file, all of it at once: place, caret, and what to do about it.
"""

from collections.abc import Iterable
from difflib import get_close_matches

import msgspec

from fraudstream.domain.errors import InvalidRule

#: How many problems one error shows; after these a reader fixes and tries again.
SHOWN = 20


class Problem(msgspec.Struct, frozen=True, order=True):
    """
    One fault: ``at`` and ``length`` are the characters of the source that it is about, ``hint`` what to do.
    """

    at: int
    length: int
    message: str
    hint: str = ""


class Refused(Exception):
    """
    Ends the reading of one statement; the reader notes the problem and goes on with the next statement.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class Problems:
    """
    Collects the problems of one source and shows each with its line.
    """

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._found: list[Problem] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, problem: Problem) -> None:
        """
        Note one problem; the same one twice counts once.
        """
        if problem not in self._found:
            self._found.append(problem)

    def line(self, at: int) -> int:
        """
        Return the line of a character, counted from 1.
        """
        return self._text.count("\n", 0, at) + 1

    def show(self, problem: Problem) -> str:
        """
        Write one problem for people: place, line, caret, hint.
        """
        start = self._text.rfind("\n", 0, problem.at) + 1
        end = self._text.find("\n", problem.at)
        line = self._text[start : end if end >= 0 else len(self._text)]
        column = problem.at - start
        number = str(self.line(problem.at))
        margin = " " * len(number)
        under = "".join("\t" if character == "\t" else " " for character in line[:column])
        carets = "^" * max(1, min(problem.length, len(line) - column))
        place = f"{self._name}:{number}:{column + 1}"
        shown = [f"{place}: {problem.message}", f"  {number} | {line}", f"  {margin} | {under}{carets}"]
        if problem.hint:
            shown.append(f"  {margin} = {problem.hint}")
        return "\n".join(shown)

    def raise_if_any(self) -> None:
        """
        Do nothing when all is well.

        Raises:
            InvalidRule: Names every problem (the first 20 in full), in the order of the source.
        """
        if not self._found:
            return
        found = sorted(self._found)
        shown = [self.show(problem) for problem in found[:SHOWN]]
        if len(found) > SHOWN:
            shown.append(f"and {len(found) - SHOWN} more problems")
        raise InvalidRule("\n".join(shown), [self._place(problem) for problem in found])

    def _place(self, problem: Problem) -> tuple[int, int, str, str]:
        column = problem.at - (self._text.rfind("\n", 0, problem.at) + 1) + 1
        return self.line(problem.at), column, problem.message, problem.hint


def did_you_mean(word: str, known: Iterable[str], form: str = "{}") -> str:
    """
    Return a hint that names the nearest known words, each written as ``form``; empty when none is near.
    """
    near = get_close_matches(word, list(known), n=3, cutoff=0.6)
    if not near:
        return ""
    return "did you mean " + " or ".join(form.format(name) for name in near) + "?"
