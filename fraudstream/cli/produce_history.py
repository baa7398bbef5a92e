"""
``fraudstream produce history``: synthetic payments with their truth, as a file.
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from fraudstream.cli.asking import AsJson, moment_of
from fraudstream.cli.entry import exits, print_json
from fraudstream.cli.produce import produce_app


@produce_app.command("history")
@exits
def history_command(
    file: Annotated[Path, typer.Argument(help="JSON Lines file to write.")],
    transactions: Annotated[int, typer.Option(help="How many.", min=100)] = 50_000,
    until: Annotated[str | None, typer.Option(help="When they end: 90d (ago), or ISO 8601; now when not given.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 4711,
    as_json: AsJson = False,
) -> None:
    """
    Write synthetic payments with column is_fraud into a file, for backtests, training and replays.

    Example: fraudstream produce history history.jsonl --until 90d
    """
    import msgspec

    from fraudstream.producers.plan import demo_plan
    from fraudstream.producers.synthetic import generate

    end_ms = int((time.time() if until is None else moment_of(until, "--until").timestamp()) * 1000)
    rows = frauds = 0
    with file.open("wb") as out:
        for one in generate(demo_plan(seed, end_ms=end_ms, transactions=transactions)):
            out.write(msgspec.json.encode({**msgspec.json.decode(one.body), "is_fraud": one.fraud}) + b"\n")
            rows, frauds = rows + 1, frauds + bool(one.fraud)
    if as_json:
        print_json("fraudstream.produce_history/1", {"file": str(file), "transactions": rows, "frauds": frauds})
    else:
        typer.echo(f"wrote {rows:,} payments to {file}, {frauds:,} of them fraud")
