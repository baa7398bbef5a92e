"""
``fraudstream dlq replay | edit | discard``: what changes dead letters.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.asking import (
    REFUSED,
    AsJson,
    Config,
    PostgresUrl,
    RedisUrl,
    columns,
    confirmed,
    plain_text,
    who,
)
from fraudstream.cli.dlq import (
    Execute,
    Ids,
    Limit,
    Reason,
    Since,
    Source,
    Yes,
    at_desk,
    dlq_app,
    say_audit,
    selection,
)
from fraudstream.cli.entry import BAD_NEWS, PARTLY, UNREACHABLE, exits, load_settings, print_json


@dlq_app.command("replay")
@exits
def replay(
    ids: Ids = None,
    reason: Reason = None,
    source: Source = None,
    since: Since = None,
    every: Annotated[bool, typer.Option("--all", help="Every letter; needed when nothing else selects.")] = False,
    limit: Limit = None,
    rate: Annotated[float, typer.Option(help="Most letters a second.", min=0.01)] = 50.0,
    to: Annotated[str | None, typer.Option(help="Another stream than the letters' own; nothing is deduplicated there.")] = None,
    redecide: Annotated[
        bool,
        typer.Option("--redecide", help="Instead decide again from the kept vector and record it beside the first decision."),
    ] = False,
    execute: Execute = False,
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Put dead letters back on their stream, with their transaction id: a dry run unless --execute is given.

    Each letter says whether its transaction already has a decision (the replay then ends as a counted duplicate) or not.

    Example: fraudstream dlq replay --reason sink_rejected --execute
    """
    _needs_selector(every, ids, reason, source, since)
    if to is not None and to.startswith("transactions:dlq"):
        raise typer.BadParameter("a letter is not replayed to the dead letters", param_hint="--to")
    chosen = selection(ids, reason, source, since, limit)

    async def plan(opened: Any) -> list[dict[str, Any]]:
        found = [_planned(one, to) async for one in opened.desk.assessed(chosen, now_ms=opened.now_ms)]
        return found + _absent(ids, found)

    async def work(opened: Any) -> list[dict[str, Any]]:
        say_audit(opened.desk, "the replay")
        done = [
            {**_planned(one.assessed, to), "entry_id": one.entry_id, "problem": one.problem, "lost": one.lost}
            async for one in opened.desk.replay(chosen, to=to, per_s=rate, now_ms=opened.now_ms)
        ]
        return done + _absent(ids, done)

    overrides = {"redis_url": redis_url, "postgres_url": postgres_url, "config": config}
    if execute:
        confirmed(f"{'Decide again' if redecide else 'Replay'} the selected dead letters?", yes=yes)
    if redecide:
        _redecide(chosen, execute=execute, as_json=as_json, **overrides)
        return
    letters = at_desk(work if execute else plan, **overrides)
    _report("replay", letters, execute=execute, as_json=as_json)
    if execute:
        _end(letters)


def _redecide(chosen: Any, *, execute: bool, as_json: bool, **overrides: Any) -> None:
    import msgspec

    from fraudstream.app.letters import Actor
    from fraudstream.app.redecide import redecide_letters

    done = asyncio.run(redecide_letters(load_settings(**overrides), Actor(*who()), chosen, execute=execute))
    recorded = sum(1 for one in done if one.recorded)
    if as_json:
        print_json(
            "fraudstream.dlq_redecide/1", {"executed": execute, "recorded": recorded, "letters": msgspec.to_builtins(done)}
        )
    else:
        head = ["letter_id", "transaction_id", "before", "after"]
        typer.echo(columns([*head, ""], [[*(getattr(one, name) for name in head), one.problem] for one in done]))
        typer.echo(f"recorded {recorded} superseding decisions" if execute else "dry run: add --execute to record them")
    if execute and recorded < len(done):
        raise typer.Exit(PARTLY)


def _planned(one: Any, to: str | None) -> dict[str, Any]:
    from fraudstream.app.letter_text import shown_letter

    shown = shown_letter(one.letter)
    kept = {name: shown[name] for name in ("letter_id", "source", "reason", "transaction_id")}
    return {
        **kept, "to": to or one.letter.source, "decision": one.decision, "replay": one.fate.value, "says": one.says,
        "entry_id": "", "problem": "" if one.replayable or to else one.says, "lost": False,
    }  # fmt: skip


def _absent(ids: list[str] | None, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Return a line for each letter that was asked for and is not there.
    """
    seen = {one["letter_id"] for one in found}
    says = "there is no such letter (any more)"
    names = ("source", "reason", "transaction_id", "to", "decision", "entry_id")
    blank = {**dict.fromkeys(names, ""), "replay": "absent", "says": says, "problem": says, "lost": False}
    return [{"letter_id": one, **blank} for one in dict.fromkeys(ids or ()) if one not in seen]


def _report(action: str, letters: list[dict[str, Any]], *, execute: bool, as_json: bool) -> None:
    done = sum(1 for one in letters if one["entry_id"])
    ready = sum(1 for one in letters if not one["problem"])
    summary = {"executed": execute, "selected": len(letters), "replayable": ready, "replayed": done}
    if as_json:
        lines = [{name: value for name, value in one.items() if name != "lost"} for one in letters]
        print_json(f"fraudstream.dlq_{action}/1", {**summary, "letters": lines})
        return
    head = ["letter_id", "transaction_id", "source", "decision"]
    rows = [
        [*(one[name] for name in head), f"replayed as {one['entry_id']}" if one["entry_id"] else one["problem"] or one["says"]]
        for one in letters
    ]
    typer.echo(columns([*head, "replay"], rows) if rows else "no letter is meant")
    if execute:
        typer.echo(f"replayed {done} of {len(letters)}")
    else:
        typer.echo(f"dry run: {ready} of {len(letters)} would be replayed; add --execute to do it")


def _end(letters: list[dict[str, Any]]) -> None:
    if not any(one["problem"] for one in letters):
        return
    nothing = not any(one["entry_id"] for one in letters)
    raise typer.Exit(UNREACHABLE if nothing and any(one["lost"] for one in letters) else PARTLY)


@dlq_app.command("edit")
@exits
def edit(
    letter_id: Annotated[str, typer.Argument(help="Letter to correct.")],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="field=value of the JSON body; the value is JSON, else text; a.b goes inside."),
    ] = None,
    removed: Annotated[list[str] | None, typer.Option("--unset", help="Field of the JSON body that goes.")] = None,
    body: Annotated[str | None, typer.Option(help="File with a whole new body; '-' is standard input.")] = None,
    execute: Execute = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Write a corrected copy of a dead letter and keep the original: a dry run unless --execute is given.

    Example: fraudstream dlq edit 1768478400000-0 --set amount=12.50 --execute
    """
    from fraudstream.app.letter_edit import Correction, correct
    from fraudstream.app.letter_text import shown_letter

    if not assignments and not removed and body is None:
        raise typer.BadParameter("say what to change: --set field=value, --unset field or --body FILE")
    correction = Correction(changes=dict(map(_assignment, assignments or ())), removed=removed or (), body=_body(body))
    chosen = selection([letter_id])

    async def work(opened: Any) -> dict[str, Any] | None:
        found = [letter async for letter in opened.desk.select(chosen)]
        if not found:
            return None
        corrected = correct(found[0], correction, now_ms=opened.now_ms, currency=opened.currency)
        changed = [*correction.changes, *correction.removed, *(["body"] if body is not None else [])]
        copied = ""
        if execute and not corrected.problem:
            say_audit(opened.desk, "the correction")
            copied = await opened.desk.edit(found[0], corrected, changed=changed)
        fields = shown_letter(_with_fields(found[0], corrected.fields))["fields"]
        return {
            "letter_id": letter_id, "copy": copied, "executed": bool(copied), "problem": corrected.problem, "fields": fields,
        }  # fmt: skip

    done = at_desk(work, redis_url=redis_url, postgres_url=postgres_url, config=config)
    if done is None:
        typer.echo(f"no dead letter {letter_id}", err=True)
        raise typer.Exit(BAD_NEWS)
    if as_json:
        print_json("fraudstream.dlq_edit/1", done)
    else:
        _print_edit(done)
    if done["problem"]:
        raise typer.Exit(BAD_NEWS)


def _print_edit(done: dict[str, Any]) -> None:
    for field, text in done["fields"].items():
        typer.echo(f"field {plain_text(field)}:\n  {plain_text(text)}")
    if done["problem"]:
        typer.echo(f"not written: {plain_text(done['problem'])}", err=True)
    elif done["copy"]:
        typer.echo(f"written as {done['copy']}; {done['letter_id']} is kept")
        typer.echo(f"next: fraudstream dlq replay --id {done['copy']} --execute")
    else:
        typer.echo("dry run: it would be accepted so; add --execute to write the copy")


def _with_fields(letter: Any, fields: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(letter, fields=fields)


def _assignment(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise typer.BadParameter(f"{text!r} is not field=value", param_hint="--set")
    from decimal import Decimal

    try:
        return name, json.loads(value, parse_float=Decimal)
    except ValueError:
        return name, value


def _body(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return (sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()).rstrip(b"\r\n")
    except OSError as exc:
        raise typer.BadParameter(f"{path} cannot be read: {exc.strerror}", param_hint="--body") from None


@dlq_app.command("discard")
@exits
def discard(
    why: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")],
    ids: Ids = None,
    only: Annotated[str | None, typer.Option(help="Only letters of this reason, for example decode_error.")] = None,
    source: Source = None,
    since: Since = None,
    every: Annotated[bool, typer.Option("--all", help="Every letter; needed when nothing else selects.")] = False,
    limit: Limit = None,
    execute: Execute = False,
    yes: Yes = False,
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
) -> None:
    """
    Throw dead letters away for good: a dry run unless --execute is given.

    Example: fraudstream dlq discard --id 1768478400000-0 --reason "test traffic" --execute
    """
    _needs_selector(every, ids, only, source, since)
    chosen = selection(ids, only, source, since, limit)
    if execute:
        confirmed("Discard the selected dead letters for good?", yes=yes)

    async def work(opened: Any) -> list[dict[str, Any]]:
        if execute:
            say_audit(opened.desk, "the discard")
        lines = []
        async for letter in opened.desk.select(chosen, until_ms=opened.now_ms):
            done = execute and await opened.desk.discard(letter, why=why)
            lines.append({"letter_id": letter.letter_id, "source": letter.source, "reason": letter.reason, "discarded": done})
        return lines

    letters = at_desk(work, redis_url=redis_url, postgres_url=postgres_url, config=config)
    known = {one["letter_id"] for one in letters}
    missing = [one for one in ids or () if one not in known]
    gone = sum(1 for one in letters if one["discarded"])
    if as_json:
        print_json(
            "fraudstream.dlq_discard/1", {"executed": execute, "discarded": gone, "letters": letters, "missing": missing}
        )
    else:
        typer.echo(columns(["letter_id", "source", "reason"], [list(one.values())[:3] for one in letters]))
        told = (
            f"discarded {gone} of {len(letters)}" if execute else f"dry run: {len(letters)} would be discarded; add --execute"
        )
        typer.echo(told + "".join(f"\nno dead letter {one}" for one in missing))
    if execute and (missing or gone < len(letters)):
        raise typer.Exit(PARTLY)


def _needs_selector(every: bool, *selectors: object) -> None:
    if not every and not any(selectors):
        typer.echo(
            "refused: nothing selects letters; give --id, a reason, --source or --since, or --all to mean every one", err=True
        )
        raise typer.Exit(REFUSED)
