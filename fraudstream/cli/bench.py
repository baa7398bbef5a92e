"""
``fraudstream bench``: figures of this machine.
"""

import asyncio
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import BAD_NEWS, exits, inherited, print_json

bench_app = typer.Typer(invoke_without_command=True)


@bench_app.callback()
@exits
def bench(
    context: typer.Context,
    rate: Annotated[float, typer.Option(help="Transactions per second while latency is measured.", min=1)] = 5_000.0,
    seconds: Annotated[float, typer.Option(help="How long that lasts.", min=1)] = 60.0,
    throughput_seconds: Annotated[
        float, typer.Option(help="How long the highest rate that keeps lag flat is held.", min=1)
    ] = 300.0,
    processes: Annotated[int, typer.Option(help="Processes of each deciding group; a single one serves both.", min=1)] = 1,
    apart: Annotated[bool, typer.Option("--apart", help="A process for each of the two, also where there is one.")] = False,
    partitions: Annotated[int, typer.Option(help="Parts that streams and states are laid out in.", min=1, max=64)] = 1,
    compare: Annotated[
        bool, typer.Option("--compare", help="Measure the same job written on FastStream too (pip install faststream[redis]).")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a report with curves to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """
    Measure a system of our own end to end, from XADD to committed row, on this machine: about ten minutes.

    Example: fraudstream bench --seconds 10 --throughput-seconds 30 --html bench.html
    """
    if context.invoked_subcommand is not None:
        return
    import msgspec
    import uvloop

    from fraudstream.app.bench import BenchPlan, run_bench
    from fraudstream.app.bench_page import bench_page
    from fraudstream.cli.progress import progress

    plan = BenchPlan(
        rate_per_s=rate, seconds=seconds, throughput_s=throughput_seconds, processes=processes, apart=apart,
        partitions=partitions, peer=_peer() if compare else None, inherited=inherited(), commit=commit(),
    )  # fmt: skip
    with progress(quiet=quiet) as shown:
        measured = uvloop.run(run_bench(plan, shown))
    report = measured.report
    if html is not None:
        html.write_text(bench_page(measured), encoding="utf-8")
    if as_json:
        print_json("fraudstream.bench/1", msgspec.to_builtins(report))
    else:
        _print_report(report)


@bench_app.command("rules")
@exits
def bench_rules_command(
    rules: Annotated[int | None, typer.Option(help="Rules of one case; 50 and 200 when not given.", min=1)] = None,
    list_entries: Annotated[int, typer.Option(help="Entries of each of three lists.", min=1)] = 50_000,
    batch: Annotated[int, typer.Option(help="Transactions evaluated at once.", min=1)] = 256,
    seconds: Annotated[float, typer.Option(help="How long each case is measured.", min=0)] = 3.0,
    backtest_rows: Annotated[int, typer.Option(help="Recorded payments of the backtest; 0 leaves it out.", min=0)] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """
    Measure the rules alone on one core: live, columns built from the transactions included, and a backtest over Arrow columns.

    Example: fraudstream bench rules --json
    """
    import msgspec

    from fraudstream.app.bench_backtest import bench_backtest
    from fraudstream.app.bench_rules import DEFAULT_RULES, bench_rules
    from fraudstream.cli.screen import table

    cases = bench_rules([rules] if rules else DEFAULT_RULES, list_entries=list_entries, batch=batch, seconds=seconds)
    tried = bench_backtest(rules=rules or 50, rows=backtest_rows, list_entries=list_entries) if backtest_rows else None
    if as_json:
        rate = None if tried is None else tried.rows_per_second
        data = {"cases": msgspec.to_builtins(cases), "backtest_rows_per_second": rate, "backtest": msgspec.to_builtins(tried)}
        print_json("fraudstream.bench_rules/1", {**data, "commit": commit()})
    else:
        head = ("rules", "list entries", "batch", "transactions/s", "hit")
        shown = [(c.rules, c.list_entries, c.batch, round(c.transactions_per_second), f"{c.hit_ratio:.1%}") for c in cases]
        typer.echo(table(head, shown))
        if tried is not None:
            speeds = (tried.rows_per_second, tried.rows_per_cpu_second, tried.rows_per_second_from_file)
            head = ("backtest rules", "rows", "rows/s", "rows per CPU second", "rows/s with the file read")
            typer.echo(table(head, [(tried.rules, tried.rows, *map(round, speeds))]))


@bench_app.command("features")
@exits
def bench_features_command(
    cards: Annotated[int, typer.Option(help="Cards, each with a hundred payments before anything is measured.", min=1)] = 1_000,
    transactions: Annotated[int, typer.Option(help="Transactions that are measured in a round.", min=1)] = 5_120,
    batch: Annotated[int, typer.Option(help="Transactions of one touch.", min=1)] = 256,
    rounds: Annotated[int, typer.Option(help="How often it is measured; the least is reported, and every one.", min=1)] = 24,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """
    Measure 41 features over four kinds of entity on a Valkey of our own: CPU of client and server apart, memory of a card.

    Example: fraudstream bench features --json
    """
    import msgspec

    from fraudstream.app.bench_features import bench_features
    from fraudstream.cli.progress import progress
    from fraudstream.cli.screen import table

    with progress(quiet=quiet) as shown:
        cost = asyncio.run(bench_features(cards=cards, transactions=transactions, batch=batch, rounds=rounds, told=shown.count))
    found = msgspec.to_builtins(cost)
    if as_json:
        print_json("fraudstream.bench_features/1", {**found, "commit": commit()})
    else:
        typer.echo(table(("figure", "value"), [(name, str(value)) for name, value in found.items()]))


@bench_app.command("model")
@exits
def bench_model_command(
    model: Annotated[Path, typer.Option(help="Model folder, or .onnx file with its .json beside it.")] = Path("models"),
    features: Annotated[Path, typer.Option(help="Definitions that it was trained on.")] = Path("models/default.features"),
    rows: Annotated[
        int, typer.Option(help="Payments of the synthetic world; each is scored once in a pass.", min=512)
    ] = 51_200,
    batch: Annotated[int, typer.Option(help="Rows scored at once.", min=1)] = 256,
    passes: Annotated[int, typer.Option(help="How often everything is measured.", min=1)] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """
    Measure a model on one core: scores, reasons for one row in a hundred, drift, and how long it takes to load.

    Example: fraudstream bench model --json
    """
    import msgspec

    from fraudstream.app.bench_model import bench_model
    from fraudstream.cli.screen import table
    from fraudstream.settings import locate

    found = msgspec.to_builtins(bench_model(locate(model), locate(features), rows=rows, batch=batch, passes=passes))
    if as_json:
        print_json("fraudstream.bench_model/1", {**found, "commit": commit()})
    else:
        typer.echo(table(("figure", "value"), [(name, str(value)) for name, value in found.items()]))


@bench_app.command("swap")
@exits
def bench_swap_command(
    rate: Annotated[float, typer.Option(help="Transactions per second of the second part.", min=1)] = 3_000.0,
    seconds: Annotated[float, typer.Option(help="How long each part takes.", min=4)] = 40.0,
    every: Annotated[float, typer.Option(help="Seconds between two changes, beside the time they take.", min=0.5)] = 1.0,
    calm: Annotated[float, typer.Option(help="Seconds without a change before that.", min=1)] = 10.0,
    other: Annotated[Path | None, typer.Option(help="Folder of the second model; one of equal trees when not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """
    Promote and roll back models again and again, at full speed and at a constant rate.

    Exit 1 when a decision has no model or not its score, or a loop stood still for 50 ms in a swap.

    Example: fraudstream bench swap --json
    """
    import msgspec

    from fraudstream.app.bench_swap import SwapPlan, run_bench_swap
    from fraudstream.app.bench_swap_full import swap_at_full_speed
    from fraudstream.cli.progress import progress
    from fraudstream.cli.screen import table

    plan = SwapPlan(rate_per_s=rate, seconds=seconds, every_s=every, calm_s=calm, other=other, inherited=inherited())
    with progress(quiet=quiet) as shown:
        full, open_loop = asyncio.run(swap_at_full_speed(plan, shown)), asyncio.run(run_bench_swap(plan, shown))
    parts = {"full_speed": msgspec.to_builtins(full), "at_a_rate": msgspec.to_builtins(open_loop)}
    if as_json:
        print_json("fraudstream.bench_swap/1", {**parts, "commit": commit()})
    else:
        for title, found in parts.items():
            typer.echo(title.replace("_", " "))
            typer.echo(table(("figure", "value"), [(name, str(value)) for name, value in found.items()]))
    if not (full.good and open_loop.good):
        raise typer.Exit(BAD_NEWS)


@bench_app.command("recorder")
@exits
def bench_recorder_command(
    rows: Annotated[int, typer.Option(help="Decisions of the backlog.", min=1)] = 200_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """
    Measure one recorder process on servers of our own: a backlog of decisions becomes committed rows, decoding included.

    Example: fraudstream bench recorder --rows 200000 --json
    """
    import msgspec

    from fraudstream.app.bench_recorder import bench_recorder
    from fraudstream.cli.screen import table

    found = msgspec.to_builtins(asyncio.run(bench_recorder(rows=rows, inherited=inherited())))
    if as_json:
        print_json("fraudstream.bench_recorder/1", {**found, "commit": commit()})
    else:
        typer.echo(table(("figure", "value"), [(name, str(value)) for name, value in found.items()]))


def commit() -> str:
    """
    Return the commit of the checkout, empty outside of one.
    """
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError:
        return ""
    return found.stdout.strip()


def _peer() -> Path:
    """
    Return the script of the comparison.
    """
    from importlib.util import find_spec

    from fraudstream.domain.errors import InvalidSettings

    script = Path("benchmarks/peer_faststream.py")
    if not script.is_file():
        raise InvalidSettings(f"{script} is not here; --compare runs from a checkout")
    if find_spec("faststream") is None:
        raise InvalidSettings("FastStream is not installed; run: pip install 'faststream[redis]>=0.7'")
    return script.resolve()


def _print_report(report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from fraudstream.app.bench_page import memory

    table = Table(title="End to end, XADD to committed row", show_header=False)
    table.add_row("machine", report.machine)
    table.add_row("commit", report.commit)
    table.add_row("processes", ", ".join(report.topology))
    table.add_row("settings", ", ".join(f"{name}={value}" for name, value in report.settings.items()))
    held = (
        f"{report.throughput_tps:,.0f} transactions/s for {report.seconds:,.0f} s" if report.throughput_tps else "no rate held"
    )
    table.add_row("throughput, lag flat", held)
    table.add_row("at once", f"{report.burst_tps:,.0f} transactions/s")
    if report.peer_throughput_tps is not None:
        table.add_row("the same on FastStream", f"{report.peer_throughput_tps:,.0f} transactions/s at once")
    latency = ", ".join(f"{name} {value:.1f} ms" for name, value in report.latency_ms.items())
    table.add_row(f"latency at {report.rate_tps:,.0f}/s", latency if report.latency_held else f"{latency}; not kept")
    table.add_row("degraded", f"{report.degraded:,}")
    for name, micros in report.cpu_us_per_transaction.items():
        table.add_row(f"CPU of {name}", f"{micros:.1f} µs per transaction, {memory(report.rss_mb, name)}")
    Console().print(table)
