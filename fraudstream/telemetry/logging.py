"""
How a process writes its log: structlog and the standard library through one chain, with the redactor last.
"""

import logging
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

from fraudstream.telemetry.redact import redact

#: Called with the level of every line that is written; feeds ``fraudstream_log_messages_total``.
CountLine = Callable[[str], None]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
#: Libraries that tell too much below this: they never speak under INFO, whatever our own level is.
_VENDORS = ("aiohttp", "aiosmtplib", "asyncio", "asyncpg", "mail", "redis", "slack_sdk")
_MAX_FRAMES = 20


def configure_logging(
    stream: TextIO, *, level: str = "info", as_json: bool | None = None, count_line: CountLine | None = None
) -> None:
    """
    Send every line of this process to one stream; calling it again replaces what stood before.

    Args:
        stream: Standard output for services, standard error for commands.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        as_json: One JSON object a line; None means unless the stream is a terminal.
        count_line: Told the level of each line; must not raise.
    """
    as_json = not stream.isatty() if as_json is None else as_json
    number = _LEVELS[level]
    before = _before_render(as_json=as_json, count_line=count_line)
    render = _render(as_json=as_json)
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *before, render],
    )
    _configure_standard_library(stream, number, before, render)


def _before_render(*, as_json: bool, count_line: CountLine | None) -> list[Processor]:
    processors: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Never with local variables: they would print whatever a frame had in hand.
        structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES)
        )
        if as_json
        else structlog.processors.format_exc_info,
    ]
    if count_line is not None:
        count_lines(count_line)
    return [*processors, _count, redact]


def _render(*, as_json: bool) -> Processor:
    if as_json:
        return _write_json
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


def _write_json(_logger: Any, _method: str, event: EventDict) -> str:
    # Without a ``default``: what the redactor has not seen as text must not become text here.
    return orjson.dumps(event).decode()


class _Counting:
    """
    Who is told of every line: known only once the metrics of a process are, long after its first line.
    """

    told: CountLine | None = None


def count_lines(told: CountLine) -> None:
    """
    Tell the level of every line from now on; must not raise.
    """
    _Counting.told = staticmethod(told)


def _count(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if _Counting.told is not None:
        _Counting.told(event["level"])
    return event


def _configure_standard_library(stream: TextIO, level: int, before: list[Processor], render: Processor) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name],
            processors=[_without_record, *before, render],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    for name in _VENDORS:
        logging.getLogger(name).setLevel(max(level, logging.INFO))


def _without_record(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """
    Take out what ``ProcessorFormatter`` adds for itself, and keep the traceback of a foreign record.
    """
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    if record.exc_info:
        event["exc_info"] = record.exc_info
    return event


def clear_context(**names: str) -> MutableMapping[str, Any]:
    """
    Forget what the last batch bound, and bind what names this worker; call it at the top of each batch.
    """
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**names)
    return structlog.contextvars.get_contextvars()
