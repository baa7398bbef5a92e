"""
How far each value can be trusted: whether the window was fully known, rounded to buckets, cut short, late, or cold.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.definitions import SLOT, FeatureSet
from fraudstream.features.layout import IDENTITY_BYTES, RecordLayout, place_in
from fraudstream.features.records import Records
from fraudstream.features.states import Standing, States
from fraudstream.features.syntax import Aggregate, references


class Quality(IntEnum):
    """
    From best to worst; a feature is as good as the worst that it refers to.

    ``EXACT``: every event of the window was there. ``BUCKETED``: it was rounded to whole buckets. ``SATURATED``: the log
    was full and may have lost events of the window. ``LATE``: the transaction came after the horizon and moved no state.
    ``COLD``: nothing was known before the transaction, or it lacks the entity.
    """

    EXACT = 0
    BUCKETED = 1
    SATURATED = 2
    LATE = 3
    COLD = 4


def qualities(features: FeatureSet, records: Records, standings: Sequence[Standing], states: States) -> NDArray[np.uint8]:
    """
    Judge every value of a batch from the same states that ``compute`` reads.

    Returns:
        Shape (batch, features), uint8, values of ``Quality``, columns in the order of ``features.names``.
    """
    found = np.zeros((len(features.names), len(standings)), np.uint8)
    late = np.array([standing is Standing.LATE for standing in standings], np.bool_)
    for kind, columns in features.aggregates.items():
        if kind in states.logs:
            count, oldest_s = _reach(features.layouts[kind], kind, records, standings, states.logs[kind])
        else:
            # A ring does not say what stood in it before: it is cold where it holds nothing but the transaction itself.
            count, oldest_s = _ring_events(features, records, standings, states.rings[kind]), records.occurred_s
        for column, one in columns:
            found[column] = _judged(features, one, late, count, records.occurred_s - oldest_s)
    places = {name: column for column, name in enumerate(features.names)}
    for column in features.order:
        parts = [found[places[node.name]] for node in references(features.features[column].body)]
        found[column] = np.maximum.reduce([found[column], *parts])
    return np.ascontiguousarray(found.T)


def _judged(
    features: FeatureSet, body: Aggregate, late: NDArray[np.bool_], count: NDArray[np.int64], reach_s: NDArray[np.int64]
) -> NDArray[np.uint8]:
    best = Quality.EXACT if body.resolution is None else Quality.BUCKETED
    quality = np.full(len(late), best, np.uint8)
    if body.resolution is None:
        kept = features.log_cap_records - features.log_cap_records // 4
        needed_s = np.inf if body.over_s is None else body.over_s + body.delayed_s
        # A log that once was full has at least this many records; it knows nothing before the oldest of them.
        quality[(count >= kept) & (reach_s < needed_s)] = Quality.SATURATED
    quality[late] = Quality.LATE
    quality[count <= 0] = Quality.COLD
    return quality


def _reach(
    layout: RecordLayout, kind: str, records: Records, standings: Sequence[Standing], logs: Sequence[bytes]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """
    Return, per row, how many records stand before the own one, and the event time of the first of them in seconds.
    """
    counts, oldest = [], []
    for log, record, standing, now in zip(logs, records.packed[kind], standings, records.occurred_s.tolist(), strict=True):
        before = len(log) if standing is Standing.LATE else place_in(log, record[:IDENTITY_BYTES], layout.size)
        counts.append(max(before, 0) // layout.size)
        oldest.append(int(layout.table(log[: layout.size])["time"][0]) if before > 0 else now)
    return np.array(counts, np.int64), np.array(oldest, np.int64)


def _ring_events(
    features: FeatureSet, records: Records, standings: Sequence[Standing], rings: Sequence[bytes]
) -> NDArray[np.int64]:
    """
    Return, per row, how many events its ring holds at its coarsest width, without the transaction itself.
    """
    width_ms, offset, slots = features.ring_resolutions[-1]
    start, end = offset, offset + slots * SLOT.itemsize
    counts = []
    for ring, standing, now in zip(rings, standings, records.occurred_s.tolist(), strict=True):
        held = np.frombuffer(ring[start:end].ljust(end - start, b"\0"), SLOT)
        own = standing is not Standing.LATE and int(held["bucket"][now * 1_000 // width_ms % slots]) == now * 1_000 // width_ms
        counts.append(int(held["count"].sum()) - own)
    return np.array(counts, np.int64)
