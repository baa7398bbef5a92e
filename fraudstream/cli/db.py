"""
``fraudstream db``: the tables.
"""

import asyncio
import time
from datetime import timedelta
from typing import Annotated, Any

import typer

from fraudstream.cli.asking import AsJson, Config, PostgresUrl, columns
from fraudstream.cli.entry import exits, load_settings, print_json
from fraudstream.cli.spans import seconds

db_app = typer.Typer(help="The tables in PostgreSQL or TimescaleDB.", no_args_is_help=True)


@db_app.callback()
def db() -> None:
    """
    The tables in PostgreSQL or TimescaleDB.
    """


def _url(postgres_url: str | None, config: str | None) -> str:
    from fraudstream.domain.errors import InvalidSettings

    url: str | None = load_settings(postgres_url=postgres_url, config=config).postgres_url
    if url is None:
        raise InvalidSettings("no database is named; set POSTGRES_URL or give --postgres-url")
    return url


@db_app.command("migrate")
@exits
def migrate_command(postgres_url: PostgresUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    Apply the migrations that are missing, then do what `db maintain` does; safe to call again, and beside a running fleet.

    Example: fraudstream db migrate
    """
    from fraudstream.adapters.postgres_migrations import migrate
    from fraudstream.adapters.postgres_partitions import maintain

    url = _url(postgres_url, config)
    applied = asyncio.run(migrate(url))
    maintained = asyncio.run(maintain(url))
    if as_json:
        print_json("fraudstream.migrate/1", {"applied": applied, "partitions_made": list(maintained.made)})
    else:
        typer.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply: the tables are up to date")
        _print_maintained(maintained)


@db_app.command("maintain")
@exits
def maintain_command(
    keep: Annotated[
        list[str] | None, typer.Option("--keep", help="table=span, for example approved_transactions=90d; not as usual.")
    ] = None,
    every: Annotated[str | None, typer.Option(help="Do it again and again, with this pause: 1h.")] = None,
    postgres_url: PostgresUrl = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """
    Make the partitions of the coming days, drop what is too old, grant the dashboards' role; once a day is often enough.

    On TimescaleDB the policies of the database do the first two.

    Example: fraudstream db maintain --every 1h
    """
    import msgspec

    from fraudstream.adapters.postgres_partitions import maintain

    spans = dict(map(_kept, keep or ()))
    url = _url(postgres_url, config)
    pause_s = None if every is None else seconds(every)
    while True:
        done = asyncio.run(maintain(url, keep=spans))
        if as_json:
            print_json("fraudstream.maintain/1", msgspec.to_builtins(done))
        else:
            _print_maintained(done)
        if pause_s is None:
            return
        time.sleep(pause_s)


def _kept(text: str) -> tuple[str, timedelta]:
    from fraudstream.adapters.postgres_partitions import KEPT

    table, sign, span = text.partition("=")
    if not sign or table not in {kept.table for kept in KEPT}:
        names = ", ".join(kept.table for kept in KEPT)
        raise typer.BadParameter(f"{text!r} is not table=span with a table of {names}", param_hint="--keep")
    return table, timedelta(seconds=seconds(span))


def _print_maintained(done: Any) -> None:
    if not done.partitioned:
        typer.echo("TimescaleDB keeps the chunks by its own policies")
    else:
        typer.echo(f"partitions: made {len(done.made)}, dropped {len(done.dropped)}, rows moved {done.moved}")
    for name in done.dropped:
        typer.echo(f"dropped {name}: older than its table is kept")
    if not done.dashboards:
        typer.echo(
            "role fraudstream_dashboards is not granted: this user may not make roles; "
            "let one who may call: SELECT grant_to_dashboards()",
            err=True,
        )


@db_app.command("space")
@exits
def space_command(postgres_url: PostgresUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """
    Show what the tables take: parts, rows (estimated), bytes, bytes of a row.

    Example: fraudstream db space
    """
    import msgspec

    from fraudstream.adapters.postgres_space import space

    found = asyncio.run(space(_url(postgres_url, config)))
    if as_json:
        print_json("fraudstream.space/1", msgspec.to_builtins(found))
        return
    typer.echo(found.server)
    head = ["table", "kind", "parts", "compressed", "rows", "MB", "bytes/row"]
    typer.echo(columns(head, [_space_row(one) for one in found.tables]))


def _space_row(one: Any) -> list[Any]:
    per_row = "" if one.bytes_per_row is None else f"{one.bytes_per_row:.0f}"
    return [one.name, one.kind, one.parts, one.compressed, f"{one.rows:,}", f"{one.bytes / 1e6:,.1f}", per_row]
