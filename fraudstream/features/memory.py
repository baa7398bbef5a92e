"""
Entity states in memory, moved exactly as the script ``touch`` moves them in Redis: for replay, training and tests.
"""

import struct
from collections.abc import Sequence

from fraudstream.features.definitions import FRAUD_FLAG, LEGITIMATE_FLAG, OUTCOME_MASK, SLOT, FeatureSet
from fraudstream.features.layout import place_in
from fraudstream.features.records import Records
from fraudstream.features.states import Standing, States

_SLOT = struct.Struct("<IIId")


class MemoryEntityStore:
    """
    The states of all entities, for ever: nothing here expires.

    Args:
        features: Says what is kept, and how.
        horizon_ms: Events older than this are late; 0 takes every event as in time, as a replay of history does.
    """

    def __init__(self, features: FeatureSet, *, horizon_ms: int = 0) -> None:
        self._features = features
        self._horizon_ms = horizon_ms
        self._logs: dict[str, dict[str, bytearray]] = {kind: {} for kind in features.logs}
        self._rings: dict[str, dict[str, bytearray]] = {kind: {} for kind in features.rings}
        self._standings: dict[int, Standing] = {}
        self._frauds: set[int] = set()

    def touch(self, records: Records, *, now_ms: int = 0) -> list[Standing]:
        """
        Move the states of each transaction once, and say how each one stands.

        A second call with the same transactions moves nothing and answers ``SEEN``, or ``LATE`` again.

        Args:
            records: What the batch adds.
            now_ms: The clock, only looked at when there is a horizon.
        """
        standings = [
            self._stand(int(digest), int(at), now_ms) for digest, at in zip(records.hashes, records.occurred_s, strict=True)
        ]
        moved = [row for row, standing in enumerate(standings) if standing is Standing.TOUCHED]
        for kind in self._features.logs:
            self._append(kind, records, moved)
        for kind in self._features.rings:
            self._count(kind, records, moved)
        return standings

    def states(self, records: Records) -> States:
        """
        Read the state of every entity of a batch as it is now.
        """
        return States(
            logs={kind: _read(self._logs[kind], records.entities[kind]) for kind in self._features.logs},
            rings={kind: _read(self._rings[kind], records.entities[kind]) for kind in self._features.rings},
        )

    def kept(self, kind: str) -> dict[str, bytes]:
        """
        Return the states of all entities of a kind, by id.
        """
        states = self._logs[kind] if kind in self._logs else self._rings[kind]
        return {entity: bytes(state) for entity, state in states.items()}

    def set_outcomes(self, records: Records, outcomes: Sequence[int]) -> None:
        """
        Note what each transaction came to (0 approve, 1 challenge, 2 review, 3 block), where its record is still in a log.
        """
        for row, outcome in enumerate(outcomes):
            self._flag(records, row, OUTCOME_MASK, outcome & OUTCOME_MASK)

    def set_labels(self, records: Records, frauds: Sequence[bool]) -> None:
        """
        Note what became known of each transaction: in the record's flags and, for a fraud, in the bucket while it is there.

        A second call with the same labels changes nothing; a label that says otherwise takes back what the first one did.
        """
        for row, fraud in enumerate(frauds):
            digest = int(records.hashes[row])
            self._flag(records, row, FRAUD_FLAG | LEGITIMATE_FLAG, FRAUD_FLAG if fraud else LEGITIMATE_FLAG)
            if fraud and digest not in self._frauds:
                self._frauds.add(digest)
                self._count_fraud(records, row, 1)
            elif not fraud and digest in self._frauds:
                self._frauds.remove(digest)
                self._count_fraud(records, row, -1)

    def _stand(self, digest: int, occurred_s: int, now_ms: int) -> Standing:
        known = self._standings.get(digest)
        if known is not None:
            return known
        late = self._horizon_ms > 0 and now_ms - occurred_s * 1_000 > self._horizon_ms
        self._standings[digest] = Standing.LATE if late else Standing.SEEN
        return Standing.LATE if late else Standing.TOUCHED

    def _append(self, kind: str, records: Records, moved: Sequence[int]) -> None:
        logs, ids = self._logs[kind], records.entities[kind]
        cap, drop = self._features.log_cap_bytes(kind), self._features.log_drop_bytes(kind)
        packed = records.packed[kind]
        for row in moved:
            entity = ids[row]
            if entity is None:
                continue
            log = logs.get(entity)
            if log is None:
                log = logs[entity] = bytearray()
            log += packed[row]
            if len(log) > cap:
                del log[:drop]

    def _count(self, kind: str, records: Records, moved: Sequence[int]) -> None:
        rings, ids = self._rings[kind], records.entities[kind]
        for row in moved:
            entity = ids[row]
            if entity is None:
                continue
            ring = rings.setdefault(entity, bytearray())
            event_ms, amount = int(records.occurred_s[row]) * 1_000, float(records.amounts[row])
            for width_ms, offset, slots in self._features.ring_resolutions:
                bucket = event_ms // width_ms
                at = offset + SLOT.itemsize * (bucket % slots)
                if len(ring) < at + SLOT.itemsize:
                    ring.extend(bytes(at + SLOT.itemsize - len(ring)))
                there, count, frauds, total = _SLOT.unpack_from(ring, at)
                if there < bucket:
                    _SLOT.pack_into(ring, at, bucket, 1, 0, amount)
                elif there == bucket:
                    _SLOT.pack_into(ring, at, bucket, count + 1, frauds, total + amount)

    def _flag(self, records: Records, row: int, mask: int, bits: int) -> None:
        identity = records.identity(row)
        for kind, logs in self._logs.items():
            entity = records.entities[kind][row]
            log = None if entity is None else logs.get(entity)
            layout = self._features.layouts[kind]
            place = -1 if log is None else place_in(bytes(log), identity, layout.size)
            if log is not None and place >= 0:
                at = place + layout.flag_offset
                log[at] = log[at] & ~mask | bits

    def _count_fraud(self, records: Records, row: int, change: int) -> None:
        for kind, rings in self._rings.items():
            entity = records.entities[kind][row]
            ring = None if entity is None else rings.get(entity)
            if ring is None:
                continue
            for width_ms, offset, slots in self._features.ring_resolutions:
                bucket = int(records.occurred_s[row]) * 1_000 // width_ms
                at = offset + SLOT.itemsize * (bucket % slots)
                if len(ring) < at + SLOT.itemsize:
                    continue
                there, count, frauds, total = _SLOT.unpack_from(ring, at)
                if there == bucket and frauds + change >= 0:
                    _SLOT.pack_into(ring, at, bucket, count, frauds + change, total)


def _read(kept: dict[str, bytearray], ids: Sequence[str | None]) -> list[bytes]:
    """
    Return one state per row; rows of one entity share it.
    """
    found: dict[str | None, bytes] = {None: b""}
    for entity in ids:
        if entity is not None and entity not in found:
            found[entity] = bytes(kept.get(entity, b""))
    return [found[entity] for entity in ids]
