"""
What a model found, as points that can be drawn: precision by recall, share of frauds by score, and the figures of each week.
"""

from datetime import UTC, date, datetime
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.scoring.manifest import Interval
from fraudstream.training.dataset import DAY_MS, Dataset
from fraudstream.training.metrics import Labels, Scores, average_precision, interval

#: Most points of one curve: more cannot be told apart in a drawing of this size.
_POINTS = 160
#: Groups of a calibration curve, each of as many frauds, and the fewest frauds of one: fewer say nothing.
_GROUPS, _LEAST_FRAUDS = 12, 8
#: The normal distribution's quantile of 95 % intervals.
_Z = 1.959964
_WEEK_MS = 7 * DAY_MS


class Point(msgspec.Struct, frozen=True):
    """
    A place on a precision-recall curve: flagging from ``score`` on finds the share ``recall`` of the frauds.
    """

    score: float
    recall: float
    precision: float


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """
    Rows of neighbouring scores: their mean score, and the share that was fraud with its 95 % interval (Wilson).
    """

    rows: int
    score: float
    share: Interval


class Week(msgspec.Struct, frozen=True, kw_only=True):
    """
    Seven days of event time from ``first`` (UTC), or what is there of them.
    """

    first: date
    rows: int
    frauds: int
    average_precision: Interval


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """
    The points of one set of rows; ``base_rate`` is the share of frauds, what a coin would reach as precision.
    """

    base_rate: float
    precision_recall: tuple[Point, ...]
    calibration: tuple[Group, ...]
    weeks: tuple[Week, ...]


def curves(rows: Dataset, scores: NDArray[np.float32], *, rounds: int = 200) -> Curves:
    """
    Work out the points.

    Args:
        rows: What was scored; at least one fraud.
        scores: Shape (rows,).
        rounds: Of the bootstrap over cards behind the intervals of the weeks.
    """
    return Curves(
        base_rate=float(rows.fraud.mean()),
        precision_recall=precision_recall(rows.fraud, scores),
        calibration=calibration_groups(rows.fraud, scores),
        weeks=weeks(rows, scores, rounds=rounds),
    )


def precision_recall(labels: Labels, scores: Scores) -> tuple[Point, ...]:
    """
    Return the curve from the highest score down to where every fraud is found, thinned evenly in recall.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    found = np.cumsum(labels[order], dtype=np.int64)[ends]
    recall, precision = found / max(int(found[-1]), 1), found / (ends + 1)
    wanted = np.linspace(0, 1, _POINTS)
    kept = np.unique(np.minimum(np.searchsorted(recall, wanted), len(recall) - 1))
    return tuple(Point(*map(float, one)) for one in zip(scores[order][ends][kept], recall[kept], precision[kept], strict=True))


def calibration_groups(labels: Labels, scores: Scores) -> tuple[Group, ...]:
    """
    Return groups of about as many frauds each, the lowest scores first: where frauds are rare, groups of equal size would put
    all that matters into one.
    """
    order = np.argsort(scores, kind="stable")
    frauds = np.cumsum(labels[order], dtype=np.int64)
    count = max(1, min(_GROUPS, int(frauds[-1]) // _LEAST_FRAUDS))
    cuts = np.searchsorted(frauds, np.arange(1, count) * frauds[-1] / count) + 1
    parts = np.split(order, np.unique(cuts))
    return tuple(_group(labels[part], scores[part]) for part in parts if len(part))


def _group(labels: Labels, scores: Scores) -> Group:
    rows, share = len(labels), float(labels.mean())
    middle = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    reach = _Z / (1 + _Z**2 / rows) * float(np.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2)))
    return Group(rows=rows, score=float(scores.mean()), share=Interval(value=share, low=middle - reach, high=middle + reach))


def weeks(rows: Dataset, scores: NDArray[np.float32], *, rounds: int = 200) -> tuple[Week, ...]:
    """
    Return the average precision of each week from the first row on; weeks without a fraud are left out.
    """
    first = int(rows.occurred_ms.min()) // DAY_MS * DAY_MS
    numbers = (rows.occurred_ms - first) // _WEEK_MS
    with_fraud = np.unique(numbers[rows.fraud])
    return tuple(_week(rows, scores, numbers == number, first + int(number) * _WEEK_MS, rounds) for number in with_fraud)


def _week(rows: Dataset, scores: NDArray[np.float32], chosen: NDArray[np.bool_], first_ms: int, rounds: int) -> Week:
    part = rows.where(chosen)
    around = partial(interval, average_precision, rounds=rounds)
    return Week(
        first=datetime.fromtimestamp(first_ms / 1000, tz=UTC).date(),
        rows=len(part),
        frauds=int(part.fraud.sum()),
        average_precision=around(part.fraud, scores[chosen], part.holders),
    )
