"""
How the records of one kind of entity look: who they are, the words that a feature of that kind reads, and a byte of flags.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

#: Bytes of the transaction's hash in a record. It need only tell apart what shares a log, a second and an amount: of such pairs
#: one in 16.8 million is taken for one transaction.
HASH_BYTES = 3
#: Bytes at the head of a record that say which transaction it is: hash, event time, amount.
IDENTITY_BYTES = HASH_BYTES + 4 + 5
#: Bytes of the flag byte at the end of each record.
FLAG_BYTES = 1


@dataclass(frozen=True)
class RecordLayout:
    """
    The records in the logs of one kind of entity: ``words`` are the fields that they keep a 32-bit word of.
    """

    words: tuple[str, ...]

    @cached_property
    def id(self) -> str:
        """
        A short hash that stands in keys, so that records that look different never meet.
        """
        return hashlib.sha256(repr(self.dtype.descr).encode()).hexdigest()[:8]

    @cached_property
    def dtype(self) -> np.dtype[np.void]:
        """
        One record, little endian and packed: hash, event time in seconds, amount in minor units (40 bits), words, flags.
        """
        head = [("hash", "u1", (HASH_BYTES,)), ("time", "<u4"), ("amount", "<u4"), ("amount_high", "u1")]
        return np.dtype([*head, *((name, "<u4") for name in self.words), ("flags", "u1")])

    @cached_property
    def size(self) -> int:
        """
        Bytes of one record.
        """
        return self.dtype.itemsize

    @cached_property
    def flag_offset(self) -> int:
        """
        Place of the flag byte in a record.
        """
        return self.size - FLAG_BYTES

    def table(self, log: bytes) -> NDArray[np.void]:
        """
        Return the whole records of a log; they share its memory.
        """
        return np.frombuffer(log, self.dtype, len(log) // self.size)


def amounts(table: NDArray[np.void]) -> NDArray[np.int64]:
    """
    Return the amounts of records in minor units.
    """
    # Eight bytes of which the upper five are the amount: one copy instead of two.
    wide = table.getfield("<u8", IDENTITY_BYTES - 8).copy()
    wide >>= 24
    return wide.view(np.int64)


def write_amounts(table: NDArray[np.void], minor: NDArray[np.int64]) -> None:
    """
    Set the amounts of records: 0 to 2^40 - 1 minor units.
    """
    table["amount"] = minor & 0xFFFF_FFFF
    table["amount_high"] = minor >> 32


def place_in(log: bytes, identity: bytes, size: int) -> int:
    """
    Return at which byte of a log the newest record of a transaction stands, -1 when it is not (or no longer) there.
    """
    place = log.rfind(identity)
    while place > 0 and place % size:
        place = log.rfind(identity, 0, place + IDENTITY_BYTES - 1)
    return place
