"""
``fraudstream rules backtest``: what rules would have done, before they do it.
"""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.asking import AsJson, Config, PostgresUrl, RedisUrl, columns, moment_of, plain_text, who
from fraudstream.cli.entry import load_settings, print_json
from fraudstream.cli.rule_sets import refusals
from fraudstream.cli.rules import Features, File, Lists, rules_app
from fraudstream.cli.spans import seconds

#: Widest bar of a day, in characters, and days that a terminal shows.
_BAR, _DAYS = 30, 31


@rules_app.command("backtest")
@refusals
def backtest_command(
    file: File,
    data: Annotated[
        Path | None,
        typer.Option(help="An export of decisions (Parquet), or transactions to replay; the database when not given."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Rule file to compare with, or 'recorded' for the decisions as made; FRAUDSTREAM_RULES otherwise."),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Payments made since then: 90d, or ISO 8601.")] = None,
    until: Annotated[str | None, typer.Option(help="Payments made before then.")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV or JSON Lines: transaction_id, label, labelled_at.")] = None,
    maturity: Annotated[
        float, typer.Option(parser=seconds, metavar="SPAN", help="How long labels take; younger payments are not judged.")
    ] = "60d",  # type: ignore[assignment] # typer parses defaults
    as_of: Annotated[str | None, typer.Option(help="Labels up to then are known; now when not given.")] = None,
    mapping: Annotated[str | None, typer.Option(help="Columns of transactions: generic, paysim, handbook, or a file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    expect: Annotated[bool, typer.Option("--expect", help="Note the rates in Redis, for the circuit breaker.")] = False,
    features: Features = None,
    lists: Lists = None,
    postgres_url: PostgresUrl = None,
    redis_url: RedisUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Try a rule file on recorded payments: new catches, new false positives, money, beside the rules that are there.

    Only payments old enough for their labels are judged. Recorded decisions come with their vectors, scores and versions of
    lists; a file of transactions is replayed through the kernel and the model that serve.

    Example: fraudstream rules backtest my.rules --data decisions.parquet --html report.html
    """
    import msgspec

    from fraudstream.app.backtest import BacktestPlan, run_backtest
    from fraudstream.training.backtest_html import page

    settings = load_settings(
        config=config, features_path=_text(features), lists_path=_text(lists), postgres_url=postgres_url, redis_url=redis_url
    )
    plan = BacktestPlan(
        rules=file, data=data, baseline=baseline, since=_moment(since, "--since"), until=_moment(until, "--until"),
        labels=labels, known_at=_moment(as_of, "--as-of"), maturity_days=maturity / 86_400, mapping=mapping,
    )  # fmt: skip
    found, candidate = asyncio.run(run_backtest(settings, plan))
    if html is not None:
        html.write_text(page(found, f"Backtest of {file.name}"), encoding="utf-8")
    if expect:
        _expect(settings, candidate, found)
    if as_json:
        print_json("fraudstream.rules_backtest/1", msgspec.to_builtins(found))
    else:
        typer.echo(plain_text(_report(found, file)))
        typer.echo(f"wrote {html}" if html is not None else "--html FILE writes this with a chart and examples")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _moment(text: str | None, option: str) -> datetime | None:
    return None if text is None else moment_of(text, option)


def _expect(settings: Any, candidate: Any, found: Any) -> None:
    """
    Tell the fleet how often each rule fired.
    """
    from fraudstream.app.rule_sets import open_rule_desk

    async def main() -> None:
        async with open_rule_desk(settings, settings.actor or who()[0]) as desk:
            rates = {rule.rule_id: rule.rate for rule in found.rules if rule.rate}
            await desk.expect(candidate, rates, payments=found.payments)

    asyncio.run(main())


def _report(found: Any, file: Path) -> str:
    from fraudstream.training.backtest_html import share_text

    against = found.baseline if " " in found.baseline else f"set {found.baseline[:12]}"
    span = f"{found.payments:,} payments from {found.first[:10]} to {found.last[:10]}: {found.judged:,} can be judged"
    young = f"{found.immature:,} are younger than {found.maturity_days:g} days"
    before, after = found.false_positive_rate_before, found.false_positive_rate_after
    flagged, frauds = f"{found.immature_flagged:,}", f"{found.immature_frauds:,}"
    lines = [
        f"{file} (set {found.candidate[:12]}) against {against}",
        f"{span} ({found.frauds:,} frauds), {young}, {found.unknown:,} nobody can say",
        *(f"left out: {rows:,}, {reason}" for reason, rows in found.left_out.items()),
        *(f"note: {note}" for note in found.notes),
        "",
        columns(("", "payments", "money, 95 % interval"), _effects(found)),
        "",
        f"of new flags, fraud        {share_text(found.precision_of_new)}",
        f"frauds caught              {share_text(found.caught_before)} → {share_text(found.caught_after)}",
        f"honest payments disturbed  {share_text(before, 3)} → {share_text(after, 3)}",
        f"outcomes: {found.stricter:,} payments get a stricter one, {found.milder:,} a milder one",
        f"too young to judge: {flagged} newly flagged, {frauds} of them known as fraud already",
        *_rules(found),
        *_overlaps(found),
        *_days(found),
        "",
        *(f"interval: {method}" for method in found.methods),
    ]
    return "\n".join(lines)


def _effects(found: Any) -> list[tuple[str, str, str]]:
    from fraudstream.training.backtest_html import money_text

    names = ("new_catches", "lost_catches", "already_caught", "missed", "new_false_positives", "freed")
    parts = [(name.replace("_", " "), getattr(found, name)) for name in names]
    return [(name, f"{part.payments:,}", money_text(part.money, interval=True)) for name, part in parts]


def _rules(found: Any) -> list[str]:
    from fraudstream.training.backtest_html import share_text

    changed = [rule for rule in found.rules if rule.changed]
    if not changed:
        return ["", "no rule is new or changed" + (f"; removed: {', '.join(found.removed)}" if found.removed else "")]
    head = (
        "new or changed rule",
        "hits",
        "per day",
        "fraud",
        "honest",
        "too young",
        "precision",
        "new catches",
        "new false p.",
    )
    rows = [
        (one.rule_id + (" (shadow)" if one.shadow else ""), f"{one.hits:,}", f"{one.per_day:.1f}", one.fraud, one.honest,
         one.immature, share_text(one.precision, 0), one.new_catches, one.new_false_positives)
        for one in changed
    ]  # fmt: skip
    above = [
        f"{one.rule_id} fires on {one.rate:.3%} of payments, above its guard of {one.guard_max_rate:.3%}"
        for one in changed
        if one.guard_max_rate is not None and one.rate > one.guard_max_rate
    ]
    removed = [f"removed: {', '.join(found.removed)}"] if found.removed else []
    return ["", columns(head, rows), *above, *removed]


def _overlaps(found: Any) -> list[str]:
    rows = [(rule.rule_id, one.rule_id, f"{one.shared:,}", f"{one.share:.0%}") for rule in found.rules for one in rule.overlaps]
    return ["", columns(("rule", "shares hits with", "hits", "of its own"), rows)] if rows else []


def _days(found: Any) -> list[str]:
    days = found.days[-_DAYS:]
    most = max([1, *(day.new_catches + day.new_false_positives for day in days)])
    rows = [
        (day.day, f"{day.payments:,}", day.already_caught, day.new_catches, day.new_false_positives, _bar(day, most))
        for day in days
    ]
    head = ("day", "payments", "caught before", "new catches", "new false p.", "█ new catches ░ new false positives")
    told = (
        [f"the last {_DAYS} of {len(found.days)} days; all of them are in --json and --html"] if len(found.days) > _DAYS else []
    )
    return ["", columns(head, rows), *told]


def _bar(day: Any, most: int) -> str:
    bar: str = "█" * -(-day.new_catches * _BAR // most) + "░" * -(-day.new_false_positives * _BAR // most)
    return bar
