"""
Precision and recall as labels come in, on the page of the monitor.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from fraudstream.adapters.postgres_maturity import Matured, MaturedDecisions
from fraudstream.domain.errors import FraudstreamError
from fraudstream.telemetry.monitor_metrics import MonitorMetrics

#: How far back decisions are looked at, in seconds: long enough for labels that take weeks.
SPAN_S = 30 * 86_400.0
#: Pause between two looks, in seconds: labels come by the day.
EVERY_S = 300.0


class MaturityBoard:
    """
    Shows what became of decisions as gauges. A ratio of nothing is not shown: it would be a claim.
    """

    def __init__(self, metrics: MonitorMetrics) -> None:
        self._metrics = metrics
        self._gauges = (
            metrics.model_labelled_decisions,
            metrics.model_precision_ratio,
            metrics.model_recall_ratio,
            metrics.decision_precision_ratio,
            metrics.decision_recall_ratio,
        )

    def show(self, found: Sequence[Matured]) -> None:
        """
        Show one answer in the place of the one before.
        """
        self.clear()
        for one in found:
            for gauge, labels, value in self._values(one):
                gauge.labels(one.model[:12], *labels).set(value)

    def clear(self) -> None:
        """
        Show nothing: nobody knows how it stands.
        """
        for gauge in self._gauges:
            gauge.clear()

    def _values(self, one: Matured) -> Iterator[tuple[Any, tuple[str, ...], float]]:
        metrics = self._metrics
        yield metrics.model_labelled_decisions, ("fraud",), one.frauds
        yield metrics.model_labelled_decisions, ("legitimate",), one.legitimate
        pairs = (
            (metrics.model_precision_ratio, metrics.model_recall_ratio, one.model_right, one.model_wrong),
            (
                metrics.decision_precision_ratio,
                metrics.decision_recall_ratio,
                one.decision_right,
                one.decision_wrong,
            ),
        )
        for precision, recall, right, wrong in pairs:
            if right + wrong:
                yield precision, (), right / (right + wrong)
            if one.frauds:
                yield recall, (), right / one.frauds


async def watch_maturity(url: str, metrics: MonitorMetrics, stop: asyncio.Event, *, flagged_from: float) -> None:
    """
    Look now and then until ``stop`` is set. While the database is away nothing is shown, and the next look tries again.
    """
    board, log = MaturityBoard(metrics), structlog.get_logger()
    while not stop.is_set():
        try:
            board.show(await _look(url, flagged_from))
        except FraudstreamError as exc:
            board.clear()
            log.warning("maturity_unknown", error=repr(exc), pause_s=EVERY_S)
        try:
            await asyncio.wait_for(stop.wait(), EVERY_S)
        except TimeoutError:
            continue


async def _look(url: str, flagged_from: float) -> list[Matured]:
    decisions = await MaturedDecisions.connect(url)
    try:
        return await decisions.matured(span_s=SPAN_S, flagged_from=flagged_from)
    finally:
        await decisions.close()
