"""
Recorded vectors against the same history computed again offline, over a sample of entities with their whole past.
"""

import hashlib
import heapq
from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.adapters.postgres_history import DecisionHistory, ToldLabel
from fraudstream.app.loading import load_rulebook
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.errors import InvalidSettings
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.inspected import entity_kinds, recorded_values
from fraudstream.features.kernel import compute, records
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.records import Records
from fraudstream.features.states import Standing
from fraudstream.settings import Settings

_BATCH = 512
_OUTCOMES = {Outcome.APPROVE: 0, Outcome.CHALLENGE: 1, Outcome.REVIEW: 2, Outcome.BLOCK: 3}
_HASH_BYTES = 8


class FeatureParity(msgspec.Struct):
    """
    One feature: values compared, those that differ, and of them those unknown in the record only (``missing``) or in the second
    computation only (``extra``). ``bucketed`` ones may differ by what several workers had in flight.
    """

    bucketed: bool
    compared: int = 0
    mismatches: int = 0
    missing: int = 0
    extra: int = 0


class ParityReport(msgspec.Struct, kw_only=True):
    """
    ``rows`` vectors were compared in part or whole; ``other_feature_set`` and ``without_vector`` could not be.
    """

    feature_set: str
    sample: float
    rows: int = 0
    other_feature_set: int = 0
    without_vector: int = 0
    features: dict[str, FeatureParity]

    @property
    def exact_mismatches(self) -> int:
        """
        Values that differ though nothing in flight can be the reason.
        """
        return sum(one.mismatches for one in self.features.values() if not one.bucketed)


async def run_parity(settings: Settings, *, sample: float) -> ParityReport:
    """
    Compute the recorded vectors again from the decisions on record, in the order in which they were received.

    An entity is in the sample by the hash of its id; all of its transactions are replayed. A value is compared where every
    entity that its feature looks at is in the sample. Outcomes are known from the moment of the decision, labels from when they
    were stored, as in life. Transactions of one millisecond may have been touched in another order than they are replayed.

    Raises:
        InvalidSettings: No database is named.
        DecisionStoreUnavailable: It does not answer.
    """
    if settings.postgres_url is None:
        raise InvalidSettings("decisions are read from the database; set POSTGRES_URL or give --postgres-url")
    features = load_rulebook(settings).features
    parity = _Parity(features, sample, settings.dedup_horizon_s * 1_000)
    history = await DecisionHistory.connect(settings.postgres_url)
    try:
        labels = await history.labels() if features.reads_labels else {}
        async for decision in history.decisions():
            parity.add(decision, labels.get(decision.transaction.transaction_id, ()))
    finally:
        await history.close()
    parity.flush()
    return parity.report


class _Parity:
    """
    The replay: decisions in, in batches that end where something becomes known of an earlier transaction.
    """

    def __init__(self, features: FeatureSet, sample: float, horizon_ms: int) -> None:
        self._features = features
        self._bound = int(sample * 256**_HASH_BYTES)
        self._store = MemoryEntityStore(features, horizon_ms=horizon_ms)
        self._kinds = entity_kinds(features)
        self._waiting: list[tuple[datetime, int, Transaction, int | bool]] = []
        self._noted = 0
        self._batch: list[Decision] = []
        rings = set(features.rings)
        self.report = ParityReport(
            feature_set=features.id,
            sample=sample,
            features={name: FeatureParity(bool(self._kinds[name] & rings)) for name in features.names},
        )

    def add(self, decision: Decision, labels: Sequence[ToldLabel]) -> None:
        if not any(
            self._sampled(kind, ids[0]) for kind, ids in records(self._features, [decision.transaction]).entities.items()
        ):
            return
        if (self._waiting and self._waiting[0][0] <= decision.received_at) or len(self._batch) == _BATCH:
            self.flush()
            self._learn(decision.received_at)
        self._batch.append(decision)
        if self._features.reads_outcome and decision.flagged:
            self._note(decision.decided_at, decision.transaction, _OUTCOMES[decision.outcome])
        for label in labels:
            self._note(label.recorded_at, decision.transaction, label.fraud)

    def _note(self, at: datetime, transaction: Transaction, known: int | bool) -> None:
        self._noted += 1
        heapq.heappush(self._waiting, (at, self._noted, transaction, known))

    def _learn(self, now: datetime) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, transaction, known = heapq.heappop(self._waiting)
            rows = records(self._features, [transaction])
            if isinstance(known, bool):
                self._store.set_labels(rows, [known])
            else:
                self._store.set_outcomes(rows, [known])

    def flush(self) -> None:
        """
        Compute what has gathered, and compare.
        """
        batch, self._batch = self._batch, []
        if not batch:
            return
        transactions = [one.transaction for one in batch]
        rows = records(self._features, transactions)
        standings = [self._touch(one) for one in batch]
        ours = compute(self._features, transactions, rows, standings, self._store.states(rows))
        comparable = np.array([self._comparable(one) for one in batch], np.bool_)
        theirs = recorded_values(self._features, [one.vector for one in batch])
        self.report.rows += int(comparable.sum())
        inside = {
            kind: np.array([one is None or self._sampled(kind, one) for one in ids]) for kind, ids in rows.entities.items()
        }
        for column, name in enumerate(self._features.names):
            asked = np.logical_and.reduce([comparable, *(inside[kind] for kind in self._kinds[name])])
            _count(self.report.features[name], theirs[asked, column], ours[asked, column])

    def _touch(self, decision: Decision) -> Standing:
        rows: Records = records(self._features, [decision.transaction])
        return self._store.touch(rows, now_ms=round(decision.received_at.timestamp() * 1_000))[0]

    def _comparable(self, decision: Decision) -> bool:
        if decision.feature_set != self._features.id:
            self.report.other_feature_set += 1
        elif not decision.vector:
            self.report.without_vector += 1
        else:
            return True
        return False

    def _sampled(self, kind: str, entity: str | None) -> bool:
        if entity is None:
            return False
        digest = hashlib.blake2b(f"{kind}:{entity}".encode(), digest_size=_HASH_BYTES).digest()
        return int.from_bytes(digest, "big") < self._bound


def _count(found: FeatureParity, theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> None:
    unknown, now_unknown = np.isnan(theirs), np.isnan(ours)
    found.compared += len(theirs)
    found.mismatches += int((~((theirs == ours) | (unknown & now_unknown))).sum())
    found.missing += int((unknown & ~now_unknown).sum())
    found.extra += int((~unknown & now_unknown).sum())
