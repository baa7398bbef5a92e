"""
``fraudstream model parity``: a running fleet gives the scores that were measured.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.asking import AsJson
from fraudstream.cli.entry import BAD_NEWS, exits, inherited, print_json
from fraudstream.cli.model import Mapping, Quiet, model_app
from fraudstream.cli.screen import table

__all__ = ["model_app"]


@model_app.command("parity")
@exits
def parity_command(
    transactions: Annotated[Path, typer.Option(help="Labelled history, in the order of event time.")],
    features: Annotated[Path, typer.Option(help="Feature definitions.")] = Path("models/handbook-best.features"),
    limit: Annotated[int, typer.Option(help="Transactions that are sent, from the beginning of the history.", min=1)] = 50_000,
    model: Annotated[Path | None, typer.Option(help="Model folder; the benchmark's first fold when not given.")] = None,
    train_start: Annotated[str, typer.Option(help="First day of training of that fold (UTC).")] = "2018-07-25",
    train_days: Annotated[int, typer.Option(help="Its days of training.", min=1)] = 7,
    mapping: Mapping = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Send a history through Redis and a fleet of our own, and compare its recorded scores with the replay's, bit by bit.

    Exit 1 when a score differs or is missing.

    Example: fraudstream model parity --transactions transactions.parquet --limit 50000 --json
    """
    import msgspec

    from fraudstream.app.model_parity import ParityPlan, run_model_parity
    from fraudstream.cli.model import day_of
    from fraudstream.cli.progress import progress
    from fraudstream.settings import locate
    from fraudstream.training.benchmark import BenchmarkPlan

    plan = ParityPlan(
        transactions=transactions,
        features=locate(features),
        mapping=mapping,
        limit=limit,
        model=None if model is None else locate(model),
        fold=BenchmarkPlan(train_starts=[day_of(train_start, "--train-start")], train_days=train_days),
        inherited=inherited(),
    )
    with progress(quiet=quiet) as shown:
        found = asyncio.run(run_model_parity(plan, shown))
    data: dict[str, Any] = msgspec.to_builtins(found)
    if as_json:
        print_json("fraudstream.model_parity/1", data)
    else:
        typer.echo(table(("figure", "value"), [(name, str(value)) for name, value in data.items()]))
    if found.mismatches or found.missing:
        raise typer.Exit(BAD_NEWS)
