"""
Exact Shapley contributions of the features to a tree ensemble's log-odds.

A path's game is a product over its features, so its multilinear extension is a product of straight lines, and the Shapley
value is the integral of its slope along the diagonal (Owen 1972): a polynomial of degree width - 1, which Gauss-Legendre
quadrature with width / 2 nodes integrates exactly. The game is that of path-dependent TreeSHAP (Lundberg et al. 2018), so the
answer equals XGBoost's ``pred_contribs``, and no loop over subsets is needed.

References:
    Owen 1972, Multilinear extensions of games, Management Science 18(5).
    Lundberg, Erion and Lee 2018, Consistent individualized feature attribution for tree ensembles, arXiv:1802.03888.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from fraudstream.scoring.trees import TreePaths

#: Rows worked on at once: keeps the arrays of one step in the second-level cache for models of some hundred trees.
_CHUNK_ROWS = 8


def expected_log_odds(paths: TreePaths) -> float:
    """
    Return the log-odds that stand before any feature is known: the mean over the training rows.
    """
    return float(paths.base + (paths.leaf * paths.share.prod(axis=0)).sum())


def contributions(paths: TreePaths, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """
    Return how far each feature moved each row from the expected log-odds.

    Args:
        paths: The ensemble.
        matrix: Shape (batch, features); NaN means unknown.

    Returns:
        Shape (batch, features); a row sums to its log-odds less ``expected_log_odds``.
    """
    nodes, weights = _quadrature((len(paths.feature) + 1) // 2)
    # The largest finite number stands for infinity, so that "below no bound" holds for it too.
    finite = np.minimum(matrix, np.finfo(np.float32).max)
    parts = [_chunk(paths, finite[at : at + _CHUNK_ROWS], nodes, weights) for at in range(0, len(matrix), _CHUNK_ROWS)]
    return np.concatenate(parts) if parts else np.zeros(matrix.shape)


@cache
def _quadrature(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Return nodes and weights of Gauss-Legendre quadrature on [0, 1].
    """
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


def _chunk(
    paths: TreePaths, matrix: NDArray[np.float32], nodes: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    rise = _met(paths, matrix) - paths.share[:, None]
    slope = np.zeros_like(rise)
    for node, weight in zip(nodes, weights, strict=True):
        line = rise * node
        line += paths.share[:, None]
        slope += (weight * paths.leaf * line.prod(axis=0)) / line
    slope *= rise
    return _sum_by_feature(paths.feature, slope, matrix.shape[1])


def _met(paths: TreePaths, matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    """
    Return shape (slots, batch, leaves): whether the row's value lets it follow the path at that feature.
    """
    values = np.take(matrix, paths.feature, axis=1).swapaxes(0, 1)
    within = (values >= paths.low[:, None]) & (values < paths.high[:, None])
    return within | (np.isnan(values) & paths.missing[:, None])


def _sum_by_feature(feature: NDArray[np.int64], moved: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """
    Add what each slot moved to its feature.
    """
    rows = moved.shape[1]
    target = feature[:, None] + np.arange(rows)[:, None] * count
    sums = np.bincount(target.ravel(), weights=moved.ravel(), minlength=rows * count)
    return np.asarray(sums, dtype=np.float64).reshape(rows, count)
