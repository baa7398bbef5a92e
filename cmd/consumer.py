"""
Start a consumer of a stream: ``python cmd/consumer.py --group fraud-check --stream transactions:raw``.
"""

import typer

from fraudstream.cli.worker import start_worker

cli = typer.Typer(pretty_exceptions_show_locals=False)
cli.command()(start_worker)

if __name__ == "__main__":
    cli()
