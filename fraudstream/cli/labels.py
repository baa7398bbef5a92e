"""
``fraudstream labels``: what was learned of past payments, sent to the group that tells the tables and the features.
"""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import BAD_NEWS, exits, load_settings, print_json

labels_app = typer.Typer(help="Chargebacks and analysts' verdicts.", no_args_is_help=True)


@labels_app.callback()
def labels() -> None:
    """
    Chargebacks and analysts' verdicts.
    """


@labels_app.command("import")
@exits
def import_command(
    file: Annotated[str, typer.Argument(help="CSV, JSON Lines or Parquet, may be .gz; '-' for standard input.")],
    source: Annotated[str, typer.Option(help="Who says so, where a row does not tell.")] = "import",
    labelled_at: Annotated[datetime | None, typer.Option(help="When it was learned (UTC), where a row does not tell.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """
    Send labels to transactions:labels; the group "labels" stores each once and moves the features that look at labels.

    A row needs transaction_id and label (fraud, legitimate, unsure; or is_fraud) and mostly labelled_at. The same file may
    be sent twice. Ends with 1 when rows were left out.

    Example: fraudstream labels import chargebacks.csv --source chargeback
    """
    from datetime import UTC

    from fraudstream.adapters.redis_keys import LABELS
    from fraudstream.app.connections import intake
    from fraudstream.cli.progress import progress
    from fraudstream.producers.files import BadRow
    from fraudstream.producers.label_files import encode_label, read_labels
    from fraudstream.producers.produce import Produced, produce

    settings = load_settings(redis_url=redis_url)
    bad: list[BadRow] = []

    def tell(row: BadRow) -> None:
        bad.append(row)
        if len(bad) <= 20:
            typer.echo(f"{row.file}, line {row.line}: {row.reason}", err=True)

    at = None if labelled_at is None else labelled_at.replace(tzinfo=labelled_at.tzinfo or UTC)
    rows = map(encode_label, read_labels(file, source=source, labelled_at=at, on_bad=tell))

    async def send(shown: Any) -> Produced:
        async with intake(settings, stream=LABELS) as target:
            # A label's ids may look like card numbers and are none; what stands in it was checked when it was read.
            return await produce(rows, target, check=False, progress=lambda sent: shown.count("labels", sent, None))

    with progress(quiet=as_json) as shown:
        done = asyncio.run(send(shown))
    account = {"sent": done.appended, "resent": done.resent, "bad_rows": len(bad)}
    if as_json:
        print_json("fraudstream.labels-import/1", account)
    else:
        typer.echo(", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in account.items()))
    if bad:
        raise typer.Exit(BAD_NEWS)
