"""
``fraudstream token``: the token of one card number, e-mail address or phone number, to look for it.
"""

import asyncio
import sys
from typing import Annotated, Literal

import typer

from fraudstream.cli.asking import AsJson, Config, RedisUrl
from fraudstream.cli.entry import exits, load_settings, print_json


@exits
def token(
    kind: Annotated[Literal["card", "email", "phone"], typer.Argument(help="What the value is.")],
    as_json: AsJson = False,
    redis_url: RedisUrl = None,
    config: Config = None,
) -> None:
    """
    Read a value from standard input (never from the command line, which others can see) and write its token.

    The key is that of the settings, else the one that the fleet made for itself and keeps in Redis.

    Example: fraudstream token email < address.txt
    """
    from fraudstream.app.people import fleet_tokens

    tokens = asyncio.run(fleet_tokens(load_settings(config=config, redis_url=redis_url)))
    value = sys.stdin.readline().strip()
    if not value:
        raise typer.BadParameter("standard input is empty; write the value there")
    made = {"card": tokens.card, "email": tokens.email, "phone": tokens.phone}[kind](value)
    if as_json:
        print_json("fraudstream.token/1", {"kind": kind, "token": made})
    else:
        typer.echo(made)
