"""
Put payments on the stream: ``fraudstream produce`` and ``cmd/producer.py``.
"""

import itertools
import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import exits, load_settings, log_to_stderr, print_json

produce_app = typer.Typer(help="Put payments on the stream.", no_args_is_help=True)

Stream = Annotated[str | None, typer.Option(help="Stream to write to; transactions:raw when not given.")]
Rate = Annotated[float | None, typer.Option(help="Transactions per second; without a limit when not given.", min=0.001)]
Limit = Annotated[int | None, typer.Option(help="Stop after so many transactions.", min=1)]
Mapping = Annotated[str | None, typer.Option(help="Columns: generic, paysim, handbook, or a mapping file.")]
AllowLate = Annotated[bool, typer.Option("--allow-late", help="Send events older than the deduplication horizon.")]
RedisUrl = Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")]
Partitions = Annotated[int | None, typer.Option(help="Parts of this deployment, equal everywhere (FRAUDSTREAM_PARTITIONS).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")]
MetricsPort = Annotated[int | None, typer.Option(help="Port of /metrics; none when not given, 0 picks a free one.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@produce_app.command("file")
@exits
def produce_file(
    path: Annotated[str, typer.Argument(help="CSV, JSON Lines or Parquet, also gzipped; '-' is standard input.")],
    stream: Stream = None,
    rate: Rate = None,
    limit: Limit = None,
    mapping: Mapping = None,
    allow_late: AllowLate = False,
    redis_url: RedisUrl = None,
    partitions: Partitions = None,
    metrics_port: MetricsPort = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Send the transactions of a file in its own order.

    Example: fraudstream produce file payments.jsonl --rate 500
    """
    send_file(path, mapping=mapping, limit=limit, rate=rate, allow_late=allow_late, as_json=as_json, quiet=quiet,
              metrics_port=metrics_port, stream=stream, redis_url=redis_url, partitions=partitions)  # fmt: skip


@produce_app.command("synthetic")
@exits
def produce_synthetic(
    stream: Stream = None,
    rate: Rate = 200.0,
    limit: Limit = None,
    seconds: Annotated[float | None, typer.Option("--for", help="Stop after so many seconds.", min=0.1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 4711,
    redis_url: RedisUrl = None,
    partitions: Partitions = None,
    metrics_port: MetricsPort = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Send synthetic payments that happen now, until told to stop.

    Example: fraudstream produce synthetic --rate 500 --for 60
    """
    send_synthetic(seed=seed, limit=limit, rate=rate, seconds=seconds, as_json=as_json, quiet=quiet,
                   metrics_port=metrics_port, stream=stream, redis_url=redis_url, partitions=partitions)  # fmt: skip


@exits
def produce_either(
    stream: Stream = None,
    file: Annotated[str | None, typer.Option("--input", help="A file, or '-' for standard input; else synthetic.")] = None,
    group: Annotated[str | None, typer.Option(help="Ignored: a producer has no group.", hidden=True)] = None,
    rate: Rate = None,
    limit: Limit = None,
    seconds: Annotated[float | None, typer.Option("--for", help="Stop synthetic ones after so many seconds.", min=0.1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic world.")] = 4711,
    mapping: Mapping = None,
    allow_late: AllowLate = False,
    redis_url: RedisUrl = None,
    partitions: Partitions = None,
    metrics_port: MetricsPort = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """
    Put payments on the stream: those of a file, of standard input, or synthetic ones at 200 a second until told to stop.

    Example: python cmd/producer.py --stream transactions:raw --input payments.csv
    """
    del group
    if file is not None:
        send_file(file, mapping=mapping, limit=limit, rate=rate, allow_late=allow_late, as_json=as_json, quiet=quiet,
                  metrics_port=metrics_port, stream=stream, redis_url=redis_url, partitions=partitions)  # fmt: skip
    else:
        send_synthetic(seed=seed, limit=limit, rate=rate or 200.0, seconds=seconds, as_json=as_json, quiet=quiet,
                       metrics_port=metrics_port, stream=stream, redis_url=redis_url, partitions=partitions)  # fmt: skip


def send_file(
    path: str, *, mapping: str | None, limit: int | None, rate: float | None, allow_late: bool, as_json: bool, quiet: bool,
    metrics_port: int | None = None, **overrides: Any,
) -> None:  # fmt: skip
    """
    Send a file; rows that no transaction can be made of are named on standard error and counted.
    """
    from fraudstream.producers.files import BadRow, read_file
    from fraudstream.producers.late import refuse_late

    settings = load_settings(**overrides)
    bad: list[BadRow] = []

    def tell(row: BadRow) -> None:
        bad.append(row)
        if len(bad) <= 20:
            typer.echo(f"{row.file}, line {row.line}: {row.reason}", err=True)

    rows = itertools.islice(read_file(path, mapping, on_bad=tell), limit)
    checked = refuse_late(rows, now_ms=int(time.time() * 1000), horizon_s=settings.dedup_horizon_s, allow=allow_late)
    _send(checked, settings, rate=rate, total=limit, as_json=as_json, quiet=quiet, bad=bad,
          metrics_port=metrics_port)  # fmt: skip


def send_synthetic(
    *, seed: int, limit: int | None, rate: float | None, seconds: float | None, as_json: bool, quiet: bool,
    metrics_port: int | None = None, **overrides: Any,
) -> None:  # fmt: skip
    """
    Send synthetic payments whose own time is now.
    """
    from fraudstream.producers.live import live

    settings = load_settings(**overrides)
    count = min((int(number) for number in (limit, (rate or 0) * seconds if seconds else None) if number), default=None)
    source = itertools.islice(live(seed, now_ms=lambda: int(time.time() * 1000)), count)
    _send(source, settings, rate=rate, total=count, as_json=as_json, quiet=quiet, bad=[],
          metrics_port=metrics_port)  # fmt: skip


def _send(
    source: Iterable[Any], settings: Any, *, rate: float | None, total: int | None, as_json: bool, quiet: bool, bad: list[Any],
    metrics_port: int | None,
) -> None:  # fmt: skip
    import uvloop

    from fraudstream.app.producing import observed_intake
    from fraudstream.cli.progress import progress
    from fraudstream.producers.produce import Produced, produce

    log_to_stderr(settings)

    async def main() -> Produced:
        async with observed_intake(settings, metrics_port) as target:
            return await produce(
                source,
                target,
                rate_per_s=rate,
                progress=lambda appended: shown.count("appended", appended, total),
                waiting=lambda why, pause_s: shown.step(f"waiting {pause_s:.1f} s: {why}"),
            )

    with progress(quiet=quiet) as shown:
        done = uvloop.run(main())
    account = {
        "appended": done.appended, "resent": done.resent, "rejected": done.rejected, "bad_rows": len(bad),
        "waited_s": round(done.waited_s, 3), "elapsed_s": round(done.elapsed_s, 3),
    }  # fmt: skip
    if as_json:
        print_json("fraudstream.produce/1", account)
    else:
        typer.echo(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in account.items()))
