"""
Tables as rows of named values: CSV line by line, Parquet batch by batch.
"""

import csv
import re
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from fraudstream.domain.errors import InvalidSource

#: Rows of a Parquet file that are in memory at a time.
_BATCH = 4096
_READ_BYTES = 1 << 18
#: What a byte that is not UTF-8 was read as.
_NOT_UTF8 = re.compile("[\udc80-\udcff]")

NumberedRow = tuple[int, int, dict[str, Any]]


class CsvTable:
    """
    A CSV file: header first, separated by comma, semicolon or tab, quoted as in RFC 4180. Bytes that are not UTF-8 are
    expected as surrogates (``errors="surrogateescape"``).

    ``columns`` is the header; ``rows`` yields (line, number of the row, values) and tells ``bad`` of rows that do not fit it.

    Raises:
        InvalidSource: There is no header, or it names a column twice.
    """

    def __init__(self, text: TextIO, name: str, bad: Callable[[int, str], None]) -> None:
        head = text.readline()
        self._bad = bad
        separator = max(",;\t", key=head.count)
        self.columns = tuple(column.strip() for column in next(csv.reader([head], delimiter=separator), []))
        self._lines = csv.reader(text, delimiter=separator)
        if not any(self.columns):
            raise InvalidSource(f"{name}: the header is missing")
        if twice := sorted({column for column in self.columns if self.columns.count(column) > 1}):
            raise InvalidSource(f"{name}: the header names {', '.join(twice)} more than once")

    def rows(self) -> Iterator[NumberedRow]:
        """
        Yield the rows that fit the header.
        """
        number = 0
        while True:
            line = self._lines.line_num + 2  # the first of the row's own lines; the header was line 1
            try:
                values = next(self._lines)
            except StopIteration:
                return
            except csv.Error as exc:
                number += 1
                self._bad(line, f"this is no CSV: {exc}")
                continue
            if not values:
                continue
            number += 1
            if problem := self._problem(values):
                self._bad(line, problem)
            else:
                yield line, number, dict(zip(self.columns, values, strict=True))

    def _problem(self, values: list[str]) -> str:
        if len(values) != len(self.columns):
            return f"the row has {len(values)} values, the header has {len(self.columns)}"
        for column, value in zip(self.columns, values, strict=True):
            if _NOT_UTF8.search(value):
                return f"column '{column}' is not UTF-8"
        return ""


class ParquetTable:
    """
    A Parquet file; ``columns`` are its top-level columns, ``rows`` yields (row, row, values) for some of them.

    Raises:
        InvalidSource: It is no Parquet file that can be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(path, buffer_size=_READ_BYTES)
        except pa.ArrowException as exc:
            raise InvalidSource(f"{path}: this Parquet file cannot be read: {exc}") from None
        self.columns: tuple[str, ...] = tuple(self._file.schema_arrow.names)

    def rows(self, columns: list[str]) -> Iterator[NumberedRow]:
        """
        Yield rows with the values of ``columns``, a few thousand in memory at a time.
        """
        number = 0
        try:
            with self._file:
                for batch in self._file.iter_batches(_BATCH, columns=columns, use_threads=False):
                    values = [batch.column(column).to_pylist() for column in columns]
                    for row in zip(*values, strict=True):
                        number += 1
                        yield number, number, dict(zip(columns, row, strict=True))
        except pa.ArrowException as exc:
            raise InvalidSource(f"{self._path}: damaged after row {number}: {exc}") from None
