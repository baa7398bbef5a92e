"""
A producer's end of the stream whose appends show up in the metrics.
"""

from collections.abc import Sequence

from fraudstream.domain.errors import AdmissionRefused, StreamUnavailable
from fraudstream.fleet.ports import TransactionIntake
from fraudstream.telemetry.metrics import Metrics


class MeasuredIntake:
    """
    Passes every call on to another ``TransactionIntake`` and counts what came of it; what is offered again counts again.

    Args:
        intake: Does the work.
        metrics: Those of the process.
        stream: Name of the stream, a label of the metrics that they were made for.
    """

    def __init__(self, intake: TransactionIntake, metrics: Metrics, *, stream: str) -> None:
        self._intake = intake
        self._counts = {
            outcome: metrics.producer_events_total.labels(stream, outcome) for outcome in ("appended", "rejected", "failed")
        }

    async def append(self, bodies: Sequence[bytes]) -> list[bytes]:
        """
        Append bodies; see ``TransactionIntake``.
        """
        try:
            entry_ids = await self._intake.append(bodies)
        except AdmissionRefused:
            self._counts["rejected"].inc(len(bodies))
            raise
        except StreamUnavailable:
            self._counts["failed"].inc(len(bodies))
            raise
        self._counts["appended"].inc(len(bodies))
        return entry_ids
