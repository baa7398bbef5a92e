"""
``fraudstream lists``: what changes lists and rates, and what carries them to and from files.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from fraudstream.cli.asking import AsJson, Config, RedisUrl, milliseconds_of
from fraudstream.cli.entry import print_json
from fraudstream.cli.lists import At, Name, Version, at_desk, lists_app
from fraudstream.cli.rule_sets import Actor, Reason, refusals
from fraudstream.cli.spans import seconds

Form = Annotated[str | None, typer.Option("--format", help="csv, jsonl or list; else as the file is called.")]
For = Annotated[
    float | None, typer.Option("--for", parser=seconds, metavar="SPAN", help="How long entries count from now: 12h, 30d.")
]
Until = Annotated[str | None, typer.Option(help="Payment time from which on entries no longer count: 2026-03-01.")]


@lists_app.command("add")
@refusals
def add_command(
    name: Name,
    values: Annotated[list[str], typer.Argument(metavar="ENTRY...", help="Values, networks (10.0.0.0/8) or @domains.")],
    reason: Reason,
    span: For = None,
    until: Until = None,
    actor: Actor = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Put entries on a list, on the whole fleet within seconds; a list that is not there yet is made.

    Example: fraudstream lists add blocked_cards card_7 --for 30d --reason "case 118"
    """
    from fraudstream.app.list_exchange import checked

    wrong = [f"{value!r}: {problem}" for value in values if (problem := checked(value)) is not None]
    if wrong:
        raise typer.BadParameter("; ".join(wrong))
    pattern = _pattern(span, until, reason)

    async def work(desk: Any) -> Any:
        return await desk.add(name, [pattern(value, desk.actor) for value in values], reason=reason)

    _print_edit(at_desk(work, config=config, redis_url=redis_url, actor=actor), as_json=as_json)


@lists_app.command("remove")
@refusals
def remove_command(
    name: Name,
    values: Annotated[list[str], typer.Argument(metavar="ENTRY...", help="Entries, as they stand there.")],
    reason: Reason,
    actor: Actor = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Take entries off a list.

    Example: fraudstream lists remove blocked_cards card_7 --reason "customer called"
    """
    edit = at_desk(lambda desk: desk.remove(name, values, reason=reason), config=config, redis_url=redis_url, actor=actor)
    _print_edit(edit, as_json=as_json)


@lists_app.command("import")
@refusals
def import_command(
    name: Name,
    path: Annotated[str, typer.Argument(metavar="FILE", help="CSV, JSON Lines or one entry a line; '-' is standard input.")],
    reason: Reason,
    replace: Annotated[bool, typer.Option("--replace", help="Let the list hold these entries and no others.")] = False,
    form: Form = None,
    span: For = None,
    until: Until = None,
    actor: Actor = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Put the entries of a file on a list, however many.

    Example: fraudstream lists import stolen_cards cards.csv --replace --reason "feed of today"
    """
    from fraudstream.app.list_exchange import read_entries

    chosen, pattern = _form(path, form), _pattern(span, until, reason)

    async def work(desk: Any) -> Any:
        with _opened(path, "r") as file:
            entries = read_entries(file, chosen, path, known=pattern("", desk.actor))
        if replace:
            return await desk.replace(name, entries, reason=reason)
        return await desk.add(name, entries, reason=reason, kind="import")

    _print_edit(at_desk(work, config=config, redis_url=redis_url, actor=actor), as_json=as_json)


@lists_app.command("export")
@refusals
def export_command(
    name: Name,
    path: Annotated[str, typer.Argument(metavar="FILE", help="File to write: .csv, .jsonl or .list; '-' is standard output.")],
    form: Form = None,
    at: At = None,
    version: Version = "",
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Write a list to a file, as it is or as it was, with ends, reasons and authors (a .list holds values only).

    Example: fraudstream lists export blocked_cards blocked.csv --at 2026-01-15
    """
    from fraudstream.app.list_exchange import write_entries

    chosen = _form(path, form)
    at_ms = None if at is None else milliseconds_of(at, "--at")
    state = at_desk(lambda desk: desk.contents(name, version=version, at_ms=at_ms), config=config, redis_url=redis_url)
    with _opened(path, "w") as file:
        count = write_entries(state.contents.all_entries(), chosen, file)
    if as_json and path != "-":
        data = {"list": name, "path": path, "format": chosen, "entries": count, "version": state.contents.version}
        print_json("fraudstream.list_export/1", data)
    else:
        typer.echo(f"wrote {count:,} entries of @{name}, version {state.contents.version}", err=True)


@lists_app.command("rollback")
@refusals
def rollback_command(
    name: Name, reason: Reason, actor: Actor = None, redis_url: RedisUrl = None, config: Config = None, as_json: AsJson = False
) -> None:
    """
    Put the version in force again that was before; again and again, down to the file of the settings.

    Example: fraudstream lists rollback blocked_cards --reason "wrong file"
    """
    edit = at_desk(lambda desk: desk.rollback(name, reason=reason), config=config, redis_url=redis_url, actor=actor)
    _print_edit(edit, as_json=as_json)


@lists_app.command("rates")
@refusals
def rates_command(
    path: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A table to put in force; without one, show.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stays in the history.")] = "rates of the day",
    actor: Actor = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Show the exchange rates by which amounts in rules are compared, or put a table of them in force.

    Example: fraudstream lists rates ecb.rates
    """
    from fraudstream.rules.load import read_rules

    if path is not None:
        text = read_rules(path)
        edit = at_desk(
            lambda desk: desk.replace_rates(text, str(path), reason=reason), config=config, redis_url=redis_url, actor=actor
        )
        _print_edit(edit, as_json=as_json)
        return
    rates = at_desk(lambda desk: desk.rates(), config=config, redis_url=redis_url)
    if as_json:
        told = None if rates is None else {"version": rates.version, "base": rates.base, "text": rates.text}
        print_json("fraudstream.rates/1", {"rates": told})
    elif rates is None:
        typer.echo("there are no rates: an amount of one currency is unknown in payments of another")
    else:
        typer.echo(f"{rates.text}# {len(rates)} rates of {', '.join(rates.currencies)}, version {rates.version}")


def _pattern(span: float | None, until: str | None, reason: str) -> Callable[[str, str], Any]:
    """
    Return what makes an entry of a value and an author.
    """
    from fraudstream.rules.entries import ListEntry

    if span is not None and until is not None:
        raise typer.BadParameter("give --for or --until, not both")
    now_ms = int(time.time() * 1000)
    until_ms = None if span is None else now_ms + int(span * 1000)
    if until is not None:
        until_ms = milliseconds_of(until, "--until")
    return lambda value, author: ListEntry(value, until_ms=until_ms, reason=reason, author=author, added_ms=now_ms)


def _form(path: str, form: str | None) -> str:
    from fraudstream.app.list_exchange import FORMS

    chosen = form or FORMS.get(Path(path).suffix.lstrip("."), "")
    if chosen not in FORMS.values():
        raise typer.BadParameter(f"choose a form with --format: {', '.join(sorted(set(FORMS.values())))}")
    return chosen


@contextmanager
def _opened(path: str, mode: str) -> Iterator[TextIO]:
    """
    Lend a file, or a standard stream that is left open.
    """
    if path == "-":
        yield sys.stdin if mode == "r" else sys.stdout
        return
    try:
        file = Path(path).open(mode, encoding="utf-8-sig" if mode == "r" else "utf-8", newline="")  # noqa: SIM115 closed below
    except OSError as exc:
        raise typer.BadParameter(f"{path}: {exc.strerror}") from None
    with file:
        yield cast("TextIO", file)


def _print_edit(edit: Any, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print_json("fraudstream.list_change/1", msgspec.to_builtins(edit))
        return
    counts = [f"{count:,} {word}" for word in ("added", "removed", "unchanged") if (count := getattr(edit, word))]
    name = "rates" if edit.list == "$rates" else f"@{edit.list}"
    typer.echo(
        f"{name}: {', '.join(counts) or edit.kind}; {edit.entries:,} entries, version {edit.version or 'of the file'} "
        f"(change {edit.seq}), before: {edit.before or 'none'}"
    )
