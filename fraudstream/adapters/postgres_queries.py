"""
The named statements of queries.sql.
"""

import re
from pathlib import Path

from fraudstream.adapters.postgres_rows import COLUMNS

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def _load(text: str) -> dict[str, str]:
    parts = _NAME.split(text)[1:]
    columns = ", ".join(COLUMNS)
    return {name: sql.strip().replace("{columns}", columns) for name, sql in zip(parts[::2], parts[1::2], strict=True)}


#: Statement by name.
QUERIES = _load((Path(__file__).parent / "queries.sql").read_text(encoding="utf-8"))
