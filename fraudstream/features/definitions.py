"""
A checked set of features: what the kernel computes, what the stores must keep for it, and the id that ties values to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.compiled_plans import CompiledPlan, Planning
from fraudstream.features.layout import RecordLayout
from fraudstream.features.plans import LogPlan, log_plan
from fraudstream.features.syntax import Aggregate, Expression, references

#: Low two bits of the flag byte: 0 approve or not yet decided, 1 challenge, 2 review, 3 block.
OUTCOME_MASK = 0b0011
#: Set once somebody reported the transaction as fraud.
FRAUD_FLAG = 0b0100
#: Set once somebody reported the transaction as legitimate.
LEGITIMATE_FLAG = 0b1000
#: One slot of a ring, exactly as the script writes it.
SLOT = np.dtype([("bucket", "<u4"), ("count", "<u4"), ("frauds", "<u4"), ("sum", "<f8")])
#: Name of the record's field that holds a coarse place (latitude and longitude).
PLACE = "place"


@dataclass(frozen=True, slots=True)
class Feature:
    """
    One column: ``default`` is its value where there is no history or a field is missing (NaN = unknown), ``description`` is
    one sentence for people, ``source`` the definition as it stands in the file.
    """

    name: str
    unit: str
    default: float
    description: str
    source: str
    body: Aggregate | Expression


@dataclass(frozen=True, slots=True)
class Entity:
    """
    What history hangs on: ``kind`` names it in keys, ``fields`` name it in a transaction, ``log`` says how its past is kept.
    """

    kind: str
    fields: tuple[str, ...]
    log: bool


@dataclass(frozen=True)
class FeatureSet:
    """
    Features in the order of their columns, with everything that stores and scripts must know to keep their state.

    ``id`` changes with whatever changes a value, and not with how states are laid out. ``layouts`` say per kind of log how its
    records look, ``hashed`` which fields any of them keeps a 32-bit word of; ``former_log_layout`` stands in the keys of the
    time when all kinds had the same records. ``ring_layout`` is a short hash that stands in keys, so that rings of another size
    never meet. ``order`` lists all columns, each after what it refers to. ``ring_resolutions`` are (milliseconds, byte offset,
    slots). A log keeps ``log_cap_records``; a state lives for ``state_ttl_s`` seconds after its last event. ``reads_outcome``
    and ``reads_labels`` say whether flags must be set at all.
    """

    id: str
    features: tuple[Feature, ...]
    entities: tuple[Entity, ...]
    hashed: tuple[str, ...]
    order: tuple[int, ...]
    layouts: Mapping[str, RecordLayout]
    former_log_layout: str
    ring_layout: str
    ring_resolutions: tuple[tuple[int, int, int], ...]
    log_cap_records: int
    state_ttl_s: int
    reads_outcome: bool
    reads_labels: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """
        Names of the columns, in order.
        """
        return tuple(feature.name for feature in self.features)

    @cached_property
    def logs(self) -> tuple[str, ...]:
        """
        Kinds of entity kept as event logs, in the order of the file.
        """
        return tuple(entity.kind for entity in self.entities if entity.log)

    @cached_property
    def rings(self) -> tuple[str, ...]:
        """
        Kinds of entity kept as rings of buckets, in the order of the file.
        """
        return tuple(entity.kind for entity in self.entities if not entity.log)

    def log_cap_bytes(self, kind: str) -> int:
        """
        Longest log; one that grows beyond it loses its oldest quarter.
        """
        return self.log_cap_records * self.layouts[kind].size

    def log_drop_bytes(self, kind: str) -> int:
        """
        Bytes of that quarter: whole records.
        """
        return self.log_cap_records // 4 * self.layouts[kind].size

    @cached_property
    def ring_size(self) -> int:
        """
        Bytes of a full ring, all resolutions.
        """
        return sum(slots for _, _, slots in self.ring_resolutions) * SLOT.itemsize

    @cached_property
    def ring_reach(self) -> tuple[int, ...]:
        """
        How many buckets back the longest window of each resolution begins.
        """
        reach = [0] * len(self.ring_resolutions)
        for columns in self.aggregates.values():
            for _, one in columns:
                if one.resolution is not None and one.over_s is not None:
                    width_ms = self.ring_resolutions[one.resolution][0]
                    reach[one.resolution] = max(reach[one.resolution], (one.over_s + one.delayed_s) * 1_000 // width_ms + 1)
        return tuple(reach)

    @cached_property
    def aggregates(self) -> dict[str, tuple[tuple[int, Aggregate], ...]]:
        """
        Per kind of entity the columns that are aggregates over it.
        """
        found: dict[str, list[tuple[int, Aggregate]]] = {}
        for column, feature in enumerate(self.features):
            if isinstance(feature.body, Aggregate):
                found.setdefault(feature.body.entity, []).append((column, feature.body))
        return {kind: tuple(columns) for kind, columns in found.items()}

    @cached_property
    def log_plans(self) -> dict[str, LogPlan]:
        """
        Per kind of log what the aggregates over it look at.
        """
        return {kind: log_plan(self.aggregates.get(kind, ())) for kind in self.logs}

    @cached_property
    def defaults(self) -> NDArray[np.float64]:
        """
        The values of the columns where there is nothing to say: shape (features,).
        """
        return np.array([feature.default for feature in self.features], np.float64)

    @cached_property
    def alone(self) -> frozenset[int]:
        """
        The columns that are aggregates and refer to no other feature.
        """
        columns = (column for pairs in self.aggregates.values() for column, body in pairs if not any(references(body)))
        return frozenset(columns)

    @cached_property
    def compiled_plan(self) -> CompiledPlan:
        """
        What of this the compiled kernel does.
        """
        slots = [(width_ms, offset // SLOT.itemsize, count) for width_ms, offset, count in self.ring_resolutions]
        return Planning(self.names, [feature.body for feature in self.features], self.layouts, slots).plan()
