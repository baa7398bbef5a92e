"""
The columns that an expression reads: of the batch's own transactions, or of past events laid out row after row.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fraudstream.domain.transaction import NUMBER_FIELDS, Transaction
from fraudstream.features.catalogue import TEXT_FIELDS
from fraudstream.features.definitions import FRAUD_FLAG, LEGITIMATE_FLAG, OUTCOME_MASK
from fraudstream.features.layout import amounts
from fraudstream.features.records import Records
from fraudstream.features.words import words

#: Numbers as float64 (NaN = missing); times, words, outcomes and labels as int64 (0 = missing).
Column = NDArray[np.float64] | NDArray[np.int64]


class Columns(Protocol):
    """
    What an expression needs to know of the things it runs over.
    """

    def field(self, name: str, *, current: bool) -> Column:
        """
        Return a field of each; ``current`` asks for the transaction that is being decided instead of the past one.
        """
        ...

    def feature(self, name: str) -> NDArray[np.float64]:
        """
        Return the values of another feature.
        """
        ...


class RowColumns:
    """
    Fields of the batch's own transactions, each read once.
    """

    def __init__(
        self, transactions: Sequence[Transaction], records: Records, values: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self._transactions = transactions
        self.records = records
        self._values = values
        self._read: dict[str, Column] = {}

    def field(self, name: str, *, current: bool) -> Column:  # noqa: ARG002 - here both are the same
        """
        Return a field of each transaction of the batch.
        """
        column = self._read.get(name)
        if column is None:
            column = self._read[name] = self._column(name)
        return column

    def feature(self, name: str) -> NDArray[np.float64]:
        """
        Return a feature as the vector holds it, so that what is computed from it can be computed again from the vector.
        """
        return self._values[name].astype(np.float64)

    def _column(self, name: str) -> Column:
        if name == "timestamp":
            return self.records.occurred_s
        if name == "amount":
            return self.records.amounts
        if name in TEXT_FIELDS:
            if name in self.records.words:
                return self.records.words[name].astype(np.int64)
            return words(list(map(attrgetter(name), self._transactions))).astype(np.int64)
        return np.array(list(map(attrgetter(NUMBER_FIELDS[name]), self._transactions)), np.float64)


class EventColumns:
    """
    Fields of past events: ``table`` holds their records, row after row of the batch, ``lengths`` how many belong to each row.
    """

    def __init__(self, table: NDArray[np.void], lengths: NDArray[np.int64], rows: RowColumns) -> None:
        self._table = table
        self._lengths = lengths
        self._rows = rows
        self._read: dict[tuple[str, bool], Column] = {}

    def field(self, name: str, *, current: bool) -> Column:
        """
        Return a field of each event, or the field of the transaction that it is the past of.
        """
        column = self._read.get((name, current))
        if column is None:
            column = self._of_current(name) if current else self._column(name)
            self._read[name, current] = column
        return column

    def feature(self, name: str) -> NDArray[np.float64]:
        """
        Return, for each event, a feature of the transaction that it is the past of.
        """
        return np.repeat(self._rows.feature(name), self._lengths)

    def _of_current(self, name: str) -> Column:
        column: Column = self._rows.field(name, current=True).repeat(self._lengths)
        return column

    def _column(self, name: str) -> Column:
        match name:
            case "amount":
                return amounts(self._table).astype(np.float64)
            case "timestamp":
                return self._table["time"].astype(np.int64)
            case "outcome":
                return (self._table["flags"] & OUTCOME_MASK).astype(np.int64) + 1
            case "label":
                flags = self._table["flags"]
                return np.where(flags & FRAUD_FLAG, 1, np.where(flags & LEGITIMATE_FLAG, 2, 0)).astype(np.int64)
            case _:
                return self._table[name].astype(np.int64)
