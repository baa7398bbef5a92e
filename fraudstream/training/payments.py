"""
Recorded payments by column, with what was decided and what was learned since: what a backtest reads.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from fraudstream.decision.policy import SEVERITY
from fraudstream.domain.decision import LabelValue
from fraudstream.domain.errors import InvalidSource
from fraudstream.domain.transaction import NUMBER_FIELDS, Transaction
from fraudstream.rules.table import Column, Features, Table
from fraudstream.rules.texts import Bools, Codes, Words
from fraudstream.rules.vocabulary import TEXT_FIELDS

#: What is known of a payment: nothing, that it was honest, that it was fraud, or that nobody is sure.
UNKNOWN, LEGITIMATE, FRAUD, UNSURE = -1, 0, 1, 2
_TRUTHS = {LabelValue.FRAUD.value: FRAUD, LabelValue.LEGITIMATE.value: LEGITIMATE, LabelValue.UNSURE.value: UNSURE}
#: The outcome of a row that has no decision.
NO_DECISION = len(SEVERITY)

Rows = NDArray[np.intp]
#: Tables, columns and functions of Arrow, whose own types promise less than they hold.
Arrow = Any
pc: Any = pyarrow.compute


@dataclass(frozen=True)
class Payments:
    """
    Payments in any order.

    ``occurred_ms`` is milliseconds since 1970, ``decided`` the recorded outcome as its place in ``SEVERITY`` (``NO_DECISION``
    without one), ``probability`` what the model said (NaN: nothing), ``truth`` what is known now. ``versions`` are the versions
    of lists that groups of rows were decided with, all rows together when nobody noted them. ``left_out`` counts rows that
    cannot be judged, by reason.
    """

    table: Table
    occurred_ms: NDArray[np.int64]
    decided: NDArray[np.uint8]
    probability: NDArray[np.float64]
    truth: NDArray[np.int8]
    versions: tuple[tuple[Mapping[str, str], Rows | None], ...] = (({}, None),)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.table.rows


class ArrowWords(Words):
    """
    Words of an Arrow dictionary; what nobody asks for never becomes an object of Python.

    Args:
        array: Each word once.
        missing: Whether one more code, the last, stands for none.
    """

    __slots__ = ("_array", "_members", "_missing")

    def __init__(self, array: Arrow, *, missing: bool) -> None:
        super().__init__(())
        self._array = array
        self._missing = missing
        self._members: dict[frozenset[str], Bools] = {}
        self.size = len(array) + missing

    @property
    def values(self) -> list[str | None]:
        """
        Every text.
        """
        if not self._values:
            self._values = self._array.to_numpy(zero_copy_only=False).tolist()
            self._values += [None] * self._missing
        return self._values

    def pick(self, codes: Codes) -> list[str | None]:
        """
        Return the texts of some codes.
        """
        if self._values or len(codes) * 4 > self.size:
            return super().pick(codes)
        found: list[str | None] = self._array.take(pa.array(codes, mask=codes == len(self._array))).to_pylist()
        return found

    def ask_in(self, members: frozenset[str], codes: Codes) -> Bools:
        """
        Return for each code whether its text is one of many, all words looked up by Arrow in one go.
        """
        known = self._members.get(members)
        if known is None:
            known = self._members[members] = self._among(members)
        return known.take(codes)

    def _among(self, members: frozenset[str]) -> Bools:
        try:
            wanted = pa.array(list(members), self._array.type)
        except UnicodeEncodeError:
            # What is no valid text can be no word of Arrow.
            wanted = pa.array([one for one in members if one.encode(errors="replace").decode() == one], self._array.type)
        found = pc.is_in(self._array, value_set=wanted).to_numpy(zero_copy_only=False)
        return np.append(found, np.zeros(int(self._missing), np.bool_))

    def known(self, codes: Codes) -> Bools:
        """
        Return which codes stand for a text.
        """
        found: Bools = codes != len(self._array)
        return found


def text_column(column: Arrow) -> Column:
    """
    Return an Arrow column of strings, with a dictionary or without, as codes.
    """
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks == 1 else pa.concat_arrays(whole.unify_dictionaries().chunks)
    coded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    indices = coded.indices
    missing = len(coded.dictionary)
    codes = (indices.fill_null(missing) if indices.null_count else indices).to_numpy()
    kind = np.uint8 if missing < 256 else np.int32
    return Column(ArrowWords(coded.dictionary, missing=bool(indices.null_count)), codes.astype(kind, copy=False))


class LazyTexts(Mapping[str, Column]):
    """
    Text columns of an Arrow table, each coded when it is first asked for.
    """

    def __init__(self, table: Arrow) -> None:
        self._table = table
        self._names = [name for name in TEXT_FIELDS if name in table.column_names]
        self._made: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = text_column(self._table[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Numbers(Mapping[str, NDArray[np.float64]]):
    def __init__(self, table: Arrow, occurred_ms: NDArray[np.int64]) -> None:
        self._table = table
        self._names = [name for name, column in NUMBER_FIELDS.items() if column in table.column_names]
        self._occurred_ms = occurred_ms
        self._made: dict[str, NDArray[np.float64]] = {}

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> NDArray[np.float64]:
        if name == "timestamp":
            return self._occurred_ms.astype(np.float64)
        if name not in self._names:
            raise KeyError(name)
        return floats(self._table[NUMBER_FIELDS[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(("timestamp", *self._names))

    def __len__(self) -> int:
        return len(self._names) + 1


def floats(column: Arrow) -> NDArray[np.float64]:
    """
    Return a column of numbers, NaN where missing.
    """
    found: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return found


def milliseconds(column: Arrow) -> NDArray[np.int64]:
    """
    Return a column of moments as milliseconds since 1970.
    """
    found: NDArray[np.int64] = column.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    return found


def vectors(column: Arrow, width: int) -> Features:
    """
    Return recorded vectors, all of the same width, as a matrix without copying them.

    Raises:
        InvalidSource: One of them is longer or shorter.
    """
    parts = []
    for chunk in column.chunks:
        if len(chunk):
            lengths = pc.binary_length(chunk)
            if chunk.null_count or pc.min_max(lengths).as_py() != {"min": 4 * width, "max": 4 * width}:
                raise InvalidSource(f"the recorded vectors do not all have {width} features")
            data = np.frombuffer(chunk.buffers()[-1], np.float32, len(chunk) * width, _first_byte(chunk))
            parts.append(data.reshape(len(chunk), width))
    if not parts:
        return np.zeros((0, width), np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _first_byte(chunk: Arrow) -> int:
    kind: type[np.signedinteger[Any]] = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
    (first,) = np.frombuffer(chunk.buffers()[1], kind, 1, int(chunk.offset) * np.dtype(kind).itemsize).tolist()
    return int(first)


class _Record:
    """
    Makes transactions of rows, one at a time, for those that people look at.
    """

    def __init__(self, texts: LazyTexts, numbers: _Numbers) -> None:
        self._texts = texts
        self._numbers = numbers

    def transaction(self, row: int) -> Transaction:
        fields: dict[str, Any] = {name: self._text(name, row) for name in self._texts}
        fields |= {NUMBER_FIELDS[name]: self._number(name, row) for name in self._numbers if name != "timestamp"}
        return Transaction(**fields, occurred_at_ms=int(self._numbers["timestamp"][row]))

    def _text(self, name: str, row: int) -> str | None:
        column = self._texts[name]
        return column.words.pick(column.codes[row : row + 1])[0]

    def _number(self, name: str, row: int) -> float | int | None:
        value = float(self._numbers[name][row])
        if np.isnan(value):
            return None
        return int(value) if NUMBER_FIELDS[name].endswith("_minor") else value


#: What a row must have to be judged at all.
NEEDED = ("transaction_id", "amount_minor", "currency", "occurred_at", "vector")


@dataclass(frozen=True)
class RecordedTable:
    """
    Rows as ``decisions export`` writes them and view ``decisions`` has them; ``truth`` as in ``Payments``.
    """

    rows: Arrow
    truth: NDArray[np.int8]


def payments_of(recorded: RecordedTable, feature_set: str, features: Sequence[str]) -> Payments:
    """
    Return recorded rows for a backtest by the features that they were decided with.

    Rows of another feature set, and those that have no vector, are left out and counted.

    Raises:
        InvalidSource: A column is missing, or vectors do not fit.
    """
    table, truth, left_out = _fitting(recorded, feature_set, 4 * len(features))
    occurred_ms = milliseconds(table["occurred_at"])
    texts, numbers = LazyTexts(table), _Numbers(table, occurred_ms)
    made = Table(vectors(table["vector"], len(features)), numbers, texts, _Record(texts, numbers).transaction)
    return Payments(
        table=made,
        occurred_ms=occurred_ms,
        decided=_decided(table),
        probability=floats(table["probability"]) if "probability" in table.column_names else np.full(len(table), np.nan),
        truth=truth,
        versions=_versions(table),
        left_out=left_out,
    )


def _fitting(recorded: RecordedTable, feature_set: str, width: int) -> tuple[Arrow, NDArray[np.int8], dict[str, int]]:
    table = recorded.rows
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise InvalidSource(
            f"these rows lack {', '.join(missing)}; write them with: fraudstream decisions export --format parquet"
        )
    whole = pc.fill_null(pc.equal(pc.binary_length(table["vector"]), width), False)
    same = pc.equal(table["feature_set"], feature_set) if "feature_set" in table.column_names else whole
    empty = pc.fill_null(pc.equal(pc.binary_length(table["vector"]), 0), True)
    kept = pc.and_(whole, same)
    if pc.all(kept).as_py() in (True, None):
        return table, recorded.truth, {}
    count = {"no vector was recorded": pc.sum(empty).as_py()}
    count["another feature set"] = len(table) - pc.sum(kept).as_py() - count["no vector was recorded"]
    mask = kept.to_numpy().astype(np.bool_)
    return table.filter(kept), recorded.truth[mask], {reason: rows for reason, rows in count.items() if rows}


def _decided(table: Arrow) -> NDArray[np.uint8]:
    if "outcome" not in table.column_names:
        return np.full(len(table), NO_DECISION, np.uint8)
    known = pa.array([one.value for one in SEVERITY])
    found = pc.fill_null(pc.index_in(table["outcome"].cast(pa.string()), known), NO_DECISION)
    return np.asarray(found.to_numpy()).astype(np.uint8)


def _versions(table: Arrow) -> tuple[tuple[Mapping[str, str], Rows | None], ...]:
    """
    Return the versions of lists that groups of rows were decided with.
    """
    if "lists" not in table.column_names or table["lists"].null_count == len(table):
        return (({}, None),)
    column = text_column(table["lists"])
    told = column.words.values
    used = np.unique(column.codes).tolist()
    if len(used) == 1:
        return ((_read_versions(told[used[0]]), None),)
    return tuple((_read_versions(told[code]), (column.codes == code).nonzero()[0]) for code in used)


def _read_versions(text: str | None) -> dict[str, str]:
    return {} if text is None else msgspec.json.decode(text, type=dict[str, str])


def truths(table: Arrow, labels: Mapping[str, str] | None = None) -> NDArray[np.int8]:
    """
    Return what is known of each row: by labels of transaction ids, else by its own column ``label``, ``fraud`` or ``is_fraud``.
    """
    found = np.full(len(table), UNKNOWN, np.int8)
    for name in ("label", "fraud", "is_fraud"):
        if name in table.column_names:
            found = _own_truths(table[name])
            break
    if labels:
        ids = pa.array(list(labels))
        place = pc.index_in(table["transaction_id"].cast(pa.string()), ids)
        values = np.array([_TRUTHS[one] for one in labels.values()], np.int8)
        known = np.asarray(pc.is_valid(place).to_numpy(), np.bool_)
        at = np.asarray(pc.fill_null(place, 0).to_numpy(), np.intp)
        found = np.where(known, values[at], found).astype(np.int8)
    return found


def _own_truths(column: Arrow) -> NDArray[np.int8]:
    if pa.types.is_boolean(column.type) or pa.types.is_integer(column.type):
        return np.asarray(pc.fill_null(column.cast(pa.int8()), UNKNOWN).to_numpy()).astype(np.int8)
    names = pa.array(list(_TRUTHS))
    place = np.asarray(pc.fill_null(pc.index_in(column.cast(pa.string()), names), len(_TRUTHS)).to_numpy(), np.intp)
    return np.array([*_TRUTHS.values(), UNKNOWN], np.int8)[place]
