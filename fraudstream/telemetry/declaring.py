"""
How a metric is declared: named, described, registered, and with every known label set present from the start.
"""

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

#: What the name of every metric begins with.
NAMESPACE = "fraudstream"

_M = TypeVar("_M", bound=MetricWrapperBase)


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """
    Observe many values, none of them NaN: one step for each bucket that they fall into, where ``observe`` takes one for each.

    It looks into the library, which is pinned; a test holds it against ``observe``.
    """
    if not values:
        return
    bounds, buckets, total = histogram._upper_bounds, histogram._buckets, histogram._sum  # noqa: SLF001 - as said above
    for at, count in Counts([bisect_left(bounds, value) for value in values]).items():
        buckets[at].inc(count)
    total.inc(sum(values))


class Described(NamedTuple):
    """
    One metric as the catalogue lists it; ``name`` is what a query says, ``type`` counter, gauge or histogram.
    """

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Declarer:
    """
    Declares metrics into one registry, or nowhere: without one a metric can be used and is not exposed.

    Every method takes ``rows``, the label sets that exist from the start. Without them a rate would be absent instead of zero
    until the first event, and the first event itself would not count as a rise.
    """

    def __init__(self, registry: CollectorRegistry | None, described: list[Described]) -> None:
        self._registry = registry
        self._described = described

    def counter(self, name: str, text: str, labels: Sequence[str] = (), rows: Iterable[Sequence[str]] = ()) -> Counter:
        """
        Declare a counter; its name ends in ``_total``.
        """
        metric = Counter(name, text, labels, namespace=NAMESPACE, registry=self._registry)
        return self._declared(metric, name, text, labels, rows)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """
        Declare a gauge. With labels it is absent until set: zero would be a claim.
        """
        metric = Gauge(name, text, labels, namespace=NAMESPACE, registry=self._registry)
        return self._declared(metric, name, text, labels, ())

    def histogram(
        self, name: str, text: str, labels: Sequence[str], rows: Iterable[Sequence[str]], buckets: Sequence[float]
    ) -> Histogram:
        """
        Declare a histogram with these upper bounds, the last one (infinity) left out.
        """
        metric = Histogram(name, text, labels, namespace=NAMESPACE, registry=self._registry, buckets=buckets)
        return self._declared(metric, name, text, labels, rows)

    def _declared(self, metric: _M, name: str, text: str, labels: Sequence[str], rows: Iterable[Sequence[str]]) -> _M:
        self._described.append(Described(f"{NAMESPACE}_{name}", type(metric).__name__.lower(), tuple(labels), text))
        for row in rows:
            metric.labels(*row)
        return metric
