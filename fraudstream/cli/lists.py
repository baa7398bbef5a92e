"""
``fraudstream lists``: the lists that rules look into, and the rates by which amounts are compared.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from fraudstream.cli.asking import AsJson, Config, RedisUrl, columns, milliseconds_of, plain_text, who
from fraudstream.cli.entry import BAD_NEWS, load_settings, print_json
from fraudstream.cli.rule_sets import refusals
from fraudstream.cli.spans import seconds

lists_app = typer.Typer(no_args_is_help=True, help="Lists that rules look into: look, add, remove, import, export, take back.")

R = TypeVar("R")

Name = Annotated[str, typer.Argument(metavar="LIST", help="Name of the list, without @.")]
At = Annotated[str | None, typer.Option(help="As it was then: 30m, 2h, 7d ago, or 2026-01-15T12:00:00Z.")]
Version = Annotated[str, typer.Option(help="A version, as decisions name it.")]


def at_desk(work: Callable[[Any], Awaitable[R]], *, config: str | None, redis_url: str | None, actor: str | None = None) -> R:
    """
    Do one piece of work at the desk for lists.
    """
    from fraudstream.app.list_desk import open_list_desk

    settings = load_settings(config=config, redis_url=redis_url, actor=actor)

    async def main() -> R:
        async with open_list_desk(settings, settings.actor or who()[0]) as desk:
            return await work(desk)

    return asyncio.run(main())


@lists_app.command("list")
@refusals
def list_command(redis_url: RedisUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    List the lists: how many entries each has, which version is in force, and how often its entries were hit.

    Example: fraudstream lists list
    """
    import msgspec

    rows = at_desk(lambda desk: desk.overview(), config=config, redis_url=redis_url)
    if as_json:
        print_json("fraudstream.lists/1", {"lists": msgspec.to_builtins(rows)})
        return
    head = ("list", "entries", "hits", "version", "from", "last change", "by", "why")
    shown = [
        (
            one.name,
            one.entries,
            one.hits,
            one.version,
            one.where,
            moment(one.pointer.at_ms),
            one.pointer.actor,
            one.pointer.reason,
        )
        for one in rows
    ]
    typer.echo(columns(head, shown) if shown else "there are no lists")


@lists_app.command("show")
@refusals
def show_command(
    name: Name,
    at: At = None,
    version: Version = "",
    never_hit: Annotated[bool, typer.Option("--never-hit", help="Only entries that never took part in a hit.")] = False,
    stale: Annotated[
        float | None, typer.Option(parser=seconds, metavar="SPAN", help="Only entries without a hit for so long: 90d.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many entries.", min=1)] = 50,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Show the entries of a list: until when each counts, who put it there and why, and how often it was hit.

    Example: fraudstream lists show trusted_cards --never-hit
    """
    import msgspec

    async def work(desk: Any) -> tuple[Any, dict[str, Any]]:
        at_ms = None if at is None else milliseconds_of(at, "--at")
        return await desk.contents(name, version=version, at_ms=at_ms), await desk.hits(name)

    state, hits = at_desk(work, config=config, redis_url=redis_url)
    since_ms = (time.time() - stale) * 1000 if stale is not None else None
    wanted = [
        entry
        for entry in state.contents.all_entries()
        if not (never_hit and entry.value in hits)
        and not (since_ms is not None and entry.value in hits and hits[entry.value].last_ms >= since_ms)
    ]
    if as_json:
        entries = [
            {**msgspec.to_builtins(one), "hits": hits[one.value].hits if one.value in hits else 0} for one in wanted[:limit]
        ]
        data = {"list": name, "version": state.contents.version, "from": state.where, "count": len(wanted), "entries": entries}
        print_json("fraudstream.list/1", data)
        return
    head = ("entry", "until", "hits", "last hit", "added", "by", "why")
    rows = [
        (
            one.value,
            moment(one.until_ms or 0),
            hits[one.value].hits if one.value in hits else 0,
            moment(hits[one.value].last_ms if one.value in hits else 0),
            moment(one.added_ms),
            one.author,
            one.reason,
        )
        for one in wanted[:limit]
    ]
    typer.echo(columns(head, rows) if rows else "no such entry")
    typer.echo(f"{len(wanted):,} of {len(state.contents):,} entries, version {state.contents.version} from {state.where}")


@lists_app.command("history")
@refusals
def history_command(
    name: Annotated[str | None, typer.Argument(metavar="[LIST]", help="One list; all when not given.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The last so many changes.", min=1)] = 20,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Show who changed lists and rates, when and why, the last change first.

    Example: fraudstream lists history blocked_cards
    """
    import msgspec

    changes = at_desk(lambda desk: desk.history(name), config=config, redis_url=redis_url)[::-1][:limit]
    if as_json:
        print_json("fraudstream.lists_history/1", {"history": msgspec.to_builtins(changes)})
        return
    head = ("when", "list", "what", "added", "removed", "entries", "version", "who", "why")
    rows = [
        (moment(c.at_ms), c.list, c.kind, c.added, c.removed, c.entries, c.version or "the file", c.actor, c.reason)
        for c in changes
    ]
    typer.echo(columns(head, rows) if rows else "no list was ever changed")


@lists_app.command("check")
@refusals
def check_command(
    name: Name,
    values: Annotated[list[str], typer.Argument(metavar="VALUE...", help="Values of payments.")],
    at: At = None,
    version: Version = "",
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Say whether a list holds values for a payment made now, and by which entry; exit 1 when it does not hold all of them.

    Example: fraudstream lists check disposable_email someone@mailinator.com
    """
    import msgspec
    import numpy as np

    at_ms = None if at is None else milliseconds_of(at, "--at")

    async def work(desk: Any) -> Any:
        return await desk.contents(name, version=version, at_ms=at_ms), [desk.in_payments(value) for value in values]

    state, written = at_desk(work, config=config, redis_url=redis_url)
    times = np.full(len(values), float(at_ms if at_ms is not None else time.time() * 1000))
    found = state.contents.matches(written, times)
    if as_json:
        told = [
            {"value": value, "entry": None if entry is None else msgspec.to_builtins(state.contents.entry(entry))}
            for value, entry in zip(values, found, strict=True)
        ]
        print_json("fraudstream.list_check/1", {"list": name, "version": state.contents.version, "values": told})
    else:
        for value, entry in zip(values, found, strict=True):
            known = None if entry is None else state.contents.entry(entry)
            typer.echo(plain_text(f"{value}: {_held(known)}"))
    if None in found:
        raise typer.Exit(BAD_NEWS)


def _held(entry: Any) -> str:
    if entry is None:
        return "not on the list"
    parts = [f"held by {entry.value}"]
    if entry.until_ms is not None:
        parts.append(f"until {moment(entry.until_ms)}")
    if entry.author:
        parts.append(f"by {entry.author}: {entry.reason}")
    return ", ".join(parts)


def moment(at_ms: int) -> str:
    """
    Write a time for people; nothing for 0.
    """
    from fraudstream.rules.instants import moment_text

    return moment_text(at_ms) if at_ms else ""
