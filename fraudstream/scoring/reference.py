"""
How features and scores were spread when a model was trained: what later days are held against.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Quantiles that become edges. The upper ones tell the tail of a count that is mostly zero from its bulk.
_QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99)
#: Digits of a share; a bin that held less than one row in a million says nothing.
_DIGITS = 6


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """
    Shares of rows by value. ``edges`` rise strictly; bin *k* holds what is above *k* of them: an edge belongs to the bin below.

    ``shares`` has one more bin than there are edges, and after those one for the unknown (NaN).
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """
    The spread of each feature over the rows that a model learned from, and of its score over rows that it did not learn from.

    ``rows`` is how many rows the features were counted on.
    """

    rows: int
    features: Mapping[str, Histogram]
    score: Histogram


def reference_of(names: Sequence[str], matrix: NDArray[np.float32], scores: NDArray[np.float32]) -> Reference:
    """
    Count what a model's manifest keeps as its reference; equal rows in any order give equal references.

    Args:
        names: Of the columns.
        matrix: Shape (rows, features), the rows that the model learned from; NaN means unknown.
        scores: Shape (others,), its probabilities on rows that it did not learn from.
    """
    features = {name: histogram(matrix[:, at]) for at, name in enumerate(names)}
    return Reference(rows=len(matrix), features=features, score=histogram(scores))


def histogram(values: NDArray[np.float32]) -> Histogram:
    """
    Return the spread of a column, in bins of about equal weight as far as ties allow.

    The edges are values of the column, at its quantiles; the largest value is none, or nothing could lie above it.
    """
    known = values[~np.isnan(values)]
    edges = np.unique(np.quantile(known, _QUANTILES, method="inverted_cdf")) if len(known) else known
    if len(edges) and edges[-1] == known.max():
        edges = edges[:-1]
    counts = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)
    shares = [*counts, len(values) - len(known)]
    return Histogram(
        edges=tuple(_short(edge) for edge in edges),
        shares=tuple(round(float(count) / max(1, len(values)), _DIGITS) for count in shares),
    )


def _short(value: np.float32) -> float:
    """
    Return the number with the fewest digits that is this one in float32.
    """
    return float(str(np.float32(value)))
