"""
Recorded decisions as Arrow tables, for a backtest: from Parquet files and from the database.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from fraudstream.adapters.decision_files import SCHEMA
from fraudstream.adapters.postgres_connection import connect
from fraudstream.adapters.postgres_errors import part_from, translated
from fraudstream.domain.decision import LabelValue
from fraudstream.domain.errors import InvalidSource
from fraudstream.rules.vocabulary import TEXT_FIELDS
from fraudstream.training.payments import RecordedTable, truths

pc: Any = pyarrow.compute

#: Columns of a decision that say nothing to a rule.
_UNREAD = frozenset(("metadata", "schema", "score", "points", "reasons", "rule_hits", "degraded", "model", "received_at"))
_READ = tuple(name for name in SCHEMA.names if name not in _UNREAD)
_TRUTHS = ("label", "fraud", "is_fraud")
_PREFETCH = 5000
_NAMES = frozenset(one.value for one in LabelValue)
#: Of several labels of a transaction the one labelled last counts; of the same moment, the higher id.
_ROWS = f"""
SELECT {", ".join(f"d.{name}" for name in _READ)}, l.label
FROM decisions d
LEFT JOIN (
    SELECT DISTINCT ON (transaction_id) transaction_id, label
    FROM labels WHERE labelled_at <= $3 ORDER BY transaction_id, labelled_at DESC, label_id DESC
) l USING (transaction_id)
WHERE d.occurred_at >= $1 AND d.occurred_at < $2
ORDER BY d.occurred_at, d.transaction_id COLLATE "C"
"""  # noqa: S608 - names of our own
_EPOCH, _FOREVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def holds_decisions(path: Path) -> bool:
    """
    Say whether a file is Parquet with recorded vectors, as ``decisions export`` writes it.

    Raises:
        InvalidSource: There is no such file, or it is damaged.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PAR1":
                return False
        return "vector" in pq.read_schema(path).names
    except (OSError, pa.ArrowException) as exc:
        raise InvalidSource(f"{path} cannot be read: {exc}") from None


def read_decisions(
    path: Path, *, since: datetime | None, until: datetime | None, labels: Mapping[str, str] | None = None
) -> RecordedTable:
    """
    Read an export of decisions; strings come with the dictionaries of the file.

    Args:
        path: Written by ``decisions export --format parquet``.
        since: First moment of the payments' own time.
        until: End of it, exclusive.
        labels: What is known by transaction id; else the file's own column ``label``, ``fraud`` or ``is_fraud``.

    Raises:
        InvalidSource: It cannot be read.
    """
    try:
        names = pq.read_schema(path).names
        wanted = [name for name in names if name in _READ or name in _TRUTHS]
        coded = [name for name in wanted if name in TEXT_FIELDS and name != "transaction_id"]
        table: Any = pq.read_table(path, columns=wanted, read_dictionary=coded, use_threads=False)
    except (OSError, pa.ArrowException) as exc:
        raise InvalidSource(f"{path} cannot be read: {exc}") from None
    if "occurred_at" in names and (since is not None or until is not None):
        at = table["occurred_at"]
        kind = at.type
        inside = pc.and_(
            pc.greater_equal(at, pa.scalar(since or _EPOCH, kind)), pc.less(at, pa.scalar(until or _FOREVER, kind))
        )
        table = table.filter(inside)
    return RecordedTable(table, truths(table, labels))


def masked(table: RecordedTable) -> bool:
    """
    Say whether personal fields of an export were masked, so that no list can find them.
    """
    for name in ("card_id", "user_id", "email", "ip"):
        if name in table.rows.column_names:
            values = table.rows[name].cast(pa.string())
            if pc.any(pc.match_substring(values, "***")).as_py():
                return True
    return False


def read_label_file(path: Path, *, until: datetime | None = None) -> dict[str, str]:
    """
    Read labels: CSV or JSON Lines with ``transaction_id``, ``label`` and perhaps ``labelled_at``; the youngest counts.

    Args:
        path: The file.
        until: Later labels are not known yet.

    Raises:
        InvalidSource: It cannot be read, or a label is none.
    """
    found: dict[str, tuple[str, str]] = {}
    for number, row in _label_rows(path):
        name, label, at = row.get("transaction_id"), row.get("label"), row.get("labelled_at") or ""
        if not name or label not in _NAMES:
            raise InvalidSource(
                f"{path}, line {number}: a label has transaction_id and label, one of {', '.join(sorted(_NAMES))}"
            )
        if (not at or until is None or _moment(at, path, number) <= until) and at >= found.get(name, ("", ""))[0]:
            found[name] = (at, label)
    return {name: label for name, (_, label) in found.items()}


def _moment(text: str, path: Path, number: int) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidSource(f"{path}, line {number}: {text!r} is no time, as in 2026-01-15T12:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _label_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if file.read(1) == "{":
                file.seek(0)
                yield from ((number, json.loads(line)) for number, line in enumerate(file, 1) if line.strip())
            else:
                file.seek(0)
                yield from enumerate(csv.DictReader(file), 2)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as exc:
        raise InvalidSource(f"{path} cannot be read: {exc}") from None


async def query_decisions(url: str, *, since: datetime | None, until: datetime | None, known_at: datetime) -> RecordedTable:
    """
    Read the decisions on record with the labels that were known at a time, over one cursor on one snapshot.

    Raises:
        InvalidSettings: The address is malformed.
        DecisionStoreUnavailable: The database does not answer.
    """
    connection: asyncpg.Connection = await connect(url, statement_timeout_s=None)
    batches: list[Any] = []
    fields: list[Any] = [SCHEMA.field(name) for name in _READ]
    schema: Any = pa.schema([*fields, pa.field("label", pa.string())])
    try:
        with translated():
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                cursor = await connection.cursor(_ROWS, since or _EPOCH, until or _FOREVER, known_at)
                while rows := await cursor.fetch(_PREFETCH):
                    columns = [
                        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)
                    ]
                    batches.append(pa.record_batch(columns, schema=schema))
    finally:
        await part_from(connection)
    table = pa.Table.from_batches(batches, schema=schema)
    return RecordedTable(table, truths(table))
