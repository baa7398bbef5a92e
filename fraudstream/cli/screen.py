"""
How looks at a system are printed: plain columns that fit a screen and a pipe, colour only on a terminal that wants it.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}
#: Clears a terminal and goes to its top.
_CLEAR = "\x1b[2J\x1b[H"


def coloured() -> bool:
    """
    Say whether to use colours on standard output.
    """
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def clear() -> None:
    """
    Make room for the next look, on a terminal; elsewhere looks follow each other.
    """
    if sys.stdout.isatty():
        sys.stdout.write(_CLEAR)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """
    Return columns under a head; numbers to the right, the rest to the left.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[at], int | float) for row in rows) for at in range(len(head))]
    return "\n".join(_line(line, widths, right) for line in [head, *cells])


def _cell(value: Any) -> str:
    if value is None:
        return "?"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(cells, widths, right, strict=True)]
    return "  ".join(padded).rstrip()


def finding_lines(finding: Any) -> str:
    """
    Return one finding as lines: level, what about, what it is, and the command under it.
    """
    level = finding.level.value
    word = "FAIL" if level == "fail" else level
    shown = typer.style(word.ljust(4), fg=_COLOURS[level]) if coloured() else word.ljust(4)
    says = finding.says.replace("\n", f"\n{' ' * 6}")
    lines = [f"{shown}  {finding.about}: {says}"]
    if finding.command:
        lines.append(f"{' ' * 6}-> {finding.command}")
    return "\n".join(lines)


def headline(text: str, *, good: bool) -> str:
    """
    Return the first line of a screen.
    """
    return typer.style(text, fg=_COLOURS["ok" if good else "fail"], bold=True) if coloured() else text
