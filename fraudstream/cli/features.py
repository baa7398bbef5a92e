"""
``fraudstream features``: what is declared, whether a file is right, and whether the values are.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import BAD_NEWS, exits, load_settings, print_json

features_app = typer.Typer(help="The features: their file, their values, and checks of both.", no_args_is_help=True)

FeaturesFile = Annotated[Path | None, typer.Option("--features", help="Definitions file (FRAUDSTREAM_FEATURES).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@features_app.callback()
def features() -> None:
    """
    The features: their file, their values, and checks of both.
    """


def _declared(path: Path | None) -> Any:
    from fraudstream.app.loading import load_rulebook

    return load_rulebook(load_settings(features_path=None if path is None else str(path))).features


@features_app.command("golden")
@exits
def golden_command(
    data: Annotated[Path, typer.Option(help="Folder with transactions.parquet and golden_features.parquet.")],
    path: Annotated[str, typer.Option(help="online (through Redis) or offline (in memory).")] = "offline",
    limit: Annotated[int | None, typer.Option(help="Compare only so many rows, the first by time.", min=1)] = None,
    features_path: FeaturesFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Compare our fifteen handbook features with the authors' own values; ends with 1 when more than the two tied rows differ.

    Example: fraudstream features golden --data handbook --path online --limit 2000
    """
    import msgspec

    from fraudstream.app.golden import run_golden
    from fraudstream.settings import locate

    if path not in ("online", "offline"):
        raise typer.BadParameter(f"--path is online or offline, not {path!r}")
    declared = _declared(features_path or locate(Path("models/handbook15.features")))
    report = asyncio.run(run_golden(declared, data, online=path == "online", limit=limit))
    if as_json:
        print_json("fraudstream.features-golden/1", msgspec.to_builtins(report))
    else:
        typer.echo(_golden_text(report))
    if len(report.differing) > _TIED_ROWS:
        raise typer.Exit(BAD_NEWS)


#: Golden rows whose authors counted a transaction of the same second in the other order.
_TIED_ROWS = 2


def _golden_text(report: Any) -> str:
    from fraudstream.cli.screen import table

    ids = ", ".join(map(str, report.differing)) or "none"
    head = f"{report.rows:,} golden rows, {report.path}, {report.seconds} s; rows that differ: {ids}"
    return "\n".join([head, table(("feature", "mismatches"), list(report.mismatches.items()))])
