"""
Tell people about flagged payments: ``python cmd/alerter.py --stream transactions:fraud --group alerter``.
"""

import typer

from fraudstream.cli.worker import start_alerter

cli = typer.Typer(pretty_exceptions_show_locals=False)
cli.command()(start_alerter)

if __name__ == "__main__":
    cli()
