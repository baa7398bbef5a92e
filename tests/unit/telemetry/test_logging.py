import io
import logging
import warnings
from collections.abc import Iterator

import orjson
import pytest
import structlog

from fraudstream.telemetry.logging import clear_context, configure_logging

CARD = "4111 1111 1111 1111"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _refuse(secret: str) -> None:
    raise ValueError(f"card {CARD} refused after {len(secret)}")


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_and_context() -> None:
    stream = io.StringIO()
    configure_logging(stream)
    clear_context(worker="w-1", group="recorder")

    structlog.get_logger().info("batch_recorded", rows=3)

    (line,) = _lines(stream)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {"event": "batch_recorded", "level": "info", "worker": "w-1", "group": "recorder", "rows": 3}


def test_the_standard_library_goes_through_the_same_redactor() -> None:
    stream = io.StringIO()
    configure_logging(stream)

    logging.getLogger("slack_sdk.web").warning("refused card %s of %s", CARD, "jane@example.com")

    (line,) = _lines(stream)
    assert line["event"] == "refused card [PAN *1111] of j***@example.com"
    assert line["logger"] == "slack_sdk.web"
    assert line["level"] == "warning"


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("foreign", [True, False])
def test_a_traceback_shows_frames_but_neither_locals_nor_card_numbers(as_json: bool, foreign: bool) -> None:
    stream = io.StringIO()
    configure_logging(stream, as_json=as_json)

    try:
        _refuse("hunter2-" + "in-a-frame")
    except ValueError:
        log = logging.getLogger("aiohttp") if foreign else structlog.get_logger()
        log.exception("send_failed")

    text = stream.getvalue()
    assert "ValueError" in text
    assert "_refuse" in text
    assert "[PAN *1111]" in text
    assert CARD not in text
    assert "hunter2-in-a-frame" not in text


def test_a_terminal_gets_lines_for_people_and_a_pipe_gets_json() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    configure_logging(terminal)

    structlog.get_logger().warning("lag_high", email="jane@example.com")

    assert "lag_high" in terminal.getvalue()
    assert "jane@" not in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_lines_below_the_level_are_not_written_and_vendors_never_speak_debug() -> None:
    stream = io.StringIO()
    configure_logging(stream, level="debug")

    structlog.get_logger().debug("cursor_moved")
    logging.getLogger("slack_sdk").debug("Sending a request")

    assert [line["event"] for line in _lines(stream)] == ["cursor_moved"]


def test_every_line_is_counted_by_level() -> None:
    stream, counted = io.StringIO(), []
    configure_logging(stream, level="warning", count_line=counted.append)

    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")
    logging.getLogger("redis").warning("gone")

    assert counted == ["error", "warning"]
    assert len(_lines(stream)) == 2


def test_configuring_again_replaces_the_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging(first)
    configure_logging(second)

    logging.getLogger("redis").warning("gone")

    assert first.getvalue() == ""
    assert len(_lines(second)) == 1


def test_python_warnings_become_lines() -> None:
    stream = io.StringIO()
    configure_logging(stream)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"card {CARD}", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)

    assert "[PAN *1111]" in stream.getvalue()


def test_a_batch_starts_without_the_context_of_the_last_one() -> None:
    stream = io.StringIO()
    configure_logging(stream)
    clear_context(worker="w-1")
    structlog.contextvars.bind_contextvars(transaction_id="t1")

    clear_context(worker="w-1")
    structlog.get_logger().info("next")

    assert "transaction_id" not in _lines(stream)[0]
