"""
Start and stop consumers: ``fraudstream worker``, ``fraudstream alerter`` and the scripts in ``cmd/``.
"""

import asyncio
import os
import signal
from typing import Annotated, Any

import typer

from fraudstream.cli.entry import INTERRUPTED, exits, load_settings, log_to_stderr

Stream = Annotated[str | None, typer.Option(help="Stream to read; the group's own input when not given.")]
Name = Annotated[str | None, typer.Option(help="Readable first part of the consumer's name.")]
RedisUrl = Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")]
PostgresUrl = Annotated[str | None, typer.Option(help="Address of PostgreSQL or TimescaleDB (POSTGRES_URL).")]
MetricsPort = Annotated[int | None, typer.Option(help="Port of /metrics; 0 picks a free one.")]
Partitions = Annotated[int | None, typer.Option(help="Parts of this deployment, equal everywhere (FRAUDSTREAM_PARTITIONS).")]
Config = Annotated[str | None, typer.Option(help="TOML file with settings.")]

worker_app = typer.Typer(help="Consumers of the streams.", no_args_is_help=True)
alerter_app = typer.Typer(help="Tell people about flagged payments.", no_args_is_help=True)


@worker_app.command("start")
@exits
def start_worker(
    stream: Stream = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="fraud-check, ml-scoring, recorder, alerter, labels, several with commas; "
            "fraud-group is the first two in one process (CONSUMER_GROUP)."
        ),
    ] = None,
    name: Name = None,
    redis_url: RedisUrl = None,
    postgres_url: PostgresUrl = None,
    model: Annotated[str | None, typer.Option(help="Model folder or ONNX file (ML_MODEL_PATH).")] = None,
    batch: Annotated[int | None, typer.Option(help="Most entries of one read.")] = None,
    metrics_port: MetricsPort = None,
    drain_timeout_s: Annotated[float | None, typer.Option(help="Seconds to finish what is in hand when stopped.")] = None,
    partitions: Partitions = None,
    config: Config = None,
) -> None:
    """
    Serve one or more consumer groups until told to stop (SIGTERM, Ctrl-C): then finish what is in hand and leave.

    Example: fraudstream worker start --group fraud-check
    """
    serve(
        config=config,
        stream=stream,
        consumer_group=group,
        consumer_id=name,
        redis_url=redis_url,
        postgres_url=postgres_url,
        model_path=model,
        batch_entries=batch,
        metrics_port=metrics_port,
        drain_timeout_s=drain_timeout_s,
        partitions=partitions,
    )


@alerter_app.command("start")
@exits
def start_alerter(
    stream: Stream = None,
    group: Annotated[str, typer.Option(help="The alerter's group.")] = "alerter",
    channel: Annotated[str | None, typer.Option(help="Channels with commas: console, slack, email, webhook.")] = None,
    name: Name = None,
    redis_url: RedisUrl = None,
    metrics_port: MetricsPort = None,
    partitions: Partitions = None,
    config: Config = None,
) -> None:
    """
    Tell people about flagged payments until told to stop.

    Example: fraudstream alerter start --channel console
    """
    serve(
        config=config,
        stream=stream,
        consumer_group=group,
        alert_channels=channel,
        consumer_id=name,
        redis_url=redis_url,
        metrics_port=metrics_port,
        partitions=partitions,
    )


def serve(**overrides: Any) -> None:
    """
    Run one worker process in the foreground.
    """
    import uvloop

    from fraudstream.app.run import run_workers

    settings = load_settings(**overrides)
    log_to_stderr(settings)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _on_signal, stop)
        await run_workers(settings, stop)

    uvloop.run(main())


def _on_signal(stop: asyncio.Event) -> None:
    """
    Drain at the first signal; at the second end at once: what is in hand stays pending and is taken over by others.
    """
    if stop.is_set():
        os._exit(INTERRUPTED)
    stop.set()
