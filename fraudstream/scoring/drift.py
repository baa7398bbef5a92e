"""
How far the features and scores of late have moved from those that the model was trained on.

References:
    Siddiqi 2006, Credit risk scorecards, for the population stability index and its customary limits: below 0.1 nothing, from
    0.25 on look into it.
"""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fraudstream.scoring.reference import Histogram, Reference

#: Least share of a bin: one that was empty on one side would be infinitely far away.
_FLOOR = 1e-4
#: Rows that are counted at once: large enough for numpy, small enough to be counted while a batch waits.
_AT_ONCE = 512
#: Fewer rows than this differ from the reference by chance alone: expected are about (bins - 1) / rows.
LEAST_ROWS = 1_000


def stability(reference: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """
    Return the population stability index of each row: the sum over bins of (found - reference) x ln(found / reference).

    Args:
        reference: Shape (histograms, bins), shares; a bin that does not exist is 0 on both sides and adds nothing.
        found: The same shape.
    """
    before, after = np.maximum(reference, _FLOOR), np.maximum(found, _FLOOR)
    return np.asarray(((after - before) * np.log(after / before)).sum(axis=1), dtype=np.float64)


class Drift:
    """
    Counts of the last while against one model's reference.

    The while slides in blocks: a full one pushes the oldest out. Nothing is kept of a row but its counts.

    Args:
        reference: Of the model; every feature of ``names`` is in it.
        names: The columns of the matrix, in order.
        window_s: How far back is looked.
        blocks: In how many steps the window slides.
    """

    def __init__(self, reference: Reference, names: Sequence[str], *, window_s: float = 3600.0, blocks: int = 12) -> None:
        self.names = (*names, "")
        spreads = (*(reference.features[name] for name in names), reference.score)
        self._bins = max(len(one.shares) for one in spreads)
        self._expected = np.stack([_padded(one, self._bins) for one in spreads])
        self._edges = np.stack([_edges(one, self._bins - 2) for one in spreads])
        self._first = np.arange(len(spreads)) * self._bins
        self._block_s = window_s / blocks
        self._blocks: deque[tuple[float, NDArray[np.int64]]] = deque()
        self._most = blocks
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._rows_waiting = 0

    def add(self, matrix: NDArray[np.float32], scores: NDArray[np.float32], now_s: float) -> None:
        """
        Take note of a scored batch; most calls only put it aside.

        Args:
            matrix: Shape (batch, features).
            scores: Shape (batch,), what the model gave.
            now_s: Seconds of any clock that only goes forward.
        """
        self._waiting.append((matrix, scores))
        self._rows_waiting += len(scores)
        if self._rows_waiting >= _AT_ONCE:
            self._count(now_s)

    def moved(self, now_s: float) -> tuple[int, Mapping[str, float]]:
        """
        Return the rows of the window, and by feature how far it moved; the score's own under the empty name.

        Too few rows say nothing: the mapping is empty then.
        """
        self._count(now_s)
        self._forget(now_s)
        if not self._blocks:
            return 0, {}
        counts = np.sum([block for _, block in self._blocks], axis=0).reshape(len(self.names), self._bins)
        rows = int(counts[0].sum())
        if rows < LEAST_ROWS:
            return rows, {}
        return rows, dict(zip(self.names, stability(self._expected, counts / rows).tolist(), strict=True))

    def _count(self, now_s: float) -> None:
        if not self._waiting:
            return
        rows = np.concatenate([np.column_stack(part) for part in self._waiting])
        self._waiting, self._rows_waiting = [], 0
        counts = np.bincount(self._places(rows).ravel(), minlength=len(self.names) * self._bins)
        if self._blocks and now_s - self._blocks[-1][0] < self._block_s:
            self._blocks[-1][1][:] += counts
        else:
            self._blocks.append((now_s, counts))
            self._forget(now_s)

    def _places(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """
        Return shape (rows, histograms): the bin of each value, those of each histogram after those of the one before.
        """
        places = np.zeros(rows.shape, dtype=np.int64)
        for edge in self._edges.T:  # a dozen passes over the batch: faster than one search per column
            places += rows > edge
        np.copyto(places, self._bins - 1, where=np.isnan(rows))
        return places + self._first

    def _forget(self, now_s: float) -> None:
        while self._blocks and now_s - self._blocks[0][0] >= self._block_s * self._most:
            self._blocks.popleft()


def _edges(spread: Histogram, count: int) -> NDArray[np.float32]:
    edges = np.full(count, np.inf, dtype=np.float32)
    edges[: len(spread.edges)] = spread.edges
    return edges


def _padded(spread: Histogram, bins: int) -> NDArray[np.float64]:
    """
    Return shares with the unknown in the last bin.
    """
    shares = np.zeros(bins)
    shares[: len(spread.shares) - 1] = spread.shares[:-1]
    shares[-1] = spread.shares[-1]
    return shares
