"""
Entity states that outlive their layout: laid out anew for other definitions, and joined with what has gathered meanwhile.

A record that is in a log keeps its place there, because a transaction's past is what stands before it; what is added stands
in front.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.definitions import SLOT, FeatureSet
from fraudstream.features.layout import HASH_BYTES, IDENTITY_BYTES, RecordLayout, write_amounts

Slots = NDArray[np.void]


def former_dtype(hashed: Sequence[str]) -> np.dtype[np.void]:
    """
    Return how records looked while those of all kinds were alike: every hashed field, wide hashes, wide amounts.
    """
    return np.dtype([("hash", "<u8"), ("time", "<u4"), ("amount", "<i8"), *((name, "<u4") for name in hashed), ("flags", "u1")])


def relaid_former_log(old: FeatureSet, layout: RecordLayout, log: bytes) -> bytes:
    """
    Return a log of former records in those of a layout; a field that the old definitions lack is unknown in all of them.
    """
    dtype = former_dtype(old.hashed)
    before = np.frombuffer(log, dtype, len(log) // dtype.itemsize)
    after = np.zeros(len(before), layout.dtype)
    after["hash"] = np.ascontiguousarray(before["hash"]).view(np.uint8).reshape(-1, 8)[:, :HASH_BYTES]
    write_amounts(after, before["amount"])
    for name in ("time", "flags", *(set(old.hashed) & set(layout.words))):
        after[name] = before[name]
    return after.tobytes()


def relaid_log(old: RecordLayout, new: RecordLayout, log: bytes) -> bytes:
    """
    Return a log in records of another layout; a field that the old ones lack is unknown in all of them.
    """
    before = old.table(log)
    after = np.zeros(len(before), new.dtype)
    for name in set(old.dtype.names or ()) & set(new.dtype.names or ()):
        after[name] = before[name]
    return after.tobytes()


def joined_log(features: FeatureSet, kind: str, earlier: bytes, there: bytes) -> bytes:
    """
    Return a log with what ``earlier`` holds and it lacks put in front, and fields that it does not know filled from there.

    Args:
        features: The definitions of both.
        kind: The kind of entity that both are of.
        earlier: A log that goes further back, in the order of arrival; it may hold what ``there`` holds too.
        there: The log as it stands.
    """
    layout = features.layouts[kind]
    ours, kept = layout.table(earlier), layout.table(there).copy()
    known, stands = _identities(ours, layout), _identities(kept, layout)
    # Of a transaction that stands twice the first place is taken: both are the same.
    places = {identity: place for place, identity in reversed(list(enumerate(known)))}
    theirs = np.array([places.get(identity, -1) for identity in stands], np.int64)
    for name in (*layout.words, "flags") if len(ours) else ():
        kept[name] = np.where((theirs >= 0) & (kept[name] == 0), ours[name][theirs], kept[name])
    there_already = set(stands)
    missing = np.array([identity not in there_already for identity in known], np.bool_)
    return np.concatenate([ours[missing], kept])[-features.log_cap_records :].tobytes()


def _identities(table: NDArray[np.void], layout: RecordLayout) -> list[bytes]:
    raw = table.tobytes()
    return [raw[at : at + IDENTITY_BYTES] for at in range(0, len(raw), layout.size)]


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
