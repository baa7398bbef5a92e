"""
The other end of the exporter: what the pages of a fleet add up to.
"""

from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families


def read(page: str, name: str, **labels: str) -> float:
    """
    Return the sum of a metric over its series on one page, 0 where there is none.
    """
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def counted(pages: Iterable[str], name: str, **labels: str) -> int:
    """
    Return the sum of a counter over the workers' pages.
    """
    return int(sum(read(page, name, **labels) for page in pages))
