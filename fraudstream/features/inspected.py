"""
Feature values as people ask for them: in words, with their window, the events in it, and how far they can be trusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.features.columns import RowColumns
from fraudstream.features.definitions import Feature, FeatureSet
from fraudstream.features.kernel import compute
from fraudstream.features.layout import place_in
from fraudstream.features.logs import LogPasts
from fraudstream.features.quality import Quality, qualities
from fraudstream.features.records import Records, records
from fraudstream.features.states import Standing, States
from fraudstream.features.syntax import Aggregate, references

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Inspected:
    """
    One feature of one transaction, computed from the states as they stand now.

    ``value`` is None where a ring is asked, also through other features: it holds the present, and the past of a transaction
    cannot be told from it. ``events`` are those in the window that the feature looks at, None for an expression and for a ring.
    ``quality`` is a word of ``Quality`` in small letters, or ``gone`` where the transaction's record is no longer in the log.
    """

    name: str
    value: float | None
    unit: str
    window: str
    events: int | None
    quality: str


def duration(seconds: int) -> str:
    """
    Return a span as the language writes it.

    Example:
        >>> duration(7_200)
        '2h'
    """
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def window(feature: Feature) -> str:
    """
    Return what a feature looks at, in words; empty for an expression.
    """
    body = feature.body
    if not isinstance(body, Aggregate):
        return ""
    words = [f"by {', '.join(body.by)}", "all that is kept" if body.over_s is None else f"over {duration(body.over_s)}"]
    if body.delayed_s:
        words.append(f"delayed {duration(body.delayed_s)}")
    return " ".join([*words, *(["including current"] if body.including_current else [])])


def inspect(features: FeatureSet, transaction: Transaction, standing: Standing, states: States) -> list[Inspected]:
    """
    Compute every feature of a transaction that was touched before, from states read now.

    Args:
        features: What to compute.
        transaction: The one asked for.
        standing: ``LATE`` where it moved no states, else ``SEEN``.
        states: Of its entities, one row.
    """
    rows = records(features, [transaction])
    values = compute(features, [transaction], rows, [standing], states)[0]
    qualified = qualities(features, rows, [standing], states)[0]
    gone = _gone(features, rows, standing, states)
    columns = RowColumns([transaction], rows, {name: values[at : at + 1] for at, name in enumerate(features.names)})
    events = _events(features, columns, standing, states)
    kinds, rings = entity_kinds(features), frozenset(features.rings)
    return [
        Inspected(
            name=feature.name,
            value=None if kinds[feature.name] & (rings | gone) else float(values[at]),
            unit=feature.unit,
            window=window(feature),
            events=events.get(feature.name),
            quality="gone" if kinds[feature.name] & gone else Quality(int(qualified[at])).name.lower(),
        )
        for at, feature in enumerate(features.features)
    ]


def _gone(features: FeatureSet, rows: Records, standing: Standing, states: States) -> set[str]:
    """
    Return the kinds of log that hold nothing of the transaction any more, though it moved them.
    """
    if standing is Standing.LATE:
        return set()
    identity = rows.identity(0)
    return {
        kind
        for kind, logs in states.logs.items()
        if rows.entities[kind][0] is not None and place_in(logs[0], identity, features.layouts[kind].size) < 0
    }


def _events(features: FeatureSet, rows: RowColumns, standing: Standing, states: States) -> dict[str, int]:
    """
    Return, per feature over a log, how many events it looks at.
    """
    found: dict[str, int] = {}
    for kind, columns in features.aggregates.items():
        if kind in features.logs:
            pasts = LogPasts(features, kind, rows, [standing], states.logs[kind])
            for column, _ in columns:
                found[features.features[column].name] = int(pasts.window(column).count[0])
    return found


def recorded_values(features: FeatureSet, vectors: Sequence[bytes]) -> NDArray[np.float32]:
    """
    Return recorded vectors as a matrix of shape (vectors, features); one of another length is all NaN.
    """
    matrix = np.full((len(vectors), len(features.names)), np.nan, np.float32)
    for row, vector in enumerate(vectors):
        if len(vector) == 4 * len(features.names):
            matrix[row] = np.frombuffer(vector, "<f4")
    return matrix


def entity_kinds(features: FeatureSet) -> Mapping[str, frozenset[str]]:
    """
    Return the kinds of entity that each feature looks at, by itself or through other features.
    """
    found: dict[str, frozenset[str]] = {}
    for column in features.order:  # each after what it refers to
        feature = features.features[column]
        own = frozenset({feature.body.entity}) if isinstance(feature.body, Aggregate) else frozenset()
        found[feature.name] = own.union(*(found[other.name] for other in references(feature.body)))
    return found
