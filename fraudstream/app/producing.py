"""
A producer's end of the raw stream, with a page of metrics where one is asked for.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from fraudstream.adapters.measured_intake import MeasuredIntake
from fraudstream.adapters.redis_keys import RAW
from fraudstream.app.connections import intake
from fraudstream.fleet.ports import TransactionIntake
from fraudstream.settings import Settings
from fraudstream.telemetry.exporter import serve
from fraudstream.telemetry.metrics import Metrics


@asynccontextmanager
async def observed_intake(settings: Settings, metrics_port: int | None) -> AsyncIterator[TransactionIntake]:
    """
    Lend the producer's end of the raw stream; see ``intake``.

    Args:
        settings: Checked settings.
        metrics_port: Port of /metrics, 0 for a free one; None for no page, which is what a short run wants.
    """
    async with intake(settings) as plain:
        if metrics_port is None:
            yield plain
            return
        stream = settings.stream or RAW
        metrics = Metrics(groups=(), producer=True, monitor=False, streams=(stream,))
        with ExitStack() as stack:
            exporter = serve(metrics, metrics_port, settings.metrics_dir, host=settings.metrics_host)
            stack.callback(exporter.close)
            yield MeasuredIntake(plain, metrics, stream=stream)
