"""
``fraudstream demo``: the whole system on embedded servers, in one command.
"""

import asyncio
import itertools
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import BAD_NEWS, exits, inherited, print_json


@exits
def demo(
    transactions: Annotated[int, typer.Option(help="How many synthetic transactions.", min=100)] = 12_000,
    rate: Annotated[float, typer.Option(help="Transactions per second; 0 = as fast as possible.", min=0)] = 1_000.0,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic stream; the model never saw it.")] = 4711,
    file: Annotated[str | None, typer.Option("--input", help="Replay a file (CSV, JSON Lines, Parquet) instead.")] = None,
    mapping: Annotated[str | None, typer.Option(help="Column mapping: generic, paysim, handbook, or a file.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many transactions of --input.", min=1)] = None,
    workers: Annotated[int, typer.Option(help="Processes per group.", min=1, max=8)] = 1,
    partitions: Annotated[int, typer.Option(help="Parts that streams and states are laid out in.", min=1, max=64)] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running and print where it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """
    Start Valkey, PostgreSQL and one process per group, send payments through, and account for every one of them.

    Needs no service on the machine, and leaves nothing running.

    Example: fraudstream demo --json
    """
    from fraudstream.app.demo import DemoPlan, run_demo
    from fraudstream.app.local_system import LocalSystem
    from fraudstream.cli.progress import progress
    from fraudstream.producers.files import BadRow, read_file
    from fraudstream.producers.labelled import Labelled
    from fraudstream.producers.plan import demo_plan
    from fraudstream.producers.synthetic import generate

    def synthetic() -> list[Labelled]:
        return list(generate(demo_plan(seed, end_ms=int(time.time() * 1000), transactions=transactions)))

    def replayed() -> "itertools.islice[Labelled]":
        return itertools.islice(read_file(Path(file or ""), mapping, on_bad=tell), limit)

    def tell(row: BadRow) -> None:
        typer.echo(f"left out: {row.file}, line {row.line}: {row.reason}", err=True)

    def kept(system: LocalSystem, pids: list[int]) -> None:
        typer.echo(_kept_text(system, pids), err=True)

    plan = DemoPlan(
        source=synthetic if file is None else replayed,
        total=transactions if file is None else limit,
        # A replay measures nothing but that it is whole: no pace, no deadline.
        rate_per_s=(rate or None) if file is None else None,
        deadline_ms=250 if file is None else 0,
        workers_per_group=workers,
        keep=keep,
        partitions=partitions,
        inherited=inherited(),
    )
    with progress(quiet=quiet) as shown:
        report = asyncio.run(run_demo(plan, shown, kept=kept))
    if as_json:
        import msgspec

        print_json("fraudstream.demo/1", msgspec.to_builtins(report))
    else:
        _print_report(report)
    if not report.adds_up:
        raise typer.Exit(BAD_NEWS)


def _kept_text(system: Any, pids: list[int]) -> str:
    return "\n".join(
        [
            "Everything is left running:",
            f"  REDIS_URL={system.valkey.url}",
            f"  POSTGRES_URL={system.postgres.url}",
            *(f"  {worker.groups:<12} {worker.url}   log {worker.log}" for worker in system.workers),
            f"Stop it with: kill {' '.join(map(str, pids))}",
        ]
    )


def _print_report(report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What became of the payments", show_header=False)
    for name in ("produced", "decided", "recorded", "duplicates", "dead_lettered", "flagged", "alerts_sent", "degraded"):
        table.add_row(name.replace("_", " "), f"{getattr(report, name):,}")
    table.add_row("outcomes", ", ".join(f"{outcome} {count:,}" for outcome, count in report.outcomes.items()))
    table.add_row("throughput", f"{report.throughput_tps:,.0f} transactions/s")
    table.add_row("latency", ", ".join(f"{name} {value:.1f} ms" for name, value in report.latency_ms.items()))
    detection = {name: value for name, value in report.detection.items() if value is not None}
    table.add_row(
        "detection", ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in detection.items()) or "no labels"
    )
    table.add_row("every payment accounted for", "yes" if report.adds_up else "[red]NO[/red]")
    Console().print(table)
