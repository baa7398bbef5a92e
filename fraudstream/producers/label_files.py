"""
Labels from files: chargebacks and analysts' verdicts as CSV, JSON Lines or Parquet, gzipped or not.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.domain.decision import Label, LabelValue
from fraudstream.domain.errors import InvalidSource
from fraudstream.domain.masking import has_card_number
from fraudstream.producers.files import BadRow, opened
from fraudstream.producers.json_lines import json_object, lines
from fraudstream.producers.tables import CsvTable, ParquetTable
from fraudstream.producers.translate import UnmappedRow, event_time_ms

#: Columns that may hold the label: words of ours, or a truth.
_LABEL_COLUMNS = ("label", "is_fraud", "fraud", "isfraud", "tx_fraud")
_TRUTHS = {"1": LabelValue.FRAUD, "true": LabelValue.FRAUD, "0": LabelValue.LEGITIMATE, "false": LabelValue.LEGITIMATE}
_TRUTHS |= {value.value: value for value in LabelValue}
_MAX_ID_BYTES = 128


def read_labels(
    path: str | Path,
    *,
    source: str,
    labelled_at: datetime | None = None,
    on_bad: Callable[[BadRow], None] | None = None,
) -> Iterator[Label]:
    """
    Yield the labels of a file in its own order.

    A row needs ``transaction_id``, a label (``label``: fraud, legitimate, unsure; or ``is_fraud``: 1, 0, true, false) and,
    unless ``labelled_at`` is given, its own time ``labelled_at`` (RFC 3339 or unix seconds). ``source`` and ``label_id`` may
    stand in it; without an id the label gets one of its content, so that the same file sent twice is the same labels.

    Args:
        path: A file, or ``-`` for standard input (CSV and JSON Lines).
        source: Who says so, for rows that do not tell.
        labelled_at: When it was learned, for rows that do not tell.
        on_bad: Told of every row that is no label; without it the first one ends the reading.

    Raises:
        InvalidSource: The file cannot be read, a column is missing, or a row is bad and nobody is told.
    """
    name = "<stdin>" if str(path) == "-" else str(path)

    def bad(line: int, reason: str) -> None:
        if on_bad is None:
            raise InvalidSource(f"{name}, line {line}: {reason}")
        on_bad(BadRow(name, line, reason))

    try:
        with opened(path, None) as stream:
            for line, row in _rows(stream, name, bad):
                try:
                    yield _label(row, source, labelled_at)
                except UnmappedRow as exc:
                    bad(line, str(exc))
    except OSError as exc:
        raise InvalidSource(f"{name}: cannot be read ({exc.strerror or exc})") from None


def encode_label(label: Label) -> bytes:
    """
    Write a label as the JSON that ``transactions:labels`` carries.
    """
    return msgspec.json.encode(label)


def _rows(stream: io.BufferedReader, name: str, bad: Callable[[int, str], None]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    head = stream.peek(4)
    if head[:4] == b"PAR1":
        parquet = ParquetTable(name)
        _require(parquet.columns, name)
        yield from ((line, row) for line, _, row in parquet.rows(list(parquet.columns)))
    elif head.lstrip()[:1] in (b"{", b""):
        for line, written in lines(stream, bad):
            row = json_object(written)
            if row is None:
                bad(line, "this is no JSON object")
            else:
                yield line, row
    else:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            table = CsvTable(text, name, bad)
            _require(table.columns, name)
            yield from ((line, row) for line, _, row in table.rows())
        finally:
            text.detach()  # or it would close what is not ours to close


def _require(columns: tuple[str, ...], name: str) -> None:
    there = {column.lower() for column in columns}
    if "transaction_id" not in there:
        raise InvalidSource(f"{name}: there is no column 'transaction_id'; it has {', '.join(columns)}")
    if not there & set(_LABEL_COLUMNS):
        raise InvalidSource(f"{name}: there is no column 'label' (or 'is_fraud'); it has {', '.join(columns)}")


def _label(row: Mapping[str, Any], source: str, labelled_at: datetime | None) -> Label:
    values = {name.lower(): value for name, value in row.items() if value is not None and value != ""}
    transaction_id = _identity("transaction_id", values.get("transaction_id"))
    said = next((values[name] for name in _LABEL_COLUMNS if name in values), None)
    label = _TRUTHS.get(str(int(said) if isinstance(said, bool | float) and said == int(said) else said).strip().lower())
    if label is None:
        raise UnmappedRow("the label is none of fraud, legitimate, unsure, 1, 0, true, false")
    at = _moment(values.get("labelled_at"), labelled_at)
    said_by = str(values.get("source", source))
    if has_card_number(said_by) or len(said_by.encode()) > _MAX_ID_BYTES:
        raise UnmappedRow("column 'source' holds a card number or is too long")
    given = values.get("label_id")
    label_id = _derived(transaction_id, label, said_by, at) if given is None else _identity("label_id", given)
    return Label(label_id=label_id, transaction_id=transaction_id, label=label, source=said_by, labelled_at=at)


def _identity(column: str, value: object) -> str:
    if value is None or isinstance(value, bool) or not isinstance(value, str | int):
        raise UnmappedRow(f"column '{column}' holds no id")
    text = str(value)
    if not 1 <= len(text.encode("utf-8", "surrogateescape")) <= _MAX_ID_BYTES or not text.isprintable():
        raise UnmappedRow(f"column '{column}' must have 1 to {_MAX_ID_BYTES} printable bytes")
    return text


def _moment(value: object, given: datetime | None) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)  # Parquet's own times without a zone are UTC
    if value is not None:
        number = float(value) if isinstance(value, str) and value.strip().replace(".", "", 1).isdecimal() else value
        return datetime.fromtimestamp(event_time_ms(number) / 1_000, UTC)
    if given is None:
        raise UnmappedRow("column 'labelled_at' is empty or missing; give --labelled-at for rows without one")
    return given


def _derived(transaction_id: str, label: LabelValue, source: str, at: datetime) -> str:
    text = f"{transaction_id}\x1f{label.value}\x1f{source}\x1f{at.isoformat()}"
    return f"import-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
