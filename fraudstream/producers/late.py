"""
Events that live workers would count nowhere: older than the deduplication horizon.
"""

from collections.abc import Iterable, Iterator

from fraudstream.domain.errors import InvalidSource
from fraudstream.producers.labelled import Labelled


def refuse_late(source: Iterable[Labelled], *, now_ms: int, horizon_s: int, allow: bool) -> Iterator[Labelled]:
    """
    Pass a source on, and stop at the first event older than the horizon unless that is wanted.

    Live workers decide such an event, but it moves no velocity counter. A replay of history belongs to workers whose horizon
    is off (FRAUDSTREAM_DEDUP_HORIZON_S=0).

    Raises:
        InvalidSource: An event is older than ``horizon_s`` (0 = no horizon) and ``allow`` is False.
    """
    oldest_ms = now_ms - horizon_s * 1000
    for row in source:
        if horizon_s and not allow and 0 < row.occurred_at_ms < oldest_ms:
            raise InvalidSource(
                f"transaction {row.transaction_id} is {(now_ms - row.occurred_at_ms) // 1000} s old, over the deduplication "
                f"horizon of {horizon_s} s: workers would decide it and move no counter. Replay history with "
                "FRAUDSTREAM_DEDUP_HORIZON_S=0 for workers and producer, or send it all the same with --allow-late"
            )
        yield row
