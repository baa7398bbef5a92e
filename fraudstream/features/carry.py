"""
Entity states that outlive their layout: laid out anew for other definitions, and joined with what has gathered meanwhile.

A record that is in a log keeps its place there, because a transaction's past is what stands before it; what is added stands
in front.
"""

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.definitions import SLOT, FeatureSet

Slots = NDArray[np.void]


def relaid_log(old: FeatureSet, new: FeatureSet, log: bytes) -> bytes:
    """
    Return a log in the records of other definitions; a field that the old ones lack is unknown in all of them.
    """
    before = _records(old, log)
    after = np.zeros(len(before), new.record_dtype)
    for name in set(old.record_dtype.names or ()) & set(new.record_dtype.names or ()):
        after[name] = before[name]
    return after.tobytes()


def joined_log(features: FeatureSet, earlier: bytes, there: bytes) -> bytes:
    """
    Return a log with what ``earlier`` holds and it lacks put in front, and fields that it does not know filled from there.

    Args:
        features: The definitions of both.
        earlier: A log that goes further back, in the order of arrival; it may hold what ``there`` holds too.
        there: The log as it stands.
    """
    ours, kept = _records(features, earlier), _records(features, there).copy()
    missing = ~np.isin(ours["hash"], kept["hash"])
    # Of a hash that stands twice the first place is taken: both are the same transaction.
    known, place = np.unique(ours["hash"], return_index=True)
    at = np.searchsorted(known, kept["hash"]).clip(max=max(len(known) - 1, 0))
    both = known[at] == kept["hash"] if len(known) else np.zeros(len(kept), np.bool_)
    theirs = ours[place[at]] if len(known) else kept
    for name in (*features.hashed, "flags"):
        kept[name] = np.where(both & (kept[name] == 0), theirs[name], kept[name])
    return np.concatenate([ours[missing], kept])[-features.log_cap_records :].tobytes()


def relaid_ring(old: FeatureSet, new: FeatureSet, ring: bytes) -> bytes:
    """
    Return a ring in the resolutions of other definitions: the same buckets, or coarser ones added up from finer ones.

    What the old resolutions cannot tell starts empty.
    """
    parts = _resolutions(old, ring)
    return b"".join(_rebuilt(parts, width_ms, slots) for width_ms, _, slots in new.ring_resolutions)


def joined_ring(features: FeatureSet, earlier: bytes, there: bytes) -> bytes:
    """
    Return a ring that holds, slot by slot, the newer bucket of two, and of the same bucket the one that has counted more.
    """
    ours, kept = _slots(features, earlier), _slots(features, there)
    better = (ours["bucket"] > kept["bucket"]) | ((ours["bucket"] == kept["bucket"]) & (ours["count"] > kept["count"]))
    return np.where(better, ours, kept).tobytes()


def _records(features: FeatureSet, log: bytes) -> NDArray[np.void]:
    whole = len(log) // features.record_size * features.record_size
    return np.frombuffer(log[:whole], features.record_dtype)


def _slots(features: FeatureSet, ring: bytes) -> Slots:
    return np.frombuffer(ring[: features.ring_size].ljust(features.ring_size, b"\0"), SLOT)


def _resolutions(features: FeatureSet, ring: bytes) -> dict[int, Slots]:
    """
    Return the filled slots of a ring by the width of their buckets in milliseconds.
    """
    slots = _slots(features, ring)
    found = {}
    for width_ms, offset, count in features.ring_resolutions:
        part = slots[offset // SLOT.itemsize : offset // SLOT.itemsize + count]
        found[width_ms] = part[part["count"] > 0]
    return found


def _rebuilt(parts: dict[int, Slots], width_ms: int, slots: int) -> bytes:
    """
    Return one resolution, from the coarsest old one that fits into it.
    """
    ring = np.zeros(slots, SLOT)
    source_ms = max((width for width, part in parts.items() if width_ms % width == 0 and len(part)), default=0)
    if not source_ms:
        return ring.tobytes()
    part = parts[source_ms]
    buckets, place = np.unique(part["bucket"].astype(np.int64) * source_ms // width_ms, return_inverse=True)
    whole = np.zeros(len(buckets), SLOT)
    whole["bucket"] = buckets
    for name in ("count", "frauds", "sum"):
        whole[name] = np.bincount(place, part[name].astype(np.float64), minlength=len(buckets))
    for slot in whole[buckets > buckets[-1] - slots]:
        ring[int(slot["bucket"]) % slots] = slot
    return ring.tobytes()
