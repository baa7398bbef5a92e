"""
What the kernel is told about a batch: how each transaction stands, and the bytes of its entities' states.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """
    How a transaction stands after ``touch``: moved by this very call, moved before, or late, with its states left alone.
    """

    TOUCHED = "touched"
    SEEN = "seen"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class States:
    """
    States of a batch, read after its touch: per kind one value per row, empty where there is none.

    Rows of one entity share the same bytes object. A log holds records, oldest first in order of arrival; a ring holds slots.
    """

    logs: Mapping[str, Sequence[bytes]]
    rings: Mapping[str, Sequence[bytes]]
