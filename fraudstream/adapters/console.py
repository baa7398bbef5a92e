"""
Alerts to a stream of text: the channel that needs no account.
"""

import asyncio
from typing import TextIO

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fraudstream.domain.alert import Alert, Severity
from fraudstream.domain.errors import AlertFailed

_NAME = "console"
_STYLES: dict[Severity, str] = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


class ConsoleAlertChannel:
    """
    Write each alert: one line into a pipe or file, a panel on a terminal.

    Args:
        stream: Where to; it stays open.
        width: Of the panel, in characters; None takes the terminal's.
    """

    def __init__(self, stream: TextIO, *, width: int | None = None) -> None:
        self._stream = stream
        self._width = width
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        """
        The name of the channel in metrics and in the outbox.
        """
        return _NAME

    async def send(self, alert: Alert) -> None:
        """
        Write one alert; see ``AlertChannel``. A reader that went away is a permanent failure.
        """
        async with self._turn:
            try:
                # In a thread: a full pipe blocks the writer, and must not block the loop.
                await asyncio.to_thread(self._write, alert)
            except (OSError, ValueError) as exc:
                raise AlertFailed(_NAME, f"the stream cannot be written: {type(exc).__name__}", permanent=True) from exc

    async def close(self) -> None:
        """
        Nothing of ours is open.
        """

    def _write(self, alert: Alert) -> None:
        if self._stream.isatty():
            Console(file=self._stream, width=self._width, highlight=False, emoji=False).print(_panel(alert))
        else:
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(line(alert).encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()


def line(alert: Alert) -> str:
    """
    Return an alert as one line.
    """
    why = f" · why: {'; '.join(alert.why)}" if alert.why else ""
    return f"{alert.severity.value.upper():<8} {alert.summary}{why}"


def _panel(alert: Alert) -> Panel:
    style = _STYLES[alert.severity]
    facts = Table.grid(padding=(0, 2))
    for label, value in alert.facts:
        facts.add_row(Text(label, style="dim"), Text(value))
    parts: list[Text | Table] = [Text(f"• {reason}") for reason in alert.why]
    if alert.degraded:
        parts.append(Text(alert.degraded, style="italic"))
    title = Text(f"{alert.severity.value.upper()}  {alert.title}", style=style)
    return Panel(Group(*parts, facts), title=title, title_align="left", border_style=style, expand=False)
