"""
Many recorded transactions as columns, read in slices by the same evaluator that judges a batch on its way.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import Transaction
from fraudstream.rules.columns import Batch, Mask, without_infinities
from fraudstream.rules.texts import Codes, Texts, Words
from fraudstream.rules.vocabulary import NUMBER_COLUMNS, TEXT_COLUMNS

#: A mask is worked as a batch of its own when at most one row in so many is left.
_FEW = 8
#: A slice is cut further only down to so many rows: below, the calls cost more than the rows.
_LEAST_ROWS = 64

Features = NDArray[np.float32]


class Column:
    """
    The texts of one field: a code for each row, and what the codes stand for.
    """

    __slots__ = ("codes", "words")

    def __init__(self, words: Words, codes: Codes) -> None:
        self.words = words
        self.codes = codes


class Table:
    """
    Transactions by column, with their feature vectors.

    Args:
        features: Shape (rows, columns), float32, in the order of the rule set's features; NaN means missing.
        numbers: Numeric fields by the names that rules use, float64, NaN where missing; a field that is not there is missing in
            every row. Money in minor units, time in milliseconds.
        texts: Textual fields likewise.
        transaction: Returns one row as a transaction, for a rule that fails and for explanations.
    """

    def __init__(
        self,
        features: Features,
        numbers: Mapping[str, NDArray[np.float64]],
        texts: Mapping[str, Column],
        transaction: Callable[[int], Transaction],
    ) -> None:
        self.features = features
        self.numbers = numbers
        self.texts = texts
        self.transaction = transaction
        self.rows = len(features)

    def slice(self, begin: int, end: int, slots: int, within: NDArray[np.intp] | None = None) -> "Slice":
        """
        Return some neighbouring rows as a batch: of the table, or of those rows of it that are named.
        """
        chosen = _Range(begin, min(end, self.rows)) if within is None else _Range(0, 0, within[begin:end])
        return Slice(self, chosen, slots)


def table_of(transactions: Sequence[Transaction], features: Features) -> Table:
    """
    Return transactions that are at hand as a table.

    Args:
        transactions: One for each row of the features.
        features: See ``Table``.
    """
    numbers = {name: np.array(read(transactions), np.float64) for name, read in NUMBER_COLUMNS.items()}
    texts = {name: column_of(read(transactions)) for name, read in TEXT_COLUMNS.items()}
    return Table(features, numbers, texts, transactions.__getitem__)


def column_of(rows: Sequence[str | None]) -> Column:
    """
    Return texts as codes.
    """
    index = {value: code for code, value in enumerate(dict.fromkeys(rows))}
    return Column(Words(list(index)), np.fromiter(map(index.__getitem__, rows), np.int32, len(rows)))


class _Range:
    """
    Which rows of a table a slice has: neighbours, or any.
    """

    def __init__(self, begin: int, end: int, rows: NDArray[np.intp] | None = None) -> None:
        self.begin = begin
        self.rows = rows
        self.size = end - begin if rows is None else len(rows)
        self._slice = slice(begin, end)

    def of(self, column: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = column[self._slice] if self.rows is None else column[self.rows]
        return found

    def few(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        return rows + self.begin if self.rows is None else self.rows[rows]


class Slice(Batch):
    """
    Some rows of a table on their way through a rule set; features stay float32 until somebody calculates with them.
    """

    __slots__ = ("_columns", "_range", "_table", "_turned")

    def __init__(self, table: Table, rows: _Range, slots: int) -> None:
        self._table = table
        self._range = rows
        self._turned: Features | None = None
        self._columns: dict[int, Features] = {}
        self._prepare(rows.size, slots)
        self.together = False

    def places(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """
        Return where rows of the slice stand in the table.
        """
        return self._range.few(rows)

    def stored(self, column: int) -> Features:
        """
        Return one column of the features as it is kept, infinities taken as missing.
        """
        if self._range.rows is None:
            turned: Features = self._turn()[column]
            return turned
        found = self._columns.get(column)
        if found is None:
            found = self._columns[column] = _known(self._table.features[self._range.rows, column])
        return found

    def _turn(self) -> Features:
        # All columns at once: turning the rows on their side while they are in the cache takes half the time.
        if self._turned is None:
            rows = self._range.of(self._table.features)
            turned = np.empty((rows.shape[1], rows.shape[0]), np.float32)
            np.copyto(turned, rows.T)
            self._turned = _known(turned)
        return self._turned

    def feature(self, column: int) -> NDArray[np.float64]:
        """
        Return one column of the features, widened.
        """
        return self.stored(column).astype(np.float64)

    def threshold(self, column: int, wide: Callable[[Any], Mask], narrow: Callable[[Features], Mask]) -> Mask:  # noqa: ARG002 - see Batch
        """
        Compare one feature with a constant as it is stored.
        """
        return narrow(self.stored(column))

    def number(self, name: str) -> NDArray[np.float64]:
        """
        Return a numeric field.
        """
        column = self._numbers.get(name)
        if column is None:
            whole = self._table.numbers.get(name)
            column = np.full(self.size, np.nan) if whole is None else without_infinities(np.array(self._range.of(whole)))
            self._numbers[name] = column
        return column

    def text(self, name: str) -> Texts:
        """
        Return a textual field.
        """
        column = self._texts.get(name)
        if column is None:
            whole = self._table.texts.get(name)
            if whole is None:
                column = Texts(None, np.zeros(self.size, np.uint8), _NOTHING)
            else:
                column = Texts(None, self._range.of(whole.codes), whole.words)
            self._texts[name] = column
        return column

    def part_of(self, mask: Mask) -> tuple[NDArray[np.intp], Batch] | None:
        """
        Return where a mask is true, and those rows as a batch of their own; None where that would not pay.
        """
        if np.ndim(mask) == 0 or self.size < _LEAST_ROWS or np.count_nonzero(mask) * _FEW > self.size:
            return None
        rows = np.asarray(mask).nonzero()[0]
        return rows, self.few(rows)

    def few(self, rows: NDArray[np.intp]) -> "Slice":
        """
        Return some rows of the slice as a batch of their own.
        """
        part = Slice(self._table, _Range(0, 0, self.places(rows)), len(self.memo))
        part.lists, part.rates = self.lists, self.rates
        return part


def _known(values: Features) -> Features:
    infinite = np.isinf(values)
    if infinite.any():
        values[infinite] = np.nan
    return values


#: The texts of a field that no row has.
_NOTHING = Words([None])
