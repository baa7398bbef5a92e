"""
Feature values of single transactions and of whole files, for people: explained from the states, replayed from history.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.redis_scattered import RedisScatteredStates
from fraudstream.adapters.tables import vector_table
from fraudstream.app.connections import every_part
from fraudstream.app.loading import load_rulebook
from fraudstream.domain.errors import InvalidSettings, InvalidSource, InvalidTransaction
from fraudstream.domain.transaction import Transaction
from fraudstream.domain.transaction_codec import parse_transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.inspected import Inspected, inspect, recorded_values
from fraudstream.features.kernel import records
from fraudstream.features.memory import MemoryEntityStore
from fraudstream.features.replay import replay
from fraudstream.producers.files import read_file
from fraudstream.producers.labelled import Labelled
from fraudstream.settings import Settings

#: Transactions replayed at once; values do not depend on it.
_BATCH = 512


class ExplainedFeature(msgspec.Struct, frozen=True, kw_only=True):
    """
    One feature of one decision: as recorded, and from the states as they stand now; None is unknown. See ``Inspected``.
    """

    name: str
    recorded: float | None
    now: float | None
    unit: str
    window: str
    events: int | None
    quality: str


class ExplainedVector(msgspec.Struct, frozen=True, kw_only=True):
    """
    The features behind one decision. ``notes`` say in words what could not be shown.
    """

    transaction_id: str
    feature_set: str
    features: list[ExplainedFeature]
    notes: list[str]


async def explain_features(settings: Settings, transaction_id: str) -> ExplainedVector | None:
    """
    Return the features of a decision on record with window, events and quality; None when there is no such decision.

    Raises:
        InvalidSettings: No database is named.
        DecisionStoreUnavailable: It does not answer.
        StreamUnavailable: Redis does not answer.
    """
    if settings.postgres_url is None:
        raise InvalidSettings("decisions are looked up in the database; set POSTGRES_URL or give --postgres-url")
    features = load_rulebook(settings).features
    store = PostgresDecisionStore(settings.postgres_url, max_connections=1)
    try:
        decision = await store.find(transaction_id)
    finally:
        await store.close()
    if decision is None:
        return None
    async with every_part(settings, connections=1) as parts:
        found = RedisScatteredStates(parts, features=features)
        (standing,) = await found.standings([decision.transaction])
        states = await found.read(records(features, [decision.transaction]))
    same = decision.feature_set == features.id
    vector = recorded_values(features, [decision.vector if same else b""])[0].tolist()
    notes = (
        [] if same else [f"the vector was recorded with feature set {decision.feature_set}; the current one is {features.id}"]
    )
    if same and not decision.vector:
        notes.append("no vector was recorded: the decision is degraded")
    return ExplainedVector(
        transaction_id=transaction_id,
        feature_set=decision.feature_set,
        features=[
            _explained(one, value)
            for one, value in zip(inspect(features, decision.transaction, standing, states), vector, strict=True)
        ],
        notes=notes,
    )


def _explained(one: Inspected, recorded: float) -> ExplainedFeature:
    return ExplainedFeature(
        name=one.name,
        recorded=_known(recorded),
        now=None if one.value is None else _known(one.value),
        unit=one.unit,
        window=one.window,
        events=one.events,
        quality=one.quality,
    )


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def replay_file(features: FeatureSet, path: Path, output: Path, *, mapping: str | None, currency: str) -> int:
    """
    Stream a history through the kernel into a Parquet file, and return its rows. A second row of an id is left out.

    Labels in the file are told to the states right after their batch: features that read labels must say ``delayed``.

    Raises:
        InvalidSource: The file cannot be read, or a row of it is no transaction.
    """
    rows, seen = 0, set[str]()
    store = MemoryEntityStore(features)
    source = read_file(path, mapping)
    with vector_table(output, features.names, features.id) as table:
        while batch := list(islice(source, _BATCH)):
            fresh = list(_fresh(batch, seen))
            if not fresh:
                continue
            transactions = [_transaction(one, path, currency) for one in fresh]
            (matrix,) = replay(features, [transactions], store=store)
            known = [(one, row.fraud) for one, row in zip(transactions, fresh, strict=True) if row.fraud is not None]
            if features.reads_labels and known:
                store.set_labels(records(features, [one for one, _ in known]), [fraud for _, fraud in known])
            times = [one.occurred_at_ms for one in transactions]
            table.write([one.transaction_id for one in transactions], times, [one.fraud for one in fresh], matrix)
            rows += len(fresh)
    return rows


def _fresh(batch: list[Labelled], seen: set[str]) -> Iterator[Labelled]:
    for one in batch:
        if one.transaction_id not in seen:
            seen.add(one.transaction_id)
            yield one


def _transaction(one: Labelled, path: Path, currency: str) -> Transaction:
    try:
        return parse_transaction(one.body, now_ms=one.occurred_at_ms, default_currency=currency)
    except InvalidTransaction as exc:
        raise InvalidSource(f"{path}: transaction {one.transaction_id}: {exc.detail}; correct or remove the row") from None
