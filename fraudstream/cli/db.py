"""
``fraudstream db``: the tables.
"""

import asyncio
from typing import Annotated

import typer

from fraudstream.cli.entry import exits, load_settings, print_json

db_app = typer.Typer(help="The tables in PostgreSQL or TimescaleDB.", no_args_is_help=True)


@db_app.callback()
def db() -> None:
    """
    The tables in PostgreSQL or TimescaleDB.
    """


@db_app.command("migrate")
@exits
def migrate_command(
    postgres_url: Annotated[str | None, typer.Option(help="Address of the database (POSTGRES_URL).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """
    Apply the migrations that are missing; safe to call again, and beside a running fleet.

    Example: fraudstream db migrate
    """
    from fraudstream.adapters.postgres_migrations import migrate
    from fraudstream.domain.errors import InvalidSettings

    url = load_settings(postgres_url=postgres_url).postgres_url
    if url is None:
        raise InvalidSettings("no database is named; set POSTGRES_URL or give --postgres-url")
    applied = asyncio.run(migrate(url))
    if as_json:
        print_json("fraudstream.migrate/1", {"applied": applied})
    else:
        typer.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply: the tables are up to date")
