"""
``fraudstream bench``: figures of this machine.
"""

import asyncio
import subprocess
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import exits, inherited, print_json


@exits
def bench(
    rate: Annotated[float, typer.Option(help="Transactions per second while latency is measured.", min=1)] = 2_000.0,
    seconds: Annotated[float, typer.Option(help="How long that lasts.", min=1)] = 10.0,
    burst: Annotated[int, typer.Option(help="Transactions sent at once while throughput is measured.", min=1_000)] = 60_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """
    Measure a system of our own end to end, from XADD to committed row, on this machine.

    Example: fraudstream bench --rate 1000 --json
    """
    import msgspec

    from fraudstream.app.bench import BenchPlan, run_bench
    from fraudstream.cli.progress import progress

    plan = BenchPlan(rate_per_s=rate, seconds=seconds, burst=burst, inherited=inherited(), commit=_commit())
    with progress(quiet=quiet) as shown:
        report = asyncio.run(run_bench(plan, shown))
    if as_json:
        print_json("fraudstream.bench/1", msgspec.to_builtins(report))
    else:
        _print_report(report)


def _commit() -> str:
    """
    Return the commit of the checkout, empty outside of one.
    """
    try:
        found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    except FileNotFoundError:
        return ""
    return found.stdout.strip()


def _print_report(report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="End to end, XADD to committed row", show_header=False)
    table.add_row("machine", report.machine)
    table.add_row("commit", report.commit)
    table.add_row("processes", ", ".join(report.topology))
    table.add_row("throughput", f"{report.throughput_tps:,.0f} transactions/s over {report.transactions:,}")
    latency = ", ".join(f"{name} {value:.1f} ms" for name, value in report.latency_ms.items())
    table.add_row(f"latency at {report.rate_tps:,.0f}/s", latency)
    table.add_row("degraded", f"{report.degraded:,}")
    for name, micros in report.cpu_us_per_transaction.items():
        table.add_row(f"CPU of {name}", f"{micros:.1f} µs per transaction, {report.rss_mb[name]:.0f} MB")
    Console().print(table)
