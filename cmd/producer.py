"""
Put payments on the stream: ``python cmd/producer.py --stream transactions:raw``.
"""

import typer

from fraudstream.cli.produce import produce_either

cli = typer.Typer(pretty_exceptions_show_locals=False)
cli.command()(produce_either)

if __name__ == "__main__":
    cli()
