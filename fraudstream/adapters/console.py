"""
Alerts to a stream of text: the channel that needs no account.
"""

import asyncio
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fraudstream.domain.alert import Message, Notice, Severity
from fraudstream.domain.errors import AlertFailed

_NAME = "console"
_STYLES: dict[Severity, str] = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


class ConsoleAlertChannel:
    """
    Write each message: one line into a pipe or file, a panel on a terminal.

    Args:
        stream: Where to; it stays open.
        width: Of the panel, in characters; None takes the terminal's.
    """

    def __init__(self, stream: TextIO, *, width: int | None = None) -> None:
        self._stream = stream
        self._width = width
        self._waiting: list[tuple[Message, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """
        The name of the channel in metrics and in the book.
        """
        return _NAME

    @property
    def threads(self) -> None:
        """
        A line that was written stays as it is.
        """
        return None

    def recipient(self, message: Message) -> str:
        """
        Return the name of the stream.
        """
        return f"{getattr(self._stream, 'name', _NAME)} ({message.severity.value})"

    async def post(self, message: Message) -> str:
        """
        Write one message; see ``AlertChannel``. A reader that went away is a permanent failure.
        """
        await self._send(message)
        return message.alert_id

    async def update(self, message: Message, place: str) -> str:
        """
        Write the message anew; see ``AlertChannel``.
        """
        await self._send(message)
        return place

    async def _send(self, message: Message) -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await written

    async def _write_all(self) -> None:
        """
        Write what waits, and what comes meanwhile, each with an end of its own.
        """
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                # In a thread: a full pipe blocks the writer, and must not block the loop.
                ends = await asyncio.to_thread(self._tried, [message for message, _ in waiting])
                for (_, written), end in zip(waiting, ends, strict=True):
                    if written.done():
                        continue  # who sent it has been cancelled
                    if end is None:
                        written.set_result(None)
                    else:
                        written.set_exception(end)
        finally:
            self._writing = None

    def _tried(self, messages: Sequence[Message]) -> list[Exception | None]:
        """
        Write each message, and return what became of it: None, or why it was not written.
        """
        ends: list[Exception | None] = []
        for message in messages:
            try:
                self._write(message)
            except (OSError, ValueError) as exc:
                detail = f"the stream cannot be written: {type(exc).__name__}"
                ends.append(AlertFailed(_NAME, detail, permanent=True))
            except Exception as exc:  # noqa: BLE001 it is the message's own end, and not that of those behind it
                ends.append(exc)
            else:
                ends.append(None)
        return ends

    async def close(self) -> None:
        """
        Nothing of ours is open.
        """

    def _write(self, message: Message) -> None:
        if self._stream.isatty():
            Console(file=self._stream, width=self._width, highlight=False, emoji=False).print(_panel(message))
        else:
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(line(message).encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()


def line(message: Message) -> str:
    """
    Return a message as one line.
    """
    why = f" · why: {'; '.join(message.alert.why)}" if isinstance(message, Notice) and message.alert.why else ""
    return f"{message.severity.value.upper():<8} {message.summary}{why}"


def _panel(message: Message) -> Panel:
    style = _STYLES[message.severity]
    title = Text(f"{message.severity.value.upper()}  {message.title}", style=style)
    if not isinstance(message, Notice):
        return Panel(Text(message.summary), title=title, title_align="left", border_style=style, expand=False)
    alert = message.alert
    facts = Table.grid(padding=(0, 2))
    for label, value in alert.facts:
        facts.add_row(Text(label, style="dim"), Text(value))
    parts: list[Text | Table] = [Text(f"• {reason}") for reason in alert.why]
    parts += [Text(text, style="italic") for text in (message.together, alert.degraded, message.standing) if text]
    return Panel(Group(*parts, facts), title=title, title_align="left", border_style=style, expand=False)
