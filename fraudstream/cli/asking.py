"""
What the commands about evidence share: who asks, since when, and how answers look.
"""

import getpass
import os
import re
import socket
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

#: Exit code: a confirmation is missing, or something must not be done.
REFUSED = 6

RedisUrl = Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")]
PostgresUrl = Annotated[str | None, typer.Option(help="Address of PostgreSQL or TimescaleDB (POSTGRES_URL).")]
Config = Annotated[str | None, typer.Option(help="TOML file with settings.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Unmask = Annotated[bool, typer.Option("--unmask", help="Show personal data; written to the audit log.")]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)(?:\s+ago)?")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: Widest column of a table, in characters.
_WIDEST = 72


def moment_of(text: str, option: str) -> datetime:
    """
    Read a time: ``30m``, ``1h ago``, ``2026-01-15``, or ISO 8601 with or without an offset (UTC when there is none).

    Raises:
        typer.BadParameter: It is none of them.
    """
    span = _SPAN.fullmatch(text.strip())
    try:
        if span is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: float(span[1])})
        found = datetime.fromisoformat(text.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time; write 30m, 2h, 7d or 2026-01-15T12:00:00Z", param_hint=option) from None


def milliseconds_of(text: str | None, option: str) -> int:
    """
    Return a time in milliseconds since 1970; 0 when none is given.
    """
    return 0 if text is None else max(0, int(moment_of(text, option).timestamp() * 1000))


def who() -> tuple[str, str]:
    """
    Return who runs this command, and from where.
    """
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = f"uid {os.getuid()}"
    return name, f"{socket.gethostname()}, fraudstream {' '.join(sys.argv[1:3])}"[:200]


def confirmed(question: str, *, yes: bool) -> None:
    """
    Ask a person on a terminal; without a terminal ``--yes`` must have been given.

    Raises:
        typer.Exit: 6, when the answer is no or nobody is there to give it.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        typer.echo(f"refused: {question} Nobody is here to ask; give --yes to mean it.", err=True)
        raise typer.Exit(REFUSED)
    if not typer.confirm(question):
        raise typer.Exit(REFUSED)


def columns(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """
    Write rows under a head as aligned columns, each cell on one line.
    """
    lines = [list(head), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _cell(value: Any) -> str:
    text = "".join(character if character.isprintable() else "\ufffd" for character in str(value if value is not None else ""))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def plain_text(value: Any) -> str:
    """
    Return a value as text that cannot move a cursor.
    """
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(value))
