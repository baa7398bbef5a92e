"""
``fraudstream rules``: the rules of a running fleet. Look, push, activate, roll back, disable, compare.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from fraudstream.cli.asking import REFUSED, AsJson, Config, RedisUrl, columns, plain_text, who
from fraudstream.cli.entry import BAD_NEWS, exits, load_settings, print_json
from fraudstream.cli.rules import print_rules, rules_app
from fraudstream.cli.spans import seconds

__all__ = ["rules_app"]

P = ParamSpec("P")
R = TypeVar("R")

Reason = Annotated[str, typer.Option(help="Why; it stays in the history.")]
Actor = Annotated[str | None, typer.Option(help="Who does it (FRAUDSTREAM_ACTOR); the user of this machine otherwise.")]
Set = Annotated[str, typer.Argument(metavar="SET", help="First digits of a set's hash.")]
Where = Annotated[
    str | None,
    typer.Option("--from", metavar="WHAT", help="A rule file, or first digits of a set's hash; what is in force otherwise."),
]


def refusals(command: Callable[P, R]) -> Callable[P, R]:
    """
    Turn a refused change into a sentence and exit code 6, and rules that cannot be used into their faults and exit code 1.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        from fraudstream.domain.errors import InvalidRule, RuleSetRefused

        try:
            return command(*args, **kwargs)
        except RuleSetRefused as exc:
            typer.echo(f"refused: {plain_text(exc)}", err=True)
            raise typer.Exit(REFUSED) from None
        except InvalidRule as exc:
            typer.echo(plain_text(exc), err=True)
            raise typer.Exit(BAD_NEWS) from None

    return exits(wrapped)


def at_desk(work: Callable[[Any], Awaitable[R]], *, config: str | None, redis_url: str | None, actor: str | None = None) -> R:
    """
    Do one piece of work at the desk for rules.
    """
    from fraudstream.app.rule_sets import open_rule_desk

    settings = load_settings(config=config, redis_url=redis_url, actor=actor)

    async def main() -> R:
        async with open_rule_desk(settings, settings.actor or who()[0]) as desk:
            return await work(desk)

    return asyncio.run(main())


async def chosen(desk: Any, what: str | None) -> Any:
    """
    Return the set that was named, or the one in force.
    """
    return await (desk.in_force() if what is None else desk.find(what))


@rules_app.command("list")
@refusals
def list_command(what: Where = None, redis_url: RedisUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    List the rules that are in force, the strongest first, and say how many workers follow.

    Example: fraudstream rules list
    """

    async def work(desk: Any) -> tuple[Any, Any, list[Any]]:
        return await chosen(desk, what), (await desk.history())[0], await desk.workers()

    named, pointer, workers = at_desk(work, config=config, redis_url=redis_url)
    print_rules(named.rules, named.where, as_json=as_json)
    if what is None and workers and not as_json:
        behind = [one.worker for one in workers if one.in_force != pointer.rule_set or one.behind_s]
        typer.echo(f"{len(workers) - len(behind)} of {len(workers)} workers follow: fraudstream rules workers")


@rules_app.command("show")
@refusals
def show_command(
    rule_id: Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule.")],
    what: Where = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Show one rule as it is written.

    Example: fraudstream rules show card_testing_burst
    """
    import msgspec

    from fraudstream.app.rule_files import listed
    from fraudstream.rules.edit import source_of

    named = at_desk(lambda desk: chosen(desk, what), config=config, redis_url=redis_url)
    source = source_of(named.rules.source, rule_id)
    if as_json:
        (rule,) = [one for one in listed(named.rules) if one.rule_id == rule_id]
        data = {"from": named.where, "rule_set": named.rules.id, "rule": msgspec.to_builtins(rule), "source": source}
        print_json("fraudstream.rules_show/1", data)
    else:
        typer.echo(f"{source}\n# from {named.where}")


@rules_app.command("push")
@refusals
def push_command(
    file: Annotated[Path, typer.Argument(help="Rule file.")],
    reason: Reason,
    activate: Annotated[bool, typer.Option("--activate", help="Put it in force at once.")] = False,
    actor: Actor = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Validate a rule file and keep it in Redis, so that it can be activated.

    Example: fraudstream rules push my.rules --reason "card testing at shop 12"
    """
    import msgspec

    async def work(desk: Any) -> tuple[Any, Any]:
        pushed = await desk.push(file, reason=reason)
        return pushed, await desk.activate(pushed.rule_set, reason=reason) if activate else None

    pushed, changed = at_desk(work, config=config, redis_url=redis_url, actor=actor)
    if as_json:
        data = {"pushed": msgspec.to_builtins(pushed), "changed": msgspec.to_builtins(changed)}
        print_json("fraudstream.rules_push/1", data)
        return
    typer.echo(f"{'pushed' if pushed.new else 'known since before'}: set {pushed.rule_set[:12]}, by {pushed.author}")
    if pushed.blocking:
        typer.echo(f"new or changed rules that block: {', '.join(pushed.blocking)}")
    typer.echo(
        changed_text(changed) if changed else f"in force with: fraudstream rules activate {pushed.rule_set[:12]} --reason …"
    )


@rules_app.command("activate")
@refusals
def activate_command(
    rule_set: Set,
    reason: Reason,
    actor: Actor = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Put a pushed set in force on the whole fleet, within two seconds.

    Example: fraudstream rules activate 3fa9c1d2 --reason "reviewed"
    """
    changed = at_desk(lambda desk: desk.activate(rule_set, reason=reason), config=config, redis_url=redis_url, actor=actor)
    _print_changed(changed, as_json=as_json)


@rules_app.command("rollback")
@refusals
def rollback_command(
    reason: Reason, actor: Actor = None, redis_url: RedisUrl = None, config: Config = None, as_json: AsJson = False
) -> None:
    """
    Put the set in force again that was before; again and again, down to the file of the settings.

    Example: fraudstream rules rollback --reason "blocks too many"
    """
    changed = at_desk(lambda desk: desk.rollback(reason=reason), config=config, redis_url=redis_url, actor=actor)
    _print_changed(changed, as_json=as_json)


@rules_app.command("disable")
@refusals
def disable_command(
    rule_id: Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule.")],
    reason: Reason,
    span: Annotated[
        float | None,
        typer.Option("--for", parser=seconds, metavar="SPAN", help="30m, 1h, 2d; without it the rule goes to shadow for good."),
    ] = None,
    actor: Actor = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Take the force from one rule: for payments of the next hour, say, or for good. One person may.

    Example: fraudstream rules disable tiny_payments --for 1h --reason "hits the new shop"
    """
    until_ms = None if span is None else int((time.time() + span) * 1000)
    changed = at_desk(
        lambda desk: desk.disable(rule_id, until_ms=until_ms, reason=reason), config=config, redis_url=redis_url, actor=actor
    )
    _print_changed(changed, as_json=as_json)


@rules_app.command("diff")
@refusals
def diff_command(
    new: Annotated[str, typer.Argument(metavar="NEW", help="A rule file, or first digits of a set's hash.")],
    old: Annotated[str | None, typer.Argument(metavar="[OLD]", help="The same; what is in force when not given.")] = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Show what a set would change.

    Example: fraudstream rules diff my.rules
    """
    import msgspec

    async def work(desk: Any) -> Any:
        return desk.compare(await desk.find(new), await chosen(desk, old))

    found = at_desk(work, config=config, redis_url=redis_url)
    if as_json:
        print_json("fraudstream.rules_diff/1", msgspec.to_builtins(found))
        return
    for word in ("added", "removed", "changed"):
        if getattr(found, word):
            typer.echo(f"{word}: {', '.join(getattr(found, word))}")
    typer.echo(plain_text(found.text) or "no difference")


@rules_app.command("history")
@refusals
def history_command(
    limit: Annotated[int, typer.Option(help="The last so many lines.", min=1)] = 20,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Show who changed the rules, when and why, the last change first.

    Example: fraudstream rules history
    """
    import msgspec

    pointer, entries = at_desk(lambda desk: desk.history(), config=config, redis_url=redis_url)
    last = entries[::-1][:limit]
    if as_json:
        data = {"in_force": msgspec.to_builtins(pointer), "history": msgspec.to_builtins(last)}
        print_json("fraudstream.rules_history/1", data)
        return
    rows = [(moment(one.at_ms), one.kind, short(one.rule_set), one.actor, one.reason) for one in last]
    typer.echo(columns(("when", "what", "set", "who", "why"), rows))
    typer.echo(f"in force: {short(pointer.rule_set)}, change {pointer.seq}")


def _print_changed(changed: Any, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print_json("fraudstream.rules_change/1", msgspec.to_builtins(changed))
    else:
        typer.echo(changed_text(changed))


def changed_text(changed: Any) -> str:
    """
    Say what is in force now, and what was before.
    """
    return (
        f"in force: {short(changed.rule_set)} (change {changed.seq}, {changed.kind} by {changed.actor}), "
        f"before: {short(changed.before)}"
    )


def short(rule_set: str) -> str:
    """
    Write a set for people.
    """
    return rule_set[:12] or "the file of the settings"


def moment(at_ms: int) -> str:
    """
    Return milliseconds since 1970 as people read them, UTC.
    """
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
