"""
``fraudstream train``: from history to a model folder.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import exits, load_settings, print_json

SEEDS = "1,2,3,4,5,6,7,8,9"


@exits
def train(
    output: Annotated[
        Path | None,
        typer.Option(
            help="Model folder to write; an earlier model in it is replaced. Else models, or for an own one its --version."
        ),
    ] = None,
    features: Annotated[Path, typer.Option(help="Feature definitions.")] = Path("models/default.features"),
    transactions: Annotated[
        list[Path] | None, typer.Option(help="A labelled history of your own (may be given again); else synthetic worlds.")
    ] = None,
    mapping: Annotated[str | None, typer.Option(help="Columns of the history: generic, paysim, handbook, or a file.")] = None,
    from_database: Annotated[
        bool, typer.Option("--from-database", help="Learn from recorded decisions and their labels.")
    ] = False,
    postgres_url: Annotated[str | None, typer.Option(help="Address of the database (POSTGRES_URL).")] = None,
    since: Annotated[str | None, typer.Option(help="First day of payments (UTC), with --from-database.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Day after the last one (UTC), with --from-database; labels until then count. Else now.")
    ] = None,
    delay_days: Annotated[float, typer.Option(help="Days that labels take.", min=0)] = 7.0,
    warm_up_days: Annotated[
        float | None, typer.Option(help="Days that only fill windows. Else a sixth of a file, no recorded ones.", min=0)
    ] = None,
    version: Annotated[str, typer.Option(help="Name of a model of your own.")] = "own-1",
    seeds: Annotated[str, typer.Option(help="Seeds of the synthetic worlds to learn from, with commas.")] = SEEDS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """
    Train a model on the features of the live system: on a labelled history, on recorded decisions, or on synthetic worlds.

    The same input gives the same bytes on x86-64 with the locked versions.

    Example: fraudstream train --from-database --since 2026-01-01 --output mymodel
    """
    import msgspec

    from fraudstream.cli.progress import progress
    from fraudstream.settings import locate
    from fraudstream.training.dataset import Proportions
    from fraudstream.training.history import train_on_history
    from fraudstream.training.shipped import train_shipped

    if transactions and from_database:
        raise typer.BadParameter("learn from --transactions or --from-database, not from both")
    if (since or until) and not from_database:
        raise typer.BadParameter("--since and --until choose recorded decisions: give --from-database too")
    definitions = locate(features)
    folder = output or Path(version if transactions or from_database else "models")
    split = Proportions(warm_up_days=warm_up_days, delay_days=delay_days)
    with progress(quiet=quiet) as shown:

        def count(step: str, done: int, total: int) -> None:
            shown.count(step, done, total or None)

        if from_database:
            url = load_settings(postgres_url=postgres_url).postgres_url
            trained = _on_recorded(url, definitions, folder, version, since, until, split, count)
        elif transactions:
            trained = train_on_history(
                transactions, definitions, folder, mapping=mapping, version=version, split=split, progress=count
            )
        else:
            trained = train_shipped(definitions, folder, seeds=[int(seed) for seed in seeds.split(",")], progress=count)
    if as_json:
        print_json("fraudstream.train/1", msgspec.to_builtins(trained.manifest))
        return
    found = trained.held_out.average_precision
    typer.echo(f"wrote {folder / 'fraud.onnx'}, SHA-256 {trained.manifest.sha256}; its card is {folder / 'README.md'}")
    typer.echo(
        f"held-out days: {trained.held_out.rows:,} payments, {trained.held_out.frauds:,} frauds, average precision"
        f" {found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    )


def _on_recorded(
    url: str | None,
    definitions: Path,
    output: Path,
    version: str,
    since: str | None,
    until: str | None,
    split: Any,
    count: Callable[[str, int, int], None],
) -> Any:
    """
    Read what is on record and train on it; recorded vectors were computed in life and need no warm-up.
    """
    import msgspec

    from fraudstream.app.recorded import read_recorded
    from fraudstream.features.load import load_features
    from fraudstream.training.dataset import require_delay
    from fraudstream.training.history import train_on_recorded

    declared = load_features(definitions.read_text(encoding="utf-8"), name=definitions.name)
    require_delay(declared, split.delay_days * 86_400)
    recorded = asyncio.run(
        read_recorded(
            url,
            declared,
            since=_day(since, "--since"),
            until=_day(until, "--until"),
            delay_days=split.delay_days,
            progress=count,
        )
    )
    asked = " ".join(["--from-database", *(f"{name} {day}" for name, day in (("--since", since), ("--until", until)) if day)])
    cut = msgspec.structs.replace(split, warm_up_days=split.warm_up_days or 0.0)
    return train_on_recorded(recorded, declared, output, asked=asked, version=version, split=cut, progress=count)


def _day(text: str | None, option: str) -> datetime | None:
    """
    Return the midnight (UTC) that a day begins with.
    """
    if text is None:
        return None
    try:
        return datetime.combine(datetime.strptime(text.strip(), "%Y-%m-%d").date(), time(), UTC)  # noqa: DTZ007
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day; write for example 2026-01-31", param_hint=option) from None
