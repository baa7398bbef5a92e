"""
Bitmaps of a batch: how they are compared into being, joined, shared between rules, and answered many at a time.
"""

from collections.abc import Callable
from functools import reduce
from operator import and_, eq, ge, gt, le, lt, or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream.rules.columns import Batch, Mask

Masks = Callable[[Batch], Mask]

#: From this cost on (about microseconds for 256 rows) a term of a chain is skipped when no row can still need it.
COSTLY = 15

#: Operators, not the functions of numpy: with a lone number on the right they take two thirds of the time.
COMPARE: dict[str, Callable[[Any, Any], Mask]] = {
    "=": eq,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
    # Not ``!=``, which takes NaN for different: unknown is neither.
    "!=": lambda left, right: (left < right) | (left > right),
}
#: What is true exactly where the other is false; both are false where either side is NaN.
OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def exactly(op: str, threshold: float) -> Callable[[NDArray[np.float32]], Mask]:
    """
    Return the comparison of float32 values that is true exactly where that of the same values, widened, with the threshold is.

    NaN is on neither side; infinities must have been taken out.
    """
    near = np.float32(threshold)
    if op in ("=", "!=") and float(near) != threshold:
        return (lambda values: np.zeros(values.shape, np.bool_)) if op == "=" else (lambda values: np.equal(values, values))
    if op in ("<", ">=") and float(near) < threshold:
        near = np.nextafter(near, np.float32(np.inf))
    elif op in (">", "<=") and float(near) > threshold:
        near = np.nextafter(near, np.float32(-np.inf))
    compare = COMPARE[op]
    return lambda values: compare(values, near)


class Thresholds:
    """
    Every comparison of a feature with a constant by one operator, in all rules: answered together, in one go of numpy.

    Where a batch holds its features as they are stored, each is compared as it stands there.
    """

    def __init__(self, op: str, slot: int) -> None:
        self._op = op
        self._compare = COMPARE[op]
        self._slot = slot
        self._columns: list[int] = []
        self._thresholds: list[float] = []
        self._stacked: tuple[NDArray[np.intp], NDArray[np.float64]] | None = None

    def add(self, column: int, threshold: float) -> Masks:
        """
        Return the bitmap of one more comparison; all of them must be added before the first batch.
        """
        place = len(self._columns)
        self._columns.append(column)
        self._thresholds.append(threshold)

        with np.errstate(over="ignore"):
            narrow = exactly(self._op, threshold)
        compare = self._compare

        def wide(values: Any) -> Mask:
            return compare(values, threshold)

        def answer(batch: Batch) -> Mask:
            if not batch.together:
                return batch.threshold(column, wide, narrow)
            answers = batch.memo[self._slot]
            if answers is None:
                answers = batch.memo[self._slot] = self._answers(batch)
            mine: Mask = answers[place]
            return mine

        return answer

    def _answers(self, batch: Batch) -> NDArray[np.bool_]:
        if self._stacked is None:
            self._stacked = np.array(self._columns, np.intp), np.array(self._thresholds, np.float64)[:, np.newaxis]
        columns, thresholds = self._stacked
        return np.asarray(self._compare(batch.features[columns], thresholds))


class Shared:
    """
    Every comparison of one value with a constant by one operator, in all rules: answered together, like ``Thresholds``.
    """

    def __init__(self, op: str, value: Callable[[Batch], Any], slot: int) -> None:
        self._compare = COMPARE[op]
        self._value = value
        self._slot = slot
        self._thresholds: list[float] = []
        self._stacked: NDArray[np.float64] | None = None

    def add(self, threshold: float) -> Masks:
        """
        Return the bitmap of one more comparison; all of them must be added before the first batch.
        """
        place = len(self._thresholds)
        self._thresholds.append(threshold)
        compare, value = self._compare, self._value

        def answer(batch: Batch) -> Mask:
            if not batch.together or len(self._thresholds) == 1:
                return compare(value(batch), threshold)
            answers = batch.memo[self._slot]
            if answers is None:
                answers = batch.memo[self._slot] = self._answers(value(batch))
            mine: Mask = answers[place]
            return mine

        return answer

    def _answers(self, values: Any) -> Any:
        if self._stacked is None:
            self._stacked = np.array(self._thresholds, np.float64)
        return self._compare(values, self._stacked[:, np.newaxis] if np.ndim(values) else self._stacked)


def remembered(compute: Callable[[Batch], Any], slot: int) -> Callable[[Batch], Any]:
    """
    Return a function that computes once per batch and remembers the answer in a slot of it.
    """

    def recall(batch: Batch) -> Any:
        found = batch.memo[slot]
        if found is None:
            found = batch.memo[slot] = compute(batch)
        return found

    return recall


def all_of(terms: list[tuple[Masks, int]]) -> Masks:
    """
    Join terms, each with its cost, by and; costly ones are skipped once no row is left.
    """
    cheap = [term for term, price in terms if price < COSTLY]
    costly = [term for term, price in terms if price >= COSTLY]
    if not costly:
        return _joined(cheap, and_)
    first = _joined(cheap, and_) if cheap else costly.pop(0)

    def every(batch: Batch) -> Mask:
        mask = first(batch)
        for term in costly:
            if not mask.any():
                return mask
            part = batch.part_of(mask)
            if part is None:
                mask = mask & term(batch)
            else:
                rows, few = part
                mask = np.zeros(batch.size, np.bool_)
                mask[rows] = term(few)
        return mask

    return every


def any_of(terms: list[Masks]) -> Masks:
    """
    Join terms by or.
    """
    return _joined(terms, or_)


def _joined(terms: list[Masks], join: Callable[[Mask, Mask], Mask]) -> Masks:
    if len(terms) == 1:
        return terms[0]
    if len(terms) == 2:
        one, other = terms
        return lambda batch: join(one(batch), other(batch))
    if len(terms) == 3:
        one, other, third = terms
        return lambda batch: join(join(one(batch), other(batch)), third(batch))
    return lambda batch: reduce(join, [term(batch) for term in terms])
