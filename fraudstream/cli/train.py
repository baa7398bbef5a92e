"""
``fraudstream train``: from synthetic history to a model folder.
"""

from pathlib import Path
from typing import Annotated

import typer

from fraudstream.cli.entry import exits, print_json


@exits
def train(
    output: Annotated[Path, typer.Option(help="Model folder to write; an earlier model in it is replaced.")] = Path("models"),
    features: Annotated[Path, typer.Option(help="Feature definitions.")] = Path("models/default.features"),
    transactions: Annotated[
        list[Path] | None, typer.Option(help="A labelled history of your own (may be given again); else synthetic worlds.")
    ] = None,
    mapping: Annotated[str | None, typer.Option(help="Columns of the history: generic, paysim, handbook, or a file.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the synthetic worlds to learn from, with commas.")] = "1,2,3,4,5,6,7,8,9",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """
    Train a model through the same features as the live system: on a labelled history, or on the project's own synthetic worlds.

    The same seeds give the same bytes on x86-64 with the locked versions.

    Example: fraudstream train --transactions payments.parquet --output mymodel
    """
    import msgspec

    from fraudstream.cli.progress import progress
    from fraudstream.settings import locate
    from fraudstream.training.history import train_on_history
    from fraudstream.training.shipped import train_shipped

    with progress(quiet=quiet) as shown:

        def count(step: str, done: int, total: int) -> None:
            shown.count(step, done, total or None)

        if transactions:
            trained = train_on_history(transactions, locate(features), output, mapping=mapping, progress=count)
        else:
            chosen = [int(seed) for seed in seeds.split(",")]
            trained = train_shipped(locate(features), output, seeds=chosen, progress=count)
    manifest = msgspec.to_builtins(trained.manifest)
    if as_json:
        print_json("fraudstream.train/1", manifest)
    else:
        typer.echo(f"wrote {output / 'fraud.onnx'}, SHA-256 {manifest['sha256']}; its card is {output / 'README.md'}")
