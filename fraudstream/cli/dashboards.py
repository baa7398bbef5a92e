"""
``fraudstream dashboards build`` and ``check``: what is drawn and alerted on is code, and is checked.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import BAD_NEWS, UNREACHABLE, exits, print_json

dashboards_app = typer.Typer(help="Dashboards, recording rules and alerts, as code.", no_args_is_help=True)


@dashboards_app.command()
@exits
def build(
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("dashboards"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when something would change.")] = False,
) -> None:
    """
    Write every dashboard and rule file, where it is not there as it should be.

    Example: fraudstream dashboards build
    """
    _need()
    from fraudstream.dashboards.files import built, write

    if check:
        texts = built().items()
        changed = [out / name for name, text in texts if not (out / name).is_file() or (out / name).read_text() != text]
    else:
        changed = write(out)
    for path in changed:
        typer.echo(f"{'differs' if check else 'wrote'} {path}")
    if not changed:
        typer.echo(f"{len(built())} files in {out} are up to date")
    elif check:
        raise typer.Exit(BAD_NEWS)
    else:
        typer.echo("Prometheus reads them again at SIGHUP, Grafana by itself; look at them with: fraudstream dashboards check")


@dashboards_app.command()
@exits
def check(
    prometheus: Annotated[
        str | None, typer.Option(help="Ask this Prometheus every query, for example http://127.0.0.1:9090.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """
    Check every dashboard, query and alert; with --prometheus ask them too. Exit 1 when something is wrong.

    Example: fraudstream dashboards check --prometheus http://127.0.0.1:9090
    """
    _need()
    from fraudstream.dashboards.lint import faults

    found = faults()
    answered = _asked(prometheus) if prometheus else []
    refused = [one for one in answered if one.error]
    empty = [one for one in answered if not one.error and not one.series and ".json" in one.query.where]
    if as_json:
        print_json("fraudstream.dashboards.check/1", _data(found, answered, refused, empty))
    else:
        for fault in found:
            typer.echo(f"FAIL  {fault}")
        for one in refused:
            typer.echo(f"FAIL  {one.query.where}: {one.error}")
        for one in empty:
            typer.echo(f"note  {one.query.where}: no data now")
        typer.echo(
            f"{len(found) + len(refused)} wrong"
            + (f", {len(answered)} queries asked, {len(empty)} without data" if answered else "")
        )
    if found or refused:
        raise typer.Exit(BAD_NEWS)


def _asked(url: str) -> list[Any]:
    from fraudstream.dashboards.asking import ask_everything

    try:
        return ask_everything(url)
    except OSError as exc:
        typer.echo(f"error: {url} does not answer: {exc}", err=True)
        raise typer.Exit(UNREACHABLE) from None


def _data(found: list[Any], answered: list[Any], refused: list[Any], empty: list[Any]) -> dict[str, Any]:
    return {
        "faults": [fault._asdict() for fault in found],
        "asked": len(answered),
        "refused": [{"where": one.query.where, "error": one.error} for one in refused],
        "without_data": [one.query.where for one in empty],
    }


def _need() -> None:
    """
    Say what to install where Grafana's types are missing.
    """
    from importlib.util import find_spec

    from fraudstream.domain.errors import InvalidSettings

    missing = [name for name in ("grafana_foundation_sdk", "promql_parser", "yaml") if find_spec(name) is None]
    if missing:
        raise InvalidSettings(f"{', '.join(missing)} is not installed: pip install 'fraudstream[dashboards]'")
