"""
The kernel compiled: one call for each kind of entity, over all rows of a batch.

It is there where there was a C compiler when the package was built (hatch_build.py). Without it everything is worked out by
arrays, with the same values to the bit, and more slowly: a batch costs some five hundred calls of numpy, whatever its size.
"""

import ctypes
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.aggregates import speeds_kmh
from fraudstream.features.columns import RowColumns
from fraudstream.features.compiled_plans import (
    CompiledPlan,
    Expressions,
    LogColumns,
    LogPlanStruct,
    RingColumns,
    RingPlanStruct,
)
from fraudstream.features.definitions import PLACE, FeatureSet
from fraudstream.features.programs import is_number
from fraudstream.features.rings import ranks
from fraudstream.features.states import Standing

#: Where the build leaves what it compiled.
PATH = Path(__file__).with_name("kernel.clib")


class _Given(ctypes.Structure):
    _fields_ = (("rows", ctypes.c_int64), ("columns", ctypes.c_void_p), ("matrix", ctypes.c_void_p))


class _LogBatch(ctypes.Structure):
    _fields_ = (
        ("given", _Given),
        ("logs", ctypes.c_char_p),
        ("lengths", ctypes.c_void_p),
        ("own", ctypes.c_char_p),
        ("late", ctypes.c_void_p),
        ("present", ctypes.c_void_p),
        ("occurred_s", ctypes.c_void_p),
        ("amounts", ctypes.c_void_p),
        ("words", ctypes.c_void_p),
        ("cells", ctypes.c_void_p),
        ("ages", ctypes.c_void_p),
    )


class _RingBatch(ctypes.Structure):
    _fields_ = (
        ("given", _Given),
        ("rings", ctypes.c_char_p),
        ("begins", ctypes.c_void_p),
        ("entities", ctypes.c_void_p),
        ("entity_count", ctypes.c_int64),
        ("touched", ctypes.c_void_p),
        ("again", ctypes.c_void_p),
        ("ranks", ctypes.c_void_p),
        ("occurred_s", ctypes.c_void_p),
        ("amounts", ctypes.c_void_p),
    )


class Library:
    """
    The functions of kernel.c.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.logs = library.fs_logs
        self.logs.argtypes = (ctypes.POINTER(LogPlanStruct), ctypes.POINTER(_LogBatch))
        self.rings = library.fs_rings
        self.rings.argtypes = (ctypes.POINTER(RingPlanStruct), ctypes.POINTER(_RingBatch))
        self.expressions = library.fs_expressions
        self.expressions.argtypes = (ctypes.POINTER(_Given), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
        self.expressions.restype = None


def load(path: Path, source: Path) -> tuple[Library | None, str]:
    """
    Return what was compiled, and why there is nothing where there is not: a library of another source is not used.
    """
    if not path.exists():
        return None, "it was built where there was no C compiler"
    digest = hashlib.sha256(source.read_bytes()).hexdigest().encode()
    try:
        library = ctypes.CDLL(str(path))
        known = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, "fs_source")))
    except (OSError, ValueError) as exc:  # brought here from a machine of another kind, or something else altogether
        return None, str(exc)
    if known != digest:
        return None, f"{path.name} was compiled from another {source.name}"
    return Library(library), ""


#: The compiled kernel of this installation, and why there is none.
LIBRARY, PROBLEM = load(PATH, PATH.with_name("kernel.c"))


class CompiledBatch:
    """
    One batch in the hands of the compiled kernel, which fills columns of the matrix where they have anything to say.

    Args:
        library: What was compiled.
        plan: Of ``features``.
        matrix: Shape (features, batch), filled with the defaults.
    """

    def __init__(
        self,
        library: Library,
        *,
        features: FeatureSet,
        plan: CompiledPlan,
        rows: RowColumns,
        standings: Sequence[Standing],
        matrix: NDArray[np.float32],
    ) -> None:
        self._library = library
        self._features = features
        self._plan = plan
        self._records = rows.records
        self._standings = standings
        self._matrix = matrix
        self._columns = _columns(plan.fields, rows)
        self._given = _Given(matrix.shape[1], _at(self._columns), _at(matrix))
        self._occurred_s = np.ascontiguousarray(self._records.occurred_s)
        self._amounts = np.ascontiguousarray(self._records.amounts)
        self._places: list[tuple[tuple[int, ...], NDArray[np.uint32], NDArray[np.float64]]] = []

    def logs(self, columns: LogColumns, logs: Sequence[bytes]) -> None:
        """
        Fill columns over one kind of log.
        """
        kind, records, rows = columns.kind, self._records, len(logs)
        layout = self._features.layouts[kind]
        lengths = np.array(list(map(len, logs)), np.int64)
        late = self._standing(Standing.LATE)
        present = records.present(kind)
        words = [np.ascontiguousarray(records.words[name]) for name in layout.words]
        pointers = np.array([_at(column) for column in words], np.uint64)
        cells = np.zeros((len(columns.speeds), rows), np.uint32)
        ages = np.zeros((len(columns.speeds), rows))
        batch = _LogBatch(
            self._given, b"".join(logs), _at(lengths), b"".join(records.packed[kind]), _at(late), _at(present),
            _at(self._occurred_s), _at(self._amounts), _at(pointers), _at(cells), _at(ages),
        )  # fmt: skip
        if self._library.logs(columns.struct, batch):
            raise MemoryError("the past of a batch")
        if columns.speeds:
            self._places.append((columns.speeds, cells, ages))

    def speeds(self) -> None:
        """
        Fill the columns of speeds over the logs since the last call, of all kinds at once.
        """
        if not self._places:
            return
        columns, cells, ages = zip(*self._places, strict=True)
        self._places.clear()
        values, known = speeds_kmh(np.concatenate(cells), np.concatenate(ages), self._records.words[PLACE])
        for at, column in enumerate(itertools.chain.from_iterable(columns)):
            np.copyto(self._matrix[column], values[at], casting="same_kind", where=known[at])

    def rings(self, columns: RingColumns, rings: Sequence[bytes]) -> None:
        """
        Fill columns over one kind of ring.
        """
        ids = self._records.entities[columns.kind]
        held = dict(zip(ids, rings, strict=True))
        held.pop(None, None)
        numbers: dict[str | None, int] = {entity: number for number, entity in enumerate(held)}
        numbers[None] = -1
        entities = np.array([numbers[entity] for entity in ids], np.int64)
        begins = np.zeros(len(held) + 1, np.int64)
        np.cumsum(list(map(len, held.values())), out=begins[1:])
        touched = self._standing(Standing.TOUCHED)
        order, again = ranks(self._records.hashes, touched, self._standing(Standing.SEEN))
        batch = _RingBatch(
            self._given, b"".join(held.values()), _at(begins), _at(entities), len(held), _at(touched), _at(again), _at(order),
            _at(self._occurred_s), _at(self._amounts),
        )  # fmt: skip
        if self._library.rings(columns.struct, batch):
            raise MemoryError("the buckets of a batch")

    def expressions(self, some: Expressions) -> None:
        """
        Fill columns that are expressions.
        """
        self._library.expressions(self._given, ctypes.addressof(some.programs), _at(some.places), len(some.places))

    def _standing(self, one: Standing) -> NDArray[np.bool_]:
        """
        Say of each row whether it stands so.
        """
        if one not in self._standings:
            return np.zeros(len(self._standings), np.bool_)
        return np.array([standing is one for standing in self._standings], np.bool_)


def _columns(names: Sequence[str], rows: RowColumns) -> NDArray[np.float64]:
    """
    Return fields of the transactions as numbers of which NaN is unknown: shape (fields, batch).
    """
    columns = np.empty((len(names), len(rows.records.hashes)))
    for column, name in zip(columns, names, strict=True):
        column[:] = rows.field(name, current=True)
        if not is_number(name):
            column[column == 0] = np.nan
    return columns


def _at(array: NDArray[Any]) -> int:
    """
    Return where an array lies in memory; it must outlive whoever is told.
    """
    if array.size and array.flags.writeable:  # four times as fast as the other way
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]  # it is a buffer
    return int(array.ctypes.data)
