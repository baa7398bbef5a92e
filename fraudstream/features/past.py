"""
Event logs laid out: the pasts of a batch's rows one after the other, each in the order of time, with the row's own record.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.columns import EventColumns, RowColumns
from fraudstream.features.definitions import FRAUD_FLAG
from fraudstream.features.layout import IDENTITY_BYTES, RecordLayout, amounts, place_in
from fraudstream.features.states import Standing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

#: Bits of the seconds in a number that grows with an event's row, then with its time.
_TIME_BITS = 32


def _with_own(log: bytes, record: bytes, standing: Standing, size: int) -> bytes:
    """
    Return a transaction's past and, behind it, its own record as it was written: without what became known since.

    Own record not there: nothing that is still there came before it. A late transaction has none, all of it is past.
    """
    late = standing is Standing.LATE
    before = len(log) // size * size if late else place_in(log, record[:IDENTITY_BYTES], size)
    if before > 0 and log.startswith(record, before):
        return log[: before + size]
    return log[: max(before, 0)] + record


def _taken(table: NDArray[np.void], places: Ints) -> NDArray[np.void]:
    """
    Return records in another order, each as so many bytes: field by field, as numpy would, takes fifteen times as long.
    """
    return table.view(np.dtype((np.void, table.dtype.itemsize))).take(places).view(table.dtype)


class Past:
    """
    The events before each row of a batch, and its own, in one kind of log.

    ``table``: the records of all rows, of each row in the order of time, of equal times in the order of arrival. ``lengths``:
    how many each row has. ``own``: the place of each row's own. ``arrival``: for each event its place in the order of arrival,
    None where that is the order of time. ``present``: whether the row has the entity at all.
    """

    def __init__(
        self, layout: RecordLayout, kind: str, rows: RowColumns, standings: Sequence[Standing], logs: Sequence[bytes]
    ) -> None:
        self.current = rows.records
        self.rows = len(logs)
        pieces, packed = list(logs), self.current.packed[kind]
        # Mostly the own record is the last one, and the log as it stands is the past with the transaction behind it.
        for row, last in enumerate(map(bytes.endswith, pieces, packed)):
            if not last:
                pieces[row] = _with_own(pieces[row], packed[row], standings[row], layout.size)
        self.lengths: Ints = np.array(list(map(len, pieces)), np.int64) // layout.size
        self.own: Ints = np.cumsum(self.lengths) - 1
        self.table: NDArray[np.void] = layout.table(b"".join(pieces))
        self.arrival: Ints | None = None
        self.keys = self._keys()
        falls: Mask = self.keys[1:] < self.keys[:-1]
        if falls.any():
            self._sort(falls)
        self.present: Mask = self.current.present(kind)
        self.columns = EventColumns(self.table, self.lengths, rows)

    def _keys(self) -> Ints:
        """
        Return a number per event that grows with its row, then with its time.
        """
        keys = np.repeat(np.arange(self.rows, dtype=np.int64) << _TIME_BITS, self.lengths)
        keys |= self.table["time"]
        return keys

    def _sort(self, falls: Mask) -> None:
        """
        Bring the events of those rows in order that have one before which an older one came: mostly few of a batch.
        """
        order = np.arange(len(self.keys))
        place = order.copy()
        # An event's key ends with its time: what stands before that is its row.
        disordered = np.zeros(self.rows, np.bool_)
        disordered[self.keys[1:][falls] >> _TIME_BITS] = True
        moved = np.flatnonzero(disordered.repeat(self.lengths))
        order[moved] = moved[np.argsort(self.keys[moved], kind="stable")]
        place[order[moved]] = moved
        self.arrival, self.keys, self.own = order, self.keys[order], place[self.own]
        self.table = _taken(self.table, order)

    @cached_property
    def starts(self) -> Ints:
        """
        The place of each row's first event.
        """
        return np.cumsum(self.lengths) - self.lengths

    def first_after(self, seconds_back: Sequence[int]) -> NDArray[np.int64]:
        """
        Return where the events begin that are younger than so many seconds, for ages that fall: shape (ages, batch).
        """
        since = np.maximum(self.current.occurred_s[:, None] - np.array(seconds_back, np.int64), -1)
        since += (np.arange(self.rows, dtype=np.int64) << _TIME_BITS)[:, None]
        # In rising order: each search begins where the one before it ended.
        found = np.searchsorted(self.keys, since.ravel(), side="right").reshape(since.shape)
        return np.ascontiguousarray(found.T)

    @property
    def time(self) -> NDArray[np.uint32]:
        """
        Event time of each event, seconds.
        """
        return self.table["time"]

    @cached_property
    def minor(self) -> Ints:
        """
        Amount of each event, minor units.
        """
        return amounts(self.table)

    @cached_property
    def fraud(self) -> Mask:
        """
        Whether each event has been labelled fraud.
        """
        return np.asarray((self.table["flags"] & FRAUD_FLAG) != 0)

    def word(self, name: str) -> NDArray[np.uint32]:
        """
        Return a field of each event as its word, 0 where it is missing.
        """
        return np.ascontiguousarray(self.table[name])

    def like_current(self, name: str) -> Mask:
        """
        Say of each event whether a field has the word that the transaction has, whose past it is; missing ones are alike too.
        """
        return np.asarray(self.table[name] == np.repeat(self.current.words[name], self.lengths))
