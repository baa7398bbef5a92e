"""
States that outlive a change of definitions: ``features migrate`` from the old keys, ``features backfill`` from the records.
"""

import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from fraudstream.adapters.postgres_history import DecisionHistory, ToldLabel
from fraudstream.adapters.redis_carry import Join, StateCarrier
from fraudstream.adapters.redis_client import connected
from fraudstream.adapters.redis_keys import Keys
from fraudstream.app.connections import address, one_partition
from fraudstream.app.demo import Progress
from fraudstream.app.loading import load_rulebook, read_features
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.errors import InvalidFeatures, InvalidSettings
from fraudstream.domain.transaction import Transaction
from fraudstream.features.carry import joined_log, joined_ring, relaid_former_log, relaid_log, relaid_ring
from fraudstream.features.definitions import FRAUD_FLAG, LEGITIMATE_FLAG, Entity, FeatureSet
from fraudstream.features.kernel import records
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.settings import Settings

_BATCH = 512
_OUTCOMES = {Outcome.APPROVE: 0, Outcome.CHALLENGE: 1, Outcome.REVIEW: 2, Outcome.BLOCK: 3}
#: Lays a state out anew.
Relay = Callable[[bytes], bytes]
#: What the script ``labels`` keeps of the last label of a transaction, before the label's own id: when (ms), and the flag.
_TOLD = struct.Struct("<dd")


class Carried(msgspec.Struct, kw_only=True):
    """
    What was carried over: per kind of entity the states that were read, and those of ours that changed.

    ``cold`` names kinds and fields of which nothing is known yet; they fill from now on, or by a backfill.
    """

    feature_set: str
    read: dict[str, int] = {}
    changed: dict[str, int] = {}
    cold: list[str] = []
    transactions: int = 0
    labels: int = 0


async def migrate_states(settings: Settings, old_file: Path, progress: Progress) -> Carried:
    """
    Lay the states behind other definitions out for those in force, and join them to what is there already.

    It may run while the old workers do and again after they have stopped: what is there is not added twice.

    Args:
        settings: Name Redis and the new definitions.
        old_file: The definitions that the states were kept by.
        progress: Told of the states of each kind.

    Raises:
        InvalidFeatures: One of the files is wrong, or a kind stands for another entity there.
        StreamUnavailable: Redis did not answer, or workers of the new definitions are too busy; run again.
    """
    one_partition(settings, "features migrate")
    old, new = read_features(old_file), load_rulebook(settings).features
    carried = Carried(feature_set=new.id, cold=_cold(old, new))
    async with connected(address(settings)) as client:
        before, after = StateCarrier(client, old, Keys()), StateCarrier(client, new, Keys())
        for kind, entity in _same_kinds(old, new).items():
            join: Join = partial(joined_log, new, kind) if entity.log else partial(joined_ring, new)
            read = changed = 0
            for former, relay in _relays(old, new, entity).items():
                async for found in before.entities(kind, former=former):
                    read += len(found)
                    changed += await after.join(kind, {one: relay(state) for one, state in found.items()}, join)
                    progress.count(f"states of {kind}", read, None)
            carried.read[kind], carried.changed[kind] = read, changed
    return carried


def _relays(old: FeatureSet, new: FeatureSet, entity: Entity) -> Mapping[bool, Relay]:
    """
    Return how the states of a kind are laid out anew: by True the former logs, by False those behind the old definitions,
    unless they stand where the new ones do.
    """
    if not entity.log:
        return {} if old.ring_layout == new.ring_layout else {False: partial(relaid_ring, old, new)}
    before, after = old.layouts[entity.kind], new.layouts[entity.kind]
    # The newer first: what goes further back is put in front of what is there.
    former: dict[bool, Relay] = {True: partial(relaid_former_log, old, after)}
    return former if before == after else {False: partial(relaid_log, before, after), **former}


def _same_kinds(old: FeatureSet, new: FeatureSet) -> Mapping[str, Entity]:
    """
    Return the kinds of entity that both keep, and keep alike.

    Raises:
        InvalidFeatures: One stands for something else now, and would meet the states of what it stood for.
    """
    before = {entity.kind: entity for entity in old.entities}
    for entity in new.entities:
        known = before.get(entity.kind)
        if known is not None and known.fields != entity.fields:
            raise InvalidFeatures(
                f"entity {entity.kind} stands for {' and '.join(entity.fields)} now and stood for {' and '.join(known.fields)};"
                " give it another name"
            )
    return {entity.kind: entity for entity in new.entities if entity == before.get(entity.kind)}


def _cold(old: FeatureSet, new: FeatureSet) -> list[str]:
    kinds = [entity.kind for entity in new.entities if entity not in old.entities]
    lacking = {
        name
        for kind, layout in new.layouts.items()
        if kind in old.layouts
        for name in set(layout.words) - set(old.layouts[kind].words)
    }
    return kinds + sorted(lacking)


async def backfill_states(settings: Settings, progress: Progress) -> Carried:
    """
    Fill the states behind the definitions in force from the decisions and labels on record, beside running workers.

    What a state knows already stays as it is and where it is; what is missing is put before it.

    Raises:
        InvalidSettings: No database is named.
        DecisionStoreUnavailable: It did not answer.
        StreamUnavailable: Redis did not answer, or workers move a state faster than it can be joined; run again.
    """
    one_partition(settings, "features backfill")
    if settings.postgres_url is None:
        raise InvalidSettings("decisions are read from the database; set POSTGRES_URL or give --postgres-url")
    features = load_rulebook(settings).features
    carried = Carried(feature_set=features.id)
    history = await DecisionHistory.connect(settings.postgres_url)
    try:
        filler = _Filler(features, settings.dedup_horizon_s * 1_000, await history.labels() if features.reads_labels else {})
        async for decision in history.decisions():
            filler.add(decision)
            carried.transactions += 1
            if carried.transactions % 10_000 == 0:
                progress.count("decisions", carried.transactions, None)
        filler.flush()
    finally:
        await history.close()
    carried.labels = len(filler.told)
    async with connected(address(settings)) as client:
        carrier = StateCarrier(client, features, Keys())
        for kind in (*features.logs, *features.rings):
            found = filler.store.kept(kind)
            join: Join = partial(joined_log, features, kind) if kind in features.logs else partial(joined_ring, features)
            carried.read[kind] = len(found)
            carried.changed[kind] = await carrier.join(kind, found, join)
            progress.count(f"states of {kind}", len(found), len(found))
        await carrier.note_labels(filler.told)
    return carried


class _Filler:
    """
    Decisions in the order in which they were received, into a store in memory.
    """

    def __init__(self, features: FeatureSet, horizon_ms: int, labels: Mapping[str, list[ToldLabel]]) -> None:
        self._features = features
        self._horizon_ms = horizon_ms
        self._labels = labels
        self._batch: list[Decision] = []
        self.store = MemoryEntityStore(features)
        self.told: dict[str, bytes] = {}

    def add(self, decision: Decision) -> None:
        """
        Take the next one; a late one has moved no state.
        """
        received_ms = decision.received_at.timestamp() * 1_000
        if self._horizon_ms and received_ms - decision.transaction.occurred_at_ms > self._horizon_ms:
            return
        self._batch.append(decision)
        if len(self._batch) == _BATCH:
            self.flush()

    def flush(self) -> None:
        """
        Move the states by what has gathered, with all that is known of it by now.
        """
        batch, self._batch = self._batch, []
        if not batch:
            return
        rows = records(self._features, [one.transaction for one in batch])
        self.store.touch(rows)
        if self._features.reads_outcome:
            self.store.set_outcomes(rows, [_OUTCOMES[one.outcome] for one in batch])
        labelled = [one.transaction for one in batch if one.transaction.transaction_id in self._labels]
        if labelled:
            self.store.set_labels(records(self._features, labelled), [self._tell(one) for one in labelled])

    def _tell(self, transaction: Transaction) -> bool:
        """
        Return what the last label says, and note it as the script does.
        """
        last = self._labels[transaction.transaction_id][-1]
        flag = FRAUD_FLAG if last.fraud else LEGITIMATE_FLAG
        at_ms = last.labelled_at.timestamp() * 1_000
        self.told[transaction.transaction_id] = _TOLD.pack(at_ms, float(flag)) + last.label_id.encode()
        return last.fraud
