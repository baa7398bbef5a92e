"""
What the compiled kernel (kernel.c) is told once about a set of features: its structures, filled in.
"""

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudstream.features.layout import RecordLayout
from fraudstream.features.plans import ALL, Windows, log_plan
from fraudstream.features.programs import Fields, NotCompilable, Program, program
from fraudstream.features.syntax import Aggregate, Expression, references

#: The aggregates over logs, numbered in the order of ``enum function`` in kernel.c.
FUNCTIONS = (
    "count", "sum", "avg", "min", "max", "stddev", "median", "distinct", "is_new", "first_seen", "time_since_last",
    "ratio_to_baseline", "rank", "speed_kmh", "fraud_count", "fraud_rate", "last_label", "time_since_fraud",
    "clean_since_fraud", "run_length",
)  # fmt: skip
_FUNCTION = {name: number for number, name in enumerate(FUNCTIONS)} | {"last_seen": FUNCTIONS.index("time_since_last")}
SPEED = "speed_kmh"
#: No kind is called so: it is two words.
_ARRAYS = "by arrays"


class ProgramStruct(ctypes.Structure):
    """
    ``struct program``.
    """

    _fields_ = (("steps", ctypes.c_void_p), ("length", ctypes.c_int64), ("constants", ctypes.c_void_p))


class _ConditionStruct(ctypes.Structure):
    _fields_ = (("program", ProgramStruct), ("same", ctypes.c_void_p), ("sames", ctypes.c_int64))


class LogPlanStruct(ctypes.Structure):
    """
    ``struct log_plan``.
    """

    _fields_ = (
        ("record_bytes", ctypes.c_int64),
        ("edges", ctypes.c_void_p),
        ("edge_count", ctypes.c_int64),
        ("conditions", ctypes.c_void_p),
        ("condition_count", ctypes.c_int64),
        ("windows", ctypes.c_void_p),
        ("window_count", ctypes.c_int64),
        ("columns", ctypes.c_void_p),
        ("column_count", ctypes.c_int64),
    )


class RingPlanStruct(ctypes.Structure):
    """
    ``struct ring_plan``.
    """

    _fields_ = (
        ("resolutions", ctypes.c_int64),
        ("widths_ms", ctypes.c_void_p),
        ("first_slots", ctypes.c_void_p),
        ("slot_counts", ctypes.c_void_p),
        ("columns", ctypes.c_void_p),
        ("column_count", ctypes.c_int64),
    )


@dataclass
class _Kept:
    """
    Keeps arrays alive that structures point into.
    """

    arrays: list[Any] = field(default_factory=list)

    def numbers(self, values: Iterable[Any]) -> int:
        return self.array(np.array(list(values), np.int64))

    def array(self, array: NDArray[Any]) -> int:
        self.arrays.append(array)
        return int(array.ctypes.data)

    def structures(self, kind: type[ctypes.Structure], values: Sequence[ctypes.Structure]) -> int:
        found = (kind * len(values))(*values)
        self.arrays.append(found)
        return ctypes.addressof(found)


@dataclass(frozen=True)
class LogColumns:
    """
    ``struct log_plan`` of one kind, and the columns of its speeds, in the order of their places there.
    """

    kind: str
    struct: LogPlanStruct
    speeds: tuple[int, ...]


@dataclass(frozen=True)
class RingColumns:
    """
    ``struct ring_plan`` of one kind.
    """

    kind: str
    struct: RingPlanStruct


@dataclass(frozen=True)
class Expressions:
    """
    Columns that are expressions, each after what it refers to: an array of ``struct program`` and one of their columns.
    """

    programs: Any
    places: NDArray[np.int64]


@dataclass(frozen=True)
class ByArrays:
    """
    Columns that the compiled kernel does not know, each after what it refers to.
    """

    columns: tuple[int, ...]


Step = LogColumns | RingColumns | Expressions | ByArrays


@dataclass(frozen=True)
class CompiledPlan:
    """
    How the compiled kernel works a set of features out: ``steps``, each after those that it refers to.

    ``fields``: those of the transaction that programs read. ``kept``: what structures point into.
    """

    steps: tuple[Step, ...]
    fields: tuple[str, ...]
    kept: list[Any]


class Planning:
    """
    Works a ``CompiledPlan`` out: as few steps as what refers to what allows.

    Args:
        names: Of all columns, in order.
        bodies: Their definitions.
        layouts: Of the records, by kind of log.
        resolutions: Of the rings: milliseconds, first slot and slots of each.
    """

    def __init__(
        self,
        names: Sequence[str],
        bodies: Sequence[Aggregate | Expression],
        layouts: Mapping[str, RecordLayout],
        resolutions: Sequence[tuple[int, int, int]],
    ) -> None:
        self._names = names
        self._bodies = bodies
        self._layouts = layouts
        self._resolutions = resolutions
        self._kept = _Kept()
        self._fields = Fields()

    def plan(self) -> CompiledPlan:
        """
        Return the plan.
        """
        steps: list[Step] = []
        left = dict(enumerate(self._bodies))
        while left:
            ready: dict[str, list[int]] = {}
            unknown = {self._names[column] for column in left}
            for column, body in left.items():
                if unknown.isdisjoint(one.name for one in references(body)):
                    ready.setdefault(self._way(body), []).append(column)
            for way, columns in sorted(ready.items(), key=lambda one: one[0] in ("", _ARRAYS)):
                steps.append(self._step(way, columns))
                for column in columns:
                    del left[column]
        return CompiledPlan(tuple(steps), tuple(self._fields.names), self._kept.arrays)

    def _way(self, body: Aggregate | Expression) -> str:
        """
        Return what works a column out: the name of a kind, nothing for expressions, ``arrays``.
        """
        try:
            if not isinstance(body, Aggregate):
                self._written(body, None)
            elif body.entity in self._layouts:
                self._written(body.where, self._layouts[body.entity])
        except NotCompilable:
            return _ARRAYS
        return body.entity if isinstance(body, Aggregate) else ""

    def _step(self, way: str, columns: Sequence[int]) -> Step:
        if way == _ARRAYS:
            return ByArrays(tuple(columns))
        if not way:
            bodies = [(column, self._bodies[column]) for column in columns]
            programs = [self._program(self._written(one, None)) for _, one in bodies if not isinstance(one, Aggregate)]
            return Expressions((ProgramStruct * len(programs))(*programs), np.array(columns, np.int64))
        pairs = [(column, body) for column in columns if isinstance(body := self._bodies[column], Aggregate)]
        return self._log(way, pairs) if way in self._layouts else self._ring(way, pairs)

    def _log(self, kind: str, columns: Sequence[tuple[int, Aggregate]]) -> LogColumns:
        plan, layout, kept = log_plan(columns), self._layouts[kind], self._kept
        conditions = [self._condition(windows, layout) for windows in plan.windows]
        begins = np.cumsum([0, *(len(windows.low) for windows in plan.windows)])
        speeds = tuple(column for column, one in columns if one.function == SPEED)
        rows = [
            (
                _FUNCTION[one.function],
                int(begins[plan.places[column][0]]) + plan.places[column][1],
                _word(one, layout),
                speeds.index(column) if one.function == SPEED else column,
            )
            for column, one in columns
        ]
        windows_ = [window for number, windows in enumerate(plan.windows) for window in _windows(number, windows)]
        struct = LogPlanStruct(
            layout.size, kept.numbers(plan.edges), len(plan.edges), kept.structures(_ConditionStruct, conditions),
            len(conditions), kept.numbers(windows_), len(windows_), kept.numbers(rows), len(rows),
        )  # fmt: skip
        return LogColumns(kind, struct, speeds)

    def _ring(self, kind: str, columns: Sequence[tuple[int, Aggregate]]) -> RingColumns:
        rows = [_ring_column(column, one, self._resolutions) for column, one in columns]
        widths, begins, counts = zip(*self._resolutions, strict=True)
        kept = self._kept
        struct = RingPlanStruct(
            len(widths), kept.numbers(widths), kept.numbers(begins), kept.numbers(counts), kept.numbers(rows), len(rows)
        )
        return RingColumns(kind, struct)

    def _condition(self, windows: Windows, layout: RecordLayout) -> _ConditionStruct:
        same = [layout.words.index(name) for name in windows.same]
        return _ConditionStruct(self._program(self._written(windows.where, layout)), self._kept.numbers(same), len(same))

    def _written(self, node: Expression | None, of_past: RecordLayout | None) -> Program:
        past = None if of_past is None else of_past.words
        return program(node, features=self._names, fields=self._fields, past=past)

    def _program(self, one: Program) -> ProgramStruct:
        constants = self._kept.array(np.array(one.constants, np.float64))
        return ProgramStruct(self._kept.numbers(one.steps), len(one.steps), constants)


def _word(one: Aggregate, layout: RecordLayout) -> int:
    """
    Return the place of the word that an aggregate reads, -1 where it reads none.
    """
    name = "place" if one.function == SPEED else one.argument
    return layout.words.index(name) if name in layout.words else -1


def _windows(condition: int, windows: Windows) -> list[tuple[int, int, int, bool, int]]:
    count = len(windows.low)
    current = [False] * count if windows.current is None else windows.current[:, 0].tolist()
    newest = [ALL] * count if windows.newest is None else windows.newest[:, 0].tolist()
    return [
        (condition, low, high, now, -1 if most == ALL else most)
        for low, high, now, most in zip(windows.low.tolist(), windows.high.tolist(), current, newest, strict=True)
    ]


def _ring_column(
    column: int, one: Aggregate, resolutions: Sequence[tuple[int, int, int]]
) -> tuple[int, int, int, int, bool, int]:
    if one.resolution is None or one.over_s is None:
        raise ValueError("the checker gives every aggregate on buckets a window and a resolution")
    width_ms = resolutions[one.resolution][0]
    over, delay = one.over_s * 1_000 // width_ms, one.delayed_s * 1_000 // width_ms
    return _FUNCTION[one.function], one.resolution, over, delay, one.including_current, column
