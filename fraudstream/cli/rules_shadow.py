"""
``fraudstream rules``: what rules do in shadow, giving them a say, and why they fired or nearly did.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.asking import AsJson, Config, PostgresUrl, RedisUrl, columns, plain_text
from fraudstream.cli.entry import BAD_NEWS, load_settings, print_json
from fraudstream.cli.rule_sets import Actor, Reason, at_desk, changed_text, refusals
from fraudstream.cli.rules import rules_app

Rule = Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule.")]


@rules_app.command("shadow")
@refusals
def shadow_command(
    rule_id: Annotated[str | None, typer.Argument(metavar="[RULE]", help="One rule, with its newest hits.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Newest hits of one rule.", min=1)] = 10,
    postgres_url: PostgresUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Show what rules in shadow would have done, and what people have said of those payments since.

    Example: fraudstream rules shadow many_small_refunds
    """
    import asyncio

    import msgspec

    from fraudstream.app.rule_shadow import precision_of, shadow_of
    from fraudstream.training.backtest_html import share_text

    settings = load_settings(config=config, postgres_url=postgres_url)
    records, hits = asyncio.run(shadow_of(settings, rule_id, newest=limit if rule_id else 0))
    if as_json:
        told = [{**msgspec.to_builtins(one), "precision": msgspec.to_builtins(precision_of(one))} for one in records]
        print_json("fraudstream.rules_shadow/1", {"rules": told, "hits": msgspec.to_builtins(hits)})
        return
    if not records:
        typer.echo("no hit of a rule in shadow is on record")
        return
    rows = [
        (one.rule_id, one.hits, f"{one.first:%Y-%m-%d %H:%M}", f"{one.last:%Y-%m-%d %H:%M}", one.flagged, one.frauds,
         one.legitimate, share_text(precision_of(one), 0) if one.frauds + one.legitimate else "no labels")
        for one in records
    ]  # fmt: skip
    typer.echo(columns(("rule in shadow", "hits", "first", "last", "flagged anyway", "fraud", "honest", "precision"), rows))
    if hits:
        newest = [(one.transaction_id, f"{one.decided_at:%H:%M:%S}", one.outcome or "", one.explanation or "") for one in hits]
        typer.echo("\n" + columns(("transaction", "decided", "outcome", "because"), newest))


@rules_app.command("promote")
@refusals
def promote_command(
    rule_id: Rule,
    reason: Reason,
    min_hits: Annotated[int, typer.Option(help="Hits in shadow that it must have.", min=0)] = 20,
    min_days: Annotated[float, typer.Option(help="Days between its first and its last hit.", min=0)] = 0.0,
    min_precision: Annotated[float, typer.Option(help="Share of fraud among its labelled hits.", min=0, max=1)] = 0.0,
    anyway: Annotated[bool, typer.Option("--anyway", help="Whatever it has shown; the reason says why.")] = False,
    actor: Actor = None,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Give a rule in shadow its say, on the whole fleet within two seconds; refused while it has shown too little.

    Example: fraudstream rules promote many_small_refunds --min-precision 0.5 --reason "a week in shadow, 9 of 10 fraud"
    """
    import msgspec

    from fraudstream.app.rule_shadow import Gate, pass_gate

    settings = load_settings(config=config, postgres_url=postgres_url)

    async def work(desk: Any) -> tuple[Any, Any]:
        gate = Gate(hits=min_hits, days=min_days, precision=min_precision)
        shown = None if anyway else await pass_gate(settings, rule_id, gate)
        return shown, await desk.promote(rule_id, reason=reason)

    shown, changed = at_desk(work, config=config, redis_url=redis_url, actor=actor)
    if as_json:
        print_json(
            "fraudstream.rules_promote/1", {"shadow": msgspec.to_builtins(shown), "changed": msgspec.to_builtins(changed)}
        )
        return
    if shown is not None:
        typer.echo(f"in shadow: {shown.hits:,} hits, {shown.frauds:,} labelled fraud, {shown.legitimate:,} labelled legitimate")
    typer.echo(f"{changed_text(changed)}\ntaken back with: fraudstream rules rollback --reason …")


@rules_app.command("explain")
@refusals
def explain_command(
    transaction_id: Annotated[str, typer.Argument(help="Transaction with a decision on record.")],
    rules: Annotated[Path | None, typer.Option(help="A rule file; the rules that decided when not given.")] = None,
    near: Annotated[int, typer.Option(help="Near misses to show, the nearest first.", min=0)] = 10,
    archive: Annotated[list[Path] | None, typer.Option(help="Folder with older rules, lists and definitions.")] = None,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Say which rules fire on a recorded transaction, with the values that make it so, and which are one condition short.

    Example: fraudstream rules explain txn_42 --rules my.rules
    """
    import asyncio

    import msgspec

    from fraudstream.app.rule_explain import explain_rules

    settings = load_settings(config=config, redis_url=redis_url, postgres_url=postgres_url)
    found = asyncio.run(explain_rules(settings, transaction_id, rules=rules, archives=archive or ()))
    if found is None:
        typer.echo(f"no decision of transaction {plain_text(transaction_id)} is on record", err=True)
        raise typer.Exit(BAD_NEWS)
    if as_json:
        print_json("fraudstream.rules_explain/1", msgspec.to_builtins(found))
        return
    typer.echo(f"{plain_text(transaction_id)}: {found.outcome}; asked: {found.where}, set {found.rule_set[:12]}")
    for note in found.notes:
        typer.echo(f"  {plain_text(note)}")
    _print_hits("fired", found.hits)
    _print_hits("fired in shadow", found.shadow_hits)
    typer.echo(f"one condition short: {len(found.near_misses)}")
    for miss in found.near_misses[:near]:
        typer.echo(plain_text(f"  {miss.rule_id}{' (shadow)' if miss.shadow else ''}: {miss.condition}: {miss.words}"))
    for rule_id in found.errors:
        typer.echo(f"failed: {rule_id}")


def _print_hits(title: str, hits: Any) -> None:
    typer.echo(f"{title}: {len(hits)}")
    for hit in hits:
        typer.echo(plain_text(f"  {hit.rule_id} ({hit.action.value.replace('_', ' ')}): {hit.explanation}"))
