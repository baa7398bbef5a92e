"""
``fraudstream token``: the token of one card number, e-mail address or phone number, to look for it.
"""

import sys
from typing import Annotated, Literal

import typer

from fraudstream.cli.asking import AsJson, Config
from fraudstream.cli.entry import exits, load_settings, print_json


@exits
def token(
    kind: Annotated[Literal["card", "email", "phone"], typer.Argument(help="What the value is.")],
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """
    Read a value from standard input (never from the command line, which others can see) and write its token.

    Example: fraudstream token email < address.txt
    """
    from fraudstream.domain.errors import InvalidSettings
    from fraudstream.domain.tokens import Tokens

    key = load_settings(config=config).token_key
    if key is None:
        raise InvalidSettings("tokens need a key; set FRAUDSTREAM_TOKEN_KEY_FILE to the path of a file with one")
    tokens = Tokens(key.encode())
    value = sys.stdin.readline().strip()
    if not value:
        raise typer.BadParameter("standard input is empty; write the value there")
    made = {"card": tokens.card, "email": tokens.email, "phone": tokens.phone}[kind](value)
    if as_json:
        print_json("fraudstream.token/1", {"kind": kind, "token": made})
    else:
        typer.echo(made)
