"""
Parquet tables as columns: whole ones read, and one of feature vectors written batch by batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fraudstream.domain.errors import InvalidSource


def read_columns(path: Path, names: Sequence[str] = ()) -> dict[str, NDArray[np.generic]]:
    """
    Return the columns of a Parquet file by name, all without names.

    Raises:
        InvalidSource: There is no such file, it is damaged, or it lacks a column.
    """
    try:
        table = pq.read_table(path, columns=list(names) or None)
    except (OSError, pa.ArrowInvalid, pa.ArrowException) as exc:
        raise InvalidSource(f"{path} cannot be read: {exc}") from None
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise InvalidSource(f"{path} lacks the columns {', '.join(missing)}")
    return {name: table[name].to_numpy() for name in table.column_names}


def write_table(path: Path, table: pa.Table) -> None:
    """
    Write a whole table as Parquet.
    """
    pq.write_table(table, path, compression="zstd")


class VectorTable:
    """
    A Parquet file of feature vectors: ``transaction_id``, ``occurred_at``, ``fraud`` (null where nobody said), one column each.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema

    def write(
        self, ids: Sequence[str], occurred_ms: Sequence[int], frauds: Sequence[bool | None], matrix: NDArray[np.float32]
    ) -> None:
        """
        Add rows; ``matrix`` has shape (rows, features).
        """
        times = [datetime.fromtimestamp(at / 1000, UTC) for at in occurred_ms]
        columns = [
            pa.array(ids, pa.string()),
            pa.array(times, self._schema.field("occurred_at").type),
            pa.array(frauds, pa.bool_()),
        ]
        columns += [pa.array(np.ascontiguousarray(matrix[:, column])) for column in range(matrix.shape[1])]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


@contextmanager
def vector_table(path: Path, names: Sequence[str], feature_set: str) -> Iterator[VectorTable]:
    """
    Open a file of vectors; the id of the feature set stands in its metadata. A file that is not finished is removed.

    Raises:
        InvalidSource: It cannot be written.
    """
    fields: list[tuple[str, pa.DataType]] = [
        ("transaction_id", pa.string()),
        ("occurred_at", pa.timestamp("ms", tz="UTC")),
        ("fraud", pa.bool_()),
    ]
    schema = pa.schema([*fields, *((name, pa.float32()) for name in names)], metadata={"fraudstream.feature_set": feature_set})
    try:
        writer = pq.ParquetWriter(path, schema)
    except OSError as exc:
        raise InvalidSource(f"{path} cannot be written: {exc.strerror or exc}") from None
    try:
        yield VectorTable(writer, schema)
    except BaseException:
        writer.close()
        path.unlink(missing_ok=True)
        raise
    writer.close()
