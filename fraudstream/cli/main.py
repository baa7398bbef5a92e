"""
The console command ``fraudstream``.
"""

from typing import Annotated

import typer

from fraudstream import __version__
from fraudstream.cli import bench_changes as _bench_changes  # noqa: F401 its commands join those of bench
from fraudstream.cli import bench_limits as _bench_limits  # noqa: F401 its commands join those of bench
from fraudstream.cli import dlq_changes as _dlq_changes  # noqa: F401 its commands join those of dlq
from fraudstream.cli import list_changes as _list_changes  # noqa: F401 its commands join those of lists
from fraudstream.cli import produce_history as _produce_history  # noqa: F401 its commands join those of produce
from fraudstream.cli import rule_fleet as _rule_fleet  # noqa: F401 its commands join those of rules
from fraudstream.cli import rules_backtest as _rules_backtest  # noqa: F401 its commands join those of rules
from fraudstream.cli import rules_shadow as _rules_shadow  # noqa: F401 its commands join those of rules
from fraudstream.cli.alerts import alerts_app
from fraudstream.cli.backup import backup, restore
from fraudstream.cli.bench import bench_app
from fraudstream.cli.chaos import chaos
from fraudstream.cli.dashboards import dashboards_app
from fraudstream.cli.db import db_app
from fraudstream.cli.decisions import decisions_app
from fraudstream.cli.demo import demo
from fraudstream.cli.digest import digest
from fraudstream.cli.dlq import dlq_app
from fraudstream.cli.doctor import doctor
from fraudstream.cli.features import features_app
from fraudstream.cli.labels import labels_app
from fraudstream.cli.lists import lists_app
from fraudstream.cli.models import model_app
from fraudstream.cli.monitor import monitor_app
from fraudstream.cli.produce import produce_app
from fraudstream.cli.rule_sets import rules_app
from fraudstream.cli.status import lag, pending, status, streams, workers
from fraudstream.cli.token import token
from fraudstream.cli.train import train
from fraudstream.cli.worker import alerter_app, worker_app

app = typer.Typer(
    name="fraudstream",
    help="Decide payments in real time and exactly once.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(demo)
app.command()(train)
app.command()(digest)
app.command()(token)
app.command()(chaos)
app.command()(backup)
app.command()(restore)
for command in (status, lag, streams, pending, workers, doctor):
    app.command()(command)
app.add_typer(bench_app, name="bench")
app.add_typer(produce_app, name="produce")
app.add_typer(worker_app, name="worker")
app.add_typer(alerter_app, name="alerter")
app.add_typer(alerts_app, name="alerts")
app.add_typer(monitor_app, name="monitor")
app.add_typer(model_app, name="model")
app.add_typer(decisions_app, name="decisions")
app.add_typer(dlq_app, name="dlq")
app.add_typer(rules_app, name="rules")
app.add_typer(lists_app, name="lists")
app.add_typer(features_app, name="features")
app.add_typer(labels_app, name="labels")
app.add_typer(db_app, name="db")
app.add_typer(dashboards_app, name="dashboards")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"fraudstream {__version__}")
        raise typer.Exit


@app.callback()
def main(
    _: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,
) -> None:
    """
    Decide payments in real time and exactly once: rules and a model over Redis Streams.

    Start here: fraudstream demo
    """


def run() -> None:
    """
    Run the console command.
    """
    app()
