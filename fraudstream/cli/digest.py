"""
``fraudstream digest``: what a day amounted to.
"""

import asyncio
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fraudstream.cli.asking import AsJson, Config, PostgresUrl
from fraudstream.cli.entry import UNREACHABLE, exits, load_settings, print_json


@exits
def digest(
    day: Annotated[str | None, typer.Option(help="The day, as 2026-01-31; yesterday when not given.")] = None,
    time_zone: Annotated[str, typer.Option(help="Time zone of the day, as Europe/Berlin.")] = "UTC",
    form: Annotated[Literal["text", "html"], typer.Option("--format", help="How it is written.")] = "text",
    out: Annotated[Path | None, typer.Option(help="File to write; standard output when not given.")] = None,
    email: Annotated[bool, typer.Option("--email", help="Send it by mail to the receivers of alert mails.")] = False,
    as_json: AsJson = False,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Report a day: totals, money, rates, rules, merchants, labels, alerts, and what changed against the week before.

    Example: fraudstream digest --day 2026-01-31 --format html --out digest.html
    """
    import msgspec

    from fraudstream.adapters.postgres_digest import days
    from fraudstream.app.digest import make_digest
    from fraudstream.app.digest_html import html
    from fraudstream.app.digest_words import text
    from fraudstream.domain.errors import InvalidSettings

    settings = load_settings(postgres_url=postgres_url, config=config)
    if settings.postgres_url is None:
        raise InvalidSettings("a digest is made from the database; set POSTGRES_URL or give --postgres-url")
    zone = _zone(time_zone)
    chosen = _day(day, zone)
    made = make_digest(chosen, zone.key, asyncio.run(days(settings.postgres_url, chosen, zone)))
    if email:
        _send(settings, made)
    if as_json:
        print_json("fraudstream.digest/1", msgspec.to_builtins(made))
    elif out is not None:
        out.write_text(html(made) if form == "html" else text(made), encoding="utf-8")
        typer.echo(f"wrote {out}", err=True)
    elif not email:
        typer.echo(html(made) if form == "html" else text(made), nl=False)


def _zone(name: str) -> Any:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{name!r} is no time zone; write one as Europe/Berlin", param_hint="--time-zone") from None


def _day(text: str | None, zone: Any) -> date:
    if text is None:
        return datetime.now(zone).date() - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day; write 2026-01-31", param_hint="--day") from None


def _send(settings: Any, made: Any) -> None:
    from fraudstream.app.digest_mail import send_digest
    from fraudstream.domain.errors import AlertFailed

    try:
        receivers = asyncio.run(send_digest(settings, made))
    except AlertFailed as exc:
        typer.echo(f"error: not sent: {exc}", err=True)
        raise typer.Exit(UNREACHABLE) from None
    typer.echo(f"sent to {receivers} receivers", err=True)
