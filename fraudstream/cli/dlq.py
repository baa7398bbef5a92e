"""
``fraudstream dlq stats | list | show | export``: a look at the dead letters; ``dlq_changes`` holds what changes them.
"""

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from fraudstream.cli.asking import (
    AsJson,
    Config,
    PostgresUrl,
    RedisUrl,
    Unmask,
    columns,
    milliseconds_of,
    plain_text,
    who,
)
from fraudstream.cli.entry import BAD_NEWS, exits, load_settings, print_json

dlq_app = typer.Typer(help="Dead letters: what could not be processed, and what to do about it.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Option("--id", help="Letter; may be given several times.")]
Reason = Annotated[str | None, typer.Option(help="Only letters of this reason, for example schema_invalid.")]
Source = Annotated[str | None, typer.Option(help="Only letters of entries of this stream.")]
Since = Annotated[str | None, typer.Option(help="Only letters since then: 30m, 2h, 7d, or ISO 8601.")]
Limit = Annotated[int | None, typer.Option(help="At most so many, the oldest first.", min=1)]
Execute = Annotated[bool, typer.Option("--execute", help="Do it; otherwise only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_R = TypeVar("_R")


def selection(
    ids: list[str] | None = None, reason: str | None = None, source: str | None = None, since: str | None = None,
    limit: int | None = None,
) -> Any:  # fmt: skip
    """
    Return which letters the options name.
    """
    from fraudstream.app.letters import Selection

    return Selection(
        ids=tuple(_checked(one) for one in ids or ()),
        reason=reason or "",
        source=source or "",
        since_ms=milliseconds_of(since, "--since"),
        limit=limit,
    )


def _checked(letter_id: str) -> str:
    own, at, partition = letter_id.partition("@")
    ms, _, number = own.partition("-")
    if not (ms.isdecimal() and number.isdecimal() and partition.isdecimal() == bool(at) and letter_id.isascii()):
        raise typer.BadParameter(f"{letter_id!r} is no letter id; fraudstream dlq list shows them", param_hint="--id")
    return letter_id


def at_desk(work: Callable[[Any], Awaitable[_R]], **overrides: Any) -> _R:
    """
    Do one piece of work at the desk for dead letters, on the servers that the settings name.
    """
    from fraudstream.app.desk import open_desk
    from fraudstream.app.letters import Actor

    settings = load_settings(**overrides)

    async def main() -> _R:
        async with open_desk(settings, Actor(*who())) as opened:
            return await work(opened)

    return asyncio.run(main())


@dlq_app.command("stats")
@exits
def stats(
    by: Annotated[str, typer.Option(help="reason, source, group, producer or hour.")] = "reason",
    since: Since = None,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> None:
    """
    Count the dead letters.

    Example: fraudstream dlq stats --by hour --since 1d
    """
    if by not in ("reason", "source", "group", "producer", "hour"):
        raise typer.BadParameter("choose from reason, source, group, producer, hour", param_hint="--by")
    chosen = selection(since=since)

    async def work(opened: Any) -> dict[str, int]:
        counted: dict[str, int] = await opened.desk.stats(by, chosen)
        return counted

    counts = at_desk(work, redis_url=redis_url, config=config)
    total = sum(counts.values())
    if as_json:
        print_json("fraudstream.dlq_stats/1", {"by": by, "letters": total, "counts": counts})
    elif counts:
        typer.echo(columns([by, "letters"], [*counts.items(), ("total", total)]))
        typer.echo("next: fraudstream dlq list")
    else:
        typer.echo("no dead letters")


@dlq_app.command("list")
@exits
def list_letters(
    reason: Reason = None,
    source: Source = None,
    since: Since = None,
    most: Annotated[int, typer.Option("-n", help="At most so many, the newest first.", min=1)] = 50,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> None:
    """
    List dead letters, the newest first; personal data masked.

    Example: fraudstream dlq list --reason schema_invalid --since 1h
    """
    from fraudstream.app.letter_text import shown_letter

    chosen = selection(reason=reason, source=source, since=since)

    async def work(opened: Any) -> list[dict[str, Any]]:
        newest = deque([letter async for letter in opened.desk.select(chosen)], maxlen=most)
        return [shown_letter(letter) for letter in reversed(newest)]

    found = at_desk(work, redis_url=redis_url, config=config)
    if as_json:
        print_json("fraudstream.dlq_list/1", {"letters": found})
        return
    head = ["letter_id", "at", "source", "group", "reason", "transaction_id", "error"]
    typer.echo(columns(head, [[letter[name] for name in head] for letter in found]) if found else "no dead letters")
    if found:
        typer.echo(f"next: fraudstream dlq show {found[0]['letter_id']}")


@dlq_app.command("show")
@exits
def show(
    letter_id: Annotated[str, typer.Argument(help="Letter, as dlq list shows it.")],
    unmask: Unmask = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Show one dead letter, and what a replay of it would come to.

    Example: fraudstream dlq show 1768478400000-0
    """
    from fraudstream.app.letter_text import shown_letter

    chosen = selection([letter_id])

    async def work(opened: Any) -> dict[str, Any] | None:
        found = [one async for one in opened.desk.assessed(chosen, now_ms=opened.now_ms)]
        if not found:
            return None
        if unmask:
            say_audit(opened.desk, "the look at personal data")
            await opened.desk.unmasked("dlq.show", f"transactions:dlq/{letter_id}")
        one = found[0]
        return {
            **shown_letter(one.letter, unmask=unmask),
            "decision": one.decision, "replay": one.fate.value, "replay_says": one.says,
        }  # fmt: skip

    shown = at_desk(work, redis_url=redis_url, postgres_url=postgres_url, config=config)
    if shown is None:
        typer.echo(f"no dead letter {letter_id}", err=True)
        raise typer.Exit(BAD_NEWS)
    if as_json:
        print_json("fraudstream.dlq_letter/1", shown)
        return
    for name, value in shown.items():
        if name == "fields":
            for field, text in value.items():
                typer.echo(f"field {plain_text(field)}:\n  {plain_text(text)}")
        elif value not in ("", None, {}):
            typer.echo(f"{name}: {plain_text(value)}")


@dlq_app.command("export")
@exits
def export(
    path: Annotated[str, typer.Argument(help="File to write, one JSON object a line; '-' is standard output.")],
    form: Annotated[str, typer.Option("--format", help="ndjson.")] = "ndjson",
    reason: Reason = None,
    source: Source = None,
    since: Since = None,
    limit: Limit = None,
    mask: Annotated[bool, typer.Option("--mask", help="Mask personal data; so it is without --unmask.", hidden=True)] = False,
    unmask: Unmask = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Write dead letters to a file, oldest first; personal data masked.

    Example: fraudstream dlq export letters.ndjson --since 1d
    """
    from fraudstream.app.letter_text import shown_letter

    if form != "ndjson":
        raise typer.BadParameter("only ndjson is written", param_hint="--format")
    if mask and unmask:
        raise typer.BadParameter("--mask and --unmask exclude each other")
    chosen = selection(None, reason, source, since, limit)

    async def work(opened: Any) -> int:
        if unmask:
            say_audit(opened.desk, "the export of personal data")
            await opened.desk.unmasked("dlq.export", "transactions:dlq")
        written = 0
        with _opened(path) as file:
            async for letter in opened.desk.select(chosen):
                file.write(json.dumps(shown_letter(letter, unmask=unmask), ensure_ascii=False) + "\n")
                written += 1
        return written

    count = at_desk(work, redis_url=redis_url, postgres_url=postgres_url, config=config)
    if as_json and path != "-":
        print_json("fraudstream.dlq_export/1", {"path": path, "letters": count, "masked": not unmask})
    else:
        typer.echo(f"wrote {count} letters" + ("" if unmask else ", personal data masked"), err=True)


def _opened(path: str) -> Any:
    """
    Open a file that only its owner may read; standard output for '-'.
    """
    if path == "-":
        return os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as exc:
        raise typer.BadParameter(f"{path} cannot be written: {exc.strerror}") from None
    return os.fdopen(handle, "w", encoding="utf-8")


def say_audit(desk: Any, what: str) -> None:
    """
    Say it where an action leaves no line in the audit log.
    """
    if not desk.audited:
        typer.echo(f"not audited: no database is named (POSTGRES_URL), so {what} leaves no line in audit_log", err=True)
