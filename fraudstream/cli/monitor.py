"""
``fraudstream monitor start``: gauges of streams, groups and dead letters for Prometheus.
"""

import asyncio
import os
import signal
from typing import Annotated

import typer

from fraudstream.cli.entry import INTERRUPTED, exits, load_settings, log_to_stderr
from fraudstream.cli.spans import seconds

#: Port of the monitor, so that it can stand beside a worker (9464) and an alerter (9465).
PORT = 9466

monitor_app = typer.Typer(help="Watch streams and groups for the others.", no_args_is_help=True)


@monitor_app.callback()
def monitor() -> None:
    """
    Watch streams and groups for the others.
    """


@monitor_app.command("start")
@exits
def start_monitor(
    interval: Annotated[float, typer.Option(parser=seconds, metavar="SPAN", help="Pause between two looks.")] = "5s",  # type: ignore[assignment]
    metrics_port: Annotated[int | None, typer.Option(help="Port of /metrics, 9466 when not set; 0 picks a free one.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Address of Redis (REDIS_URL).")] = None,
    config: Annotated[str | None, typer.Option(help="TOML file with settings.")] = None,
) -> None:
    """
    Show streams, groups and dead letters as gauges until told to stop.

    Example: fraudstream monitor start --metrics-port 9466
    """
    from fraudstream.app.monitor import run_monitor

    port = PORT if metrics_port is None and not os.environ.get("FRAUDSTREAM_METRICS_PORT") else metrics_port
    settings = load_settings(redis_url=redis_url, metrics_port=port, config=config)
    log_to_stderr(settings)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _on_signal, stop)
        await run_monitor(settings, stop, every_s=interval)

    asyncio.run(main())


def _on_signal(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(INTERRUPTED)
    stop.set()
