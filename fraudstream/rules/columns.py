"""
A batch of transactions turned on its side: one column per field that a rule set reads, built when first asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.transaction import Transaction
from fraudstream.rules.lists import ListContents
from fraudstream.rules.rates import Rates
from fraudstream.rules.vocabulary import LOW_CARDINALITY, NUMBER_COLUMNS, TEXT_COLUMNS

#: Truth of each row: shape (batch,), or a lone value that holds for all rows.
Mask = NDArray[np.bool_] | np.bool_
#: Number of each row, NaN where missing: shape (batch,), or a lone value that holds for all rows.
Floats = NDArray[np.float64] | np.float64

_NAN = np.float64("nan")
_NO_LISTS: Mapping[str, ListContents] = MappingProxyType({})


def _bools(answers: Iterable[bool]) -> NDArray[np.bool_]:
    return np.frombuffer(bytes(answers), np.bool_)


def _without_infinities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    infinite = np.isinf(values)
    if infinite.any():
        values[infinite] = _NAN
    return values


class Texts:
    """
    The texts of a batch: ``values`` are the rows (None where missing) or, with ``codes``, the distinct ones and where each row
    finds its own.
    """

    __slots__ = ("_index", "_known", "codes", "values")

    def __init__(self, values: list[str | None], codes: NDArray[np.integer[Any]] | None = None) -> None:
        self.values = values
        self.codes = codes
        self._known: NDArray[np.bool_] | None = None
        self._index: dict[str | None, int] | None = None

    @classmethod
    def coded(cls, rows: list[str | None]) -> "Texts":
        """
        Keep each distinct value once.
        """
        index = {value: code for code, value in enumerate(set(rows))}
        found = [index[value] for value in rows]
        # A row of bytes is the quickest way from Python numbers to an array.
        codes = np.frombuffer(bytes(found), np.uint8) if len(index) <= 256 else np.array(found, np.intp)
        texts = cls(list(index), codes)
        texts._index = index
        return texts

    def spread(self, answers: NDArray[Any]) -> NDArray[Any]:
        """
        Return one answer per row from one answer per value.
        """
        return answers if self.codes is None else answers[self.codes]

    def ask(self, test: Callable[[str | None], bool]) -> NDArray[np.bool_]:
        """
        Return the answer of a test for each row, asked once for each value.
        """
        return self.spread(_bools(map(test, self.values)))

    def known(self) -> NDArray[np.bool_]:
        """
        Return which rows have a text.
        """
        if self._known is None:
            self._known = self.ask(lambda value: value is not None)
        return self._known

    def rows(self) -> list[str | None]:
        """
        Return one text per row.
        """
        if self.codes is None:
            return self.values
        return [self.values[code] for code in self.codes.tolist()]

    def equal_to(self, wanted: str) -> NDArray[np.bool_]:
        """
        Return which rows hold exactly this text.
        """
        if self._index is not None and self.codes is not None:
            code = self._index.get(wanted)
            return np.zeros(len(self.codes), np.bool_) if code is None else np.equal(self.codes, code)
        return self.spread(_bools([value == wanted for value in self.values]))


class Batch:
    """
    One batch on its way through a rule set.

    ``memo`` holds what several rules share, by slot. ``features`` is the matrix on its side, shape (columns, batch), widened to
    float64, infinities taken as missing (NaN). ``lists`` and ``rates`` are what the batch is judged by.
    """

    __slots__ = ("_numbers", "_scale", "_texts", "features", "lists", "memo", "rates", "size", "transactions")

    def __init__(self, transactions: Sequence[Transaction], matrix: NDArray[np.float32], slots: int) -> None:
        self.transactions = transactions
        self.size = len(transactions)
        self.memo: list[Any] = [None] * slots
        # Column by column in memory, and wide enough that a threshold written in decimals means the same everywhere.
        self.features = _without_infinities(np.array(matrix.T, dtype=np.float64, order="C"))
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._texts: dict[str, Texts] = {}
        self._scale: Floats | None = None
        self.lists = _NO_LISTS
        self.rates: Rates | None = None

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
            self._numbers[name] = _without_infinities(column)
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
            scales = np.array([10.0 ** EXPONENTS[code or ""] for code in currency.values])
            alike = len(set(scales.tolist())) == 1
            self._scale = np.float64(scales[0]) if alike else currency.spread(scales)
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
