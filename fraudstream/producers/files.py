"""
Transactions from files and standard input: CSV, JSON Lines and Parquet, gzipped or not, one row in memory at a time.
"""

import contextlib
import gzip
import io
import sys
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from fraudstream.domain.errors import InvalidSource
from fraudstream.producers.json_lines import read_json_lines
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.mapping import ColumnMapping, choose, detect
from fraudstream.producers.tables import CsvTable, NumberedRow, ParquetTable
from fraudstream.producers.translate import Translator, UnmappedRow

STDIN = "-"
_BUFFER_BYTES = 1 << 18
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"


class BadRow(NamedTuple):
    """
    A row that was left out: which file, which line (row, in Parquet) from 1, and why, without its values.
    """

    file: str
    line: int
    reason: str


def read_file(
    path: str | Path,
    mapping: str | None = None,
    *,
    on_bad: Callable[[BadRow], None] | None = None,
    card_key: bytes = b"",
    stdin: IO[bytes] | None = None,
) -> Iterator[Labelled]:
    """
    Yield the transactions of a file in its own order, holding a few rows in memory however long it is.

    What the file is shows in its first bytes, not in its name. JSON Lines in our own format are passed on byte for byte, broken
    ones too (the fleet keeps them as dead letters); only a truth in them is taken out. Rows of tables that no transaction can
    be made of go to ``on_bad`` and do not stop the rest.

    Args:
        path: A file, or ``-`` for standard input (CSV and JSON Lines).
        mapping: ``generic``, ``paysim``, ``handbook`` or the path of a mapping file; None chooses by the columns.
        on_bad: Told of every row that is left out; without it the first one ends the reading.
        card_key: Key of the tokens that a mapping asks for.
        stdin: What ``-`` reads; the process' own by default.

    Raises:
        InvalidSource: There is no such file, it is damaged, no mapping fits its columns, or a row is bad and nobody is told.
    """
    name = "<stdin>" if str(path) == STDIN else str(path)

    def bad(line: int, reason: str) -> None:
        if on_bad is None:
            raise InvalidSource(f"{name}, line {line}: {reason}")
        on_bad(BadRow(name, line, reason))

    try:
        with opened(path, stdin) as stream:
            yield from _rows(stream, name, mapping, bad, card_key)
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise InvalidSource(f"{name}: the compressed data is damaged ({exc}); what was read before stands") from None
    except OSError as exc:
        raise InvalidSource(f"{name}: cannot be read ({exc.strerror or exc})") from None


@contextlib.contextmanager
def opened(path: str | Path, stdin: IO[bytes] | None) -> Iterator[io.BufferedReader]:
    """
    Open a file, look through gzip, and close it afterwards; standard input stays open.
    """
    with contextlib.ExitStack() as stack:
        raw: Any = (
            (stdin or sys.stdin.buffer) if str(path) == STDIN else stack.enter_context(Path(path).open("rb", buffering=0))
        )
        stream = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, _BUFFER_BYTES)
        if stream.peek(2)[:2] == _GZIP:
            unpacked: Any = stack.enter_context(gzip.GzipFile(fileobj=stream))
            stream = io.BufferedReader(unpacked, _BUFFER_BYTES)
        yield stream


def _rows(
    stream: io.BufferedReader, name: str, mapping: str | None, bad: Callable[[int, str], None], card_key: bytes
) -> Iterator[Labelled]:
    head = stream.peek(4)
    if head[:4] == _PARQUET:
        parquet = ParquetTable(name)
        chosen = _choose(mapping, parquet.columns, name)
        wanted = [column for column in parquet.columns if chosen.rest or column in chosen.columns()]
        yield from _translated(parquet.rows(wanted), Translator(chosen, card_key=card_key), bad)
    elif head.lstrip()[:1] in (b"{", b""):
        yield from read_json_lines(stream, name, mapping, bad, card_key)
    else:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            table = CsvTable(text, name, bad)
            chosen = _choose(mapping, table.columns, name)
            yield from _translated(table.rows(), Translator(chosen, card_key=card_key), bad)
        finally:
            text.detach()  # or it would close what is not ours to close


def _choose(mapping: str | None, columns: Collection[str], name: str) -> ColumnMapping:
    return detect(columns, name) if mapping is None else choose(mapping, columns, name)


def _translated(rows: Iterator[NumberedRow], translator: Translator, bad: Callable[[int, str], None]) -> Iterator[Labelled]:
    for line, number, row in rows:
        try:
            labelled = translator.labelled(row, number)
        except UnmappedRow as exc:
            bad(line, str(exc))
        else:
            yield labelled
