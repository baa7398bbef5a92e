"""
``fraudstream bench bounds | outage | scaling | cards``: more than enough load, parts that are away, more processes, more cards.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.bench import bench_app, commit
from fraudstream.cli.entry import BAD_NEWS, exits, inherited, print_json

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@bench_app.command("bounds")
@exits
def bounds_command(
    seconds: Annotated[float, typer.Option(help="How long it is overloaded.", min=4)] = 600.0,
    share: Annotated[float, typer.Option(help="Of its capacity, what is offered.", min=0.1)] = 1.2,
    capacity: Annotated[float, typer.Option(help="Transactions per second that it can do; 0 measures it.", min=0)] = 0.0,
    lag_limit: Annotated[int, typer.Option(help="Entries that may wait before producers are refused.", min=100)] = 20_000,
    memory_mb: Annotated[int, typer.Option("--memory-mb", help="maxmemory of Redis.", min=64)] = 2_048,
    processes: Annotated[int, typer.Option(help="Processes of each deciding group.", min=1)] = 1,
    html: Annotated[Path | None, typer.Option(help="Write a report with curves to this file.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Offer a system of our own more than it can do, and look at its memory every second; exit 1 when something grows or is lost.

    Example: fraudstream bench bounds --seconds 600 --html bounds.html
    """
    import msgspec

    from fraudstream.app.bench_bounds import BoundsPlan, run_bench_bounds
    from fraudstream.app.bench_bounds_page import bounds_page
    from fraudstream.cli.progress import progress

    plan = BoundsPlan(
        seconds=seconds, share=share, capacity_tps=capacity, lag_limit_entries=lag_limit, memory_mb=memory_mb,
        processes=processes, inherited=inherited(), commit=commit(),
    )  # fmt: skip
    with progress(quiet=quiet) as shown:
        report = asyncio.run(run_bench_bounds(plan, shown))
    if html is not None:
        html.write_text(bounds_page(report), encoding="utf-8")
    if as_json:
        print_json("fraudstream.bench-bounds/1", msgspec.to_builtins(report))
    else:
        _print_bounds(report)
    if not report.good:
        raise typer.Exit(BAD_NEWS)


@bench_app.command("outage")
@exits
def outage_command(
    seconds: Annotated[float, typer.Option(help="How long each part is away.", min=0.5)] = 600.0,
    rate: Annotated[float, typer.Option(help="Transactions per second, all the time.", min=1)] = 1_000.0,
    part: Annotated[
        list[str] | None,
        typer.Option(help="redis, postgres, alerts (their channel), or a group; again for another. All when not given."),
    ] = None,
    patience: Annotated[float, typer.Option(help="Seconds after which who has not recovered never will.", min=1)] = 900.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Take one part after another away under load and bring it back: how long until all is as usual, and what was lost.

    Example: fraudstream bench outage --seconds 10 --part redis --part recorder
    """
    import msgspec

    from fraudstream.app.bench_outage import PARTS, OutagePlan, run_bench_outage
    from fraudstream.cli.progress import progress
    from fraudstream.cli.screen import table

    plan = OutagePlan(
        seconds=seconds, rate_per_s=rate, parts=tuple(part or PARTS), patience_s=patience,
        inherited=inherited(), commit=commit(),
    )  # fmt: skip
    with progress(quiet=quiet) as shown:
        report = asyncio.run(run_bench_outage(plan, shown))
    if as_json:
        found = msgspec.to_builtins(report)
        found["outages"] = [{**one, "lost": each.lost} for one, each in zip(found["outages"], report.outages, strict=True)]
        print_json("fraudstream.bench-outage/1", found)
    else:
        head = ("away", "seconds", "started in", "usual again", "most waiting", "produced", "decided", "recorded", "doubled",
                "degraded", "alerts told", "given up")  # fmt: skip
        typer.echo(table(head, [_outage_row(one) for one in report.outages]))
    if not report.good:
        raise typer.Exit(BAD_NEWS)


def _outage_row(one: Any) -> tuple[Any, ...]:
    usual = "never" if one.recovered_s is None else f"{one.recovered_s:.1f} s"
    return (one.part, one.away_s, f"{one.back_s:.1f} s", usual, one.highest_lag, one.produced, one.decided, one.recorded,
            one.doubled, one.degraded, one.alerts_told, one.dead_letters + one.undeliverable)  # fmt: skip


@bench_app.command("scaling")
@exits
def scaling_command(
    processes: Annotated[str, typer.Option(help="Processes of each group, with commas.")] = "1,2,3",
    partitions: Annotated[str, typer.Option(help="Partitions, with commas; each with each number of processes.")] = "1,2,4",
    seconds: Annotated[float, typer.Option(help="How long each size is measured, about.", min=1)] = 20.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Measure transactions per second with more processes per group and more partitions, each with a system of its own.

    Example: fraudstream bench scaling --processes 1,2 --partitions 1
    """
    import msgspec

    from fraudstream.app.bench_scaling import run_bench_scaling
    from fraudstream.cli.progress import progress
    from fraudstream.cli.screen import table

    parts = _numbers(partitions, "--partitions")
    scales = [(count, part) for part in parts for count in _numbers(processes, "--processes")]
    with progress(quiet=quiet) as shown:
        work = run_bench_scaling(scales, seconds=seconds, inherited=inherited(), commit=commit(), progress=shown)
        report = asyncio.run(work)
    if as_json:
        print_json("fraudstream.bench-scaling/1", msgspec.to_builtins(report))
        return
    head = ("processes", "partitions", "transactions/s", "payments", "CPU (µs)", "of it Redis (µs)", "memory (MB)")
    typer.echo(f"{report.machine}; {report.server}; as many processes of each group, CPU per transaction")
    typer.echo(table(head, [_scaled_row(one) for one in report.runs]))


def _scaled_row(one: Any) -> tuple[Any, ...]:
    cpu = one.cpu_us_per_transaction
    rates = (round(one.throughput_tps), one.transactions, round(sum(cpu.values())), round(cpu["redis"]))
    return one.processes, one.partitions, *rates, round(sum(one.rss_mb.values()))


@bench_app.command("cards")
@exits
def cards_command(
    cards: Annotated[str, typer.Option(help="How many cards are known, with commas, the fewest first.")] = (
        "1000,100000,1000000,10000000"
    ),
    rounds: Annotated[int, typer.Option(help="Turns of each.", min=1)] = 20,
    transactions: Annotated[int, typer.Option(help="Of one turn.", min=100)] = 1_000,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Measure what a transaction costs with few and with many known cards; exit 1 when it is not the same within a tenth.

    Example: fraudstream bench cards --cards 1000,1000000
    """
    import msgspec

    from fraudstream.app.bench_cards import CardsPlan, run_bench_cards
    from fraudstream.cli.progress import progress
    from fraudstream.cli.screen import table

    plan = CardsPlan(
        numbers=_numbers(cards, "--cards"), rounds=rounds, transactions=transactions, inherited=inherited(), commit=commit()
    )
    with progress(quiet=quiet) as shown:
        report = asyncio.run(run_bench_cards(plan, shown))
    if as_json:
        print_json("fraudstream.bench-cards/1", msgspec.to_builtins(report))
    else:
        head = ("known cards", "memory (MB)", "client (µs)", "Redis (µs)", "both (µs)", "both, ratio", "transaction, ratio")
        rows = [
            (one.cards, one.used_mb, one.client_us, one.redis_us, one.path_us, one.path_ratio, one.ratio)
            for one in report.costs
        ]
        typer.echo(table(head, rows))
        typer.echo(f"a whole transaction costs {report.whole_us:,.0f} µs of CPU; flat is within {report.bound:.0%}")
        for one in report.costs:
            if one.cards < one.wanted:
                typer.echo(f"{one.wanted:,} cards do not fit into memory here: {one.cards:,} were loaded")
    if not report.good:
        raise typer.Exit(BAD_NEWS)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        found = tuple(int(one.replace("_", "")) for one in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} are no numbers with commas", param_hint=option) from None
    if min(found) < 1:
        raise typer.BadParameter("each must be at least 1", param_hint=option)
    return found


def _print_bounds(report: Any) -> None:
    from fraudstream.cli.screen import table

    typer.echo(
        f"offered {report.offered_tps:,.0f}/s of {report.capacity_tps:,.0f}/s for {report.seconds:,.0f} s; "
        f"taken {report.accepted_tps:,.0f}/s: {report.accepted:,} payments\n"
        f"recorded {report.recorded:,}, lost {report.lost}, doubled {report.doubled}, degraded {report.degraded:,}\n"
        f"at most {report.longest_raw:,} entries in the raw stream (bound {report.raw_bound:,}), "
        f"producers waited {report.waited_s:,.0f} s"
    )
    for one in report.refused:
        typer.echo(f"refused {one.times:,} times: {one.words}")
    head = ("memory of", "first", "last", "highest", "MB a minute", "grew", "may grow", "flat")
    rows = [
        (one.name, one.first, one.last, one.highest, one.slope_per_minute, one.growth, one.bound, "yes" if one.flat else "NO")
        for one in report.trends
    ]
    typer.echo(table(head, rows))
    if report.flat is None:
        typer.echo(f"too short to call it flat: transactions are remembered for {report.records_live_s} s")
