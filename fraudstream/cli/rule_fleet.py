"""
``fraudstream rules``: what each worker judges by, and how often rules are expected to fire.
"""

from typing import Annotated, Any

import typer

from fraudstream.cli.asking import AsJson, Config, RedisUrl, columns, plain_text
from fraudstream.cli.entry import BAD_NEWS, print_json
from fraudstream.cli.rule_sets import Actor, Where, at_desk, chosen, refusals, rules_app, short


@rules_app.command("workers")
@refusals
def workers_command(redis_url: RedisUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    Show what each live worker judges by; exit 1 when one has not followed the fleet.

    Example: fraudstream rules workers
    """
    import msgspec

    async def work(desk: Any) -> tuple[Any, list[Any]]:
        return (await desk.history())[0], await desk.workers()

    pointer, workers = at_desk(work, config=config, redis_url=redis_url)
    behind = [one for one in workers if one.behind_s or one.in_force != pointer.rule_set]
    if as_json:
        data = {"in_force": msgspec.to_builtins(pointer), "workers": msgspec.to_builtins(workers), "behind": len(behind)}
        print_json("fraudstream.rules_workers/1", data)
    else:
        head = ("worker", "rules", "lists", "behind", "why")
        rows = [
            (one.worker, short(one.rule_set), _lists(one.lists), _behind(one, pointer.rule_set), one.problem) for one in workers
        ]
        typer.echo(columns(head, rows) if rows else "no worker of group fraud-check has told what it judges by lately")
        typer.echo(
            f"in force: {short(pointer.rule_set)}, change {pointer.seq}; {len(workers) - len(behind)} of {len(workers)} follow"
        )
    if behind:
        raise typer.Exit(BAD_NEWS)


@rules_app.command("expect")
@refusals
def expect_command(
    rates: Annotated[list[str] | None, typer.Argument(metavar="[RULE=RATE...]", help="Shares of payments: tiny=0.02%.")] = None,
    payments: Annotated[int, typer.Option(help="How many payments the backtest went over.", min=1)] = 1,
    what: Where = None,
    actor: Actor = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Note how often rules fired in a backtest, so that one that fires far more often is put in shadow; without any, show.

    Example: fraudstream rules expect tiny_payments=0.02% --payments 1000000
    """
    import msgspec

    wanted = dict(map(_rate, rates or ()))

    async def work(desk: Any) -> dict[str, Any]:
        named = await chosen(desk, what)
        if wanted:
            await desk.expect(named.rules, wanted, payments=payments)
        found: dict[str, Any] = await desk.expected(named.rules)
        return found

    found = at_desk(work, config=config, redis_url=redis_url, actor=actor)
    if as_json:
        print_json("fraudstream.rules_expected/1", {"rules": msgspec.to_builtins(found)})
        return
    rows = [(one.rule_id, f"{one.rate:.3%}", f"{one.payments:,}", one.actor) for one in found.values()]
    typer.echo(columns(("rule", "backtested rate", "payments", "by"), rows) if rows else "no rule of this set was backtested")


def _rate(text: str) -> tuple[str, float]:
    rule_id, equals, rate = text.partition("=")
    try:
        share = float(rate.removesuffix("%")) / (100 if rate.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not equals or not 0.0 <= share <= 1.0:
        raise typer.BadParameter(f"{text!r}: write RULE=RATE, such as tiny_payments=0.02%")
    return rule_id, share


def _lists(versions: dict[str, str]) -> str:
    return " ".join(f"{name}@{version[:6]}" for name, version in sorted(versions.items()))


def _behind(one: Any, in_force: str) -> str:
    if one.behind_s:
        return f"{one.behind_s:.0f} s"
    return plain_text("a moment") if one.in_force != in_force else ""
