"""
What every command shares: settings from options and environment, exit codes, one JSON object on demand.
"""

import functools
import json
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer

P = ParamSpec("P")
R = TypeVar("R")

#: Exit codes: the command worked but the news is bad; configuration; a dependency is away; partly done; interrupted.
BAD_NEWS, CONFIGURATION, UNREACHABLE, PARTLY, INTERRUPTED = 1, 3, 4, 5, 130
#: Exit code: not allowed.
NOT_ALLOWED = 6


def exits(command: Callable[P, R]) -> Callable[P, R]:
    """
    Turn our errors into a sentence on standard error and the exit code that belongs to it.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from fraudstream.domain.errors import ConfigurationError, NotAllowed, TransientError

        try:
            return command(*args, **kwargs)
        except ConfigurationError as exc:
            typer.echo(f"error: {exc}", err=True)
            raise typer.Exit(CONFIGURATION) from None
        except NotAllowed as exc:
            typer.echo(f"refused: {exc}", err=True)
            raise typer.Exit(NOT_ALLOWED) from None
        except TransientError as exc:
            typer.echo(f"error: {exc}\nIs the server running, and is its address right?", err=True)
            raise typer.Exit(UNREACHABLE) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def load_settings(**overrides: Any) -> Any:
    """
    Read the settings: options, then the environment, then the configuration file, then the defaults.

    Raises:
        InvalidSettings: Names every problem found.
    """
    from fraudstream.domain.errors import InvalidSettings
    from fraudstream.settings import load

    path = overrides.pop("config", None) or os.environ.get("FRAUDSTREAM_CONFIG") or "fraudstream.toml"
    file: dict[str, Any] = {}
    if Path(path).is_file():
        try:
            file = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as exc:
            raise InvalidSettings(f"{path} is not TOML: {exc}") from None
    elif path != "fraudstream.toml":
        raise InvalidSettings(f"no configuration file {path!r}")
    return load(os.environ, {name: value for name, value in overrides.items() if value is not None}, file)


def inherited() -> dict[str, str]:
    """
    Return the environment for processes of our own: ours, without any setting of ours in it.
    """
    ours = ("FRAUDSTREAM_", "REDIS_URL", "POSTGRES_URL", "ML_MODEL_PATH", "CONSUMER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def log_to_stderr(settings: Any) -> None:
    """
    Send events to standard error: JSON unless it is a terminal.
    """
    from fraudstream.telemetry.logging import configure_logging

    as_json = {"json": True, "console": False}.get(settings.log_format)
    configure_logging(sys.stderr, level=settings.log_level, as_json=as_json)


def print_json(schema: str, data: Any) -> None:
    """
    Print one object with ``schema`` and ``data``, the form of every ``--json``.
    """
    typer.echo(json.dumps({"schema": schema, "data": data}, ensure_ascii=False))
