"""
A batch of transactions turned on its side: one column per field that a rule set reads, built when first asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.lists import ListContents
from fraudstream.rules.rates import Rates
from fraudstream.rules.texts import Texts
from fraudstream.rules.vocabulary import LOW_CARDINALITY, NUMBER_COLUMNS, TEXT_COLUMNS

#: Truth of each row: shape (batch,), or a lone value that holds for all rows.
Mask = NDArray[np.bool_] | np.bool_
#: Number of each row, NaN where missing: shape (batch,), or a lone value that holds for all rows.
Floats = NDArray[np.float64] | np.float64

#: Largest batch whose thresholds are compared all at once. Above it numpy's own work outweighs the calls that this saves, and
#: the copy of the columns leaves the cache.
TOGETHER_ROWS = 2048

_NAN = np.float64("nan")
_SCALES: dict[str | None, float] = {code: 10.0**digits for code, digits in EXPONENTS.items()}
_NO_LISTS: Mapping[str, ListContents] = MappingProxyType({})


def without_infinities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """
    Take infinities as missing, in place.
    """
    infinite = np.isinf(values)
    if infinite.any():
        values[infinite] = _NAN
    return values


class Batch:
    """
    One batch on its way through a rule set.

    ``memo`` holds what several rules share, by slot. ``features`` is the matrix on its side, shape (columns, batch), widened to
    float64, infinities taken as missing (NaN). ``lists`` and ``rates`` are what the batch is judged by. ``together`` says that
    thresholds are quicker compared many at a time.
    """

    __slots__ = ("_numbers", "_scale", "_texts", "features", "lists", "memo", "rates", "size", "together", "transactions")

    def __init__(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32], slots: int) -> None:
        self.transactions = transactions
        self._prepare(len(transactions), slots)
        self.together = self.size <= TOGETHER_ROWS
        # Column by column in memory, and wide enough that a threshold written in decimals means the same everywhere.
        self.features = without_infinities(np.array(matrix.T, dtype=np.float64, order="C"))

    def _prepare(self, size: int, slots: int) -> None:
        self.size = size
        self.memo: list[Any] = [None] * slots
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._texts: dict[str, Texts] = {}
        self._scale: Floats | None = None
        self.lists = _NO_LISTS
        self.rates: Rates | None = None

    def threshold(self, column: int, wide: Callable[[Any], Mask], narrow: Callable[[NDArray[np.float32]], Mask]) -> Mask:  # noqa: ARG002 - see Slice
        """
        Compare one feature with a constant: by the wide comparison of float64, or the equal one of float32.
        """
        return wide(self.features[column])

    def part_of(self, mask: Mask) -> tuple[NDArray[np.intp], "Batch"] | None:  # noqa: ARG002 - see Slice
        """
        Return where a mask is true, and those rows as a batch of their own; None where that would not pay.
        """
        return None

    def feature(self, column: int) -> NDArray[np.float64]:
        """
        Return one column of the feature matrix.
        """
        values: NDArray[np.float64] = self.features[column]
        return values

    def number(self, name: str) -> NDArray[np.float64]:
        """
        Return a numeric field.
        """
        column = self._numbers.get(name)
        if column is None:
            # numpy reads None as NaN here.
            column = np.array(NUMBER_COLUMNS[name](self.transactions), dtype=np.float64)
            self._numbers[name] = without_infinities(column)
        return column

    def text(self, name: str) -> Texts:
        """
        Return a textual field.
        """
        column = self._texts.get(name)
        if column is None:
            rows = TEXT_COLUMNS[name](self.transactions)
            column = self._texts[name] = Texts.coded(rows) if name in LOW_CARDINALITY else Texts(rows)
        return column

    def scale(self) -> Floats:
        """
        Return how many minor units one major unit of each row's currency has; a lone value when all rows agree.
        """
        if self._scale is None:
            currency = self.text("currency")
            scales = np.array([_SCALES.get(code, _NAN) for code in currency.values])
            alike = len(set(scales.tolist())) == 1
            scale: Floats = np.float64(scales[0]) if alike else currency.spread(scales)
            if np.isnan(scale).any():
                raise KeyError("a currency that does not exist")
            self._scale = scale
        return self._scale

    def money(self, minor: float, currency: str) -> Floats:
        """
        Return an amount of one currency in that of each row: missing without a rate, a lone value when every row has this one.
        """
        texts = self.text("currency")
        if texts.values == [currency]:
            return np.float64(minor)
        amounts = np.where(texts.equal_to(currency), minor, _NAN)
        for other in texts.values if self.rates is not None else ():
            if other is not None and other != currency and self.rates is not None:
                rows = texts.equal_to(other)
                amounts[rows] = self.rates.convert_all(minor, currency, other, self.number("timestamp")[rows])
        return amounts
