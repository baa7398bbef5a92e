"""
Decisions as files: CSV, JSON Lines, Parquet, written row by row as they come.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from fraudstream.adapters.postgres_rows import COLUMNS
from fraudstream.domain.errors import InvalidSettings

#: The forms by name.
FORMS = ("csv", "jsonl", "parquet")
#: Rows of one Parquet row group.
_GROUP_ROWS = 10_000
_INTEGERS = ("amount_minor", "balance_before_minor", "balance_after_minor", "counterparty_balance_before_minor",
             "counterparty_balance_after_minor")  # fmt: skip
_FLOATS = ("latitude", "longitude", "score", "probability", "points")
_TIMES = ("occurred_at", "received_at", "decided_at")
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _type(name: str) -> Any:
    if name in _TIMES:
        return pa.timestamp("ms", tz="UTC")
    if name == "vector":
        return pa.binary()
    return pa.int64() if name in _INTEGERS else pa.float64() if name in _FLOATS else pa.string()


#: The columns of a Parquet export; what is a list or an object is JSON text.
SCHEMA = pa.schema([(name, _type(name)) for name in COLUMNS])


class DecisionFile(Protocol):
    """
    A file that takes rows: values by column of view ``decisions``; times are aware, lists and objects JSON text.
    """

    def write(self, row: Mapping[str, Any]) -> None:
        """
        Add a row.
        """
        ...


class _Csv:
    def __init__(self, file: TextIO) -> None:
        self._writer = csv.writer(file)
        self._writer.writerow(COLUMNS)

    def write(self, row: Mapping[str, Any]) -> None:
        self._writer.writerow([_plain(row[name]) for name in COLUMNS])


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value


class _JsonLines:
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: Mapping[str, Any]) -> None:
        json.dump({name: _json(name, row[name]) for name in COLUMNS}, self._file, ensure_ascii=False)
        self._file.write("\n")


def _json(name: str, value: Any) -> Any:
    if name in ("metadata", "reasons", "rule_hits", "degraded", "lists"):
        return None if value is None else json.loads(value)
    if isinstance(value, bytes):
        return value.hex()
    return value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else value


class _Parquet:
    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._rows: list[Mapping[str, Any]] = []

    def write(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == _GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            columns = {name: [row[name] for row in self._rows] for name in COLUMNS}
            self._writer.write_table(pa.table(columns, schema=SCHEMA))
            self._rows = []


@contextmanager
def decision_file(path: str, form: str, stdout: TextIO) -> Iterator[DecisionFile]:
    """
    Lend a file for rows; it stands under its name only once it is whole, and only its owner may read it.

    Args:
        path: Where to write; '-' for ``stdout`` (not Parquet).
        form: One of ``FORMS``.
        stdout: What '-' stands for.

    Raises:
        InvalidSettings: The file cannot be written.
    """
    if path == "-":
        yield _Csv(stdout) if form == "csv" else _JsonLines(stdout)
        stdout.flush()
        return
    part = Path(f"{path}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as exc:
        raise InvalidSettings(f"{path} cannot be written: {exc.strerror}") from exc
    try:
        with _open(handle, form) as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _open(handle: int, form: str) -> Iterator[DecisionFile]:
    if form == "parquet":
        with os.fdopen(handle, "wb") as raw, pq.ParquetWriter(raw, SCHEMA, compression="zstd") as writer:
            file = _Parquet(writer)
            yield file
            file.flush()
    else:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as text:
            yield _Csv(text) if form == "csv" else _JsonLines(text)
