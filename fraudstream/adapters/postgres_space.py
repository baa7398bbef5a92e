"""
How much space the tables take, and for how long it lasts.
"""

import msgspec

from fraudstream.adapters.postgres_connection import connect
from fraudstream.adapters.postgres_errors import part_from, translated

#: Rows are the planner's estimate: counting them would read the table.
_PLAIN = """
SELECT name, 'partitioned' AS kind, count(part) AS parts, 0 AS compressed,
       sum(greatest(reltuples, 0))::bigint AS rows, coalesce(sum(pg_total_relation_size(part)), 0)::bigint AS bytes
FROM unnest(ARRAY['approved_transactions', 'fraud_transactions', 'rule_shadow_hits']) AS name
LEFT JOIN LATERAL (SELECT relid AS part, reltuples FROM pg_partition_tree(to_regclass(name)) JOIN pg_class ON oid = relid
                   WHERE isleaf) AS parts ON true
GROUP BY name
UNION ALL
"""
_TIMESCALE = """
SELECT hypertable_name AS name, 'hypertable' AS kind, num_chunks AS parts,
       (SELECT count(*) FROM timescaledb_information.chunks AS chunk
        WHERE chunk.hypertable_name = tables.hypertable_name AND is_compressed) AS compressed,
       approximate_row_count(format('%I.%I', hypertable_schema, hypertable_name)::regclass) AS rows,
       hypertable_size(format('%I.%I', hypertable_schema, hypertable_name)::regclass) AS bytes
FROM timescaledb_information.hypertables AS tables
WHERE hypertable_name IN ('approved_transactions', 'fraud_transactions', 'rule_shadow_hits')
UNION ALL
"""
_OTHERS = """
SELECT relname, 'table', 1, 0, greatest(reltuples, 0)::bigint, pg_total_relation_size(oid)
FROM pg_class WHERE oid IN ('transaction_ledger'::regclass, 'superseding_decisions'::regclass, 'labels'::regclass,
    'alerts'::regclass, 'dead_letters'::regclass, 'audit_log'::regclass)
ORDER BY bytes DESC
"""
_IS_PLAIN = "SELECT relkind = 'p' FROM pg_class WHERE oid = 'approved_transactions'::regclass"


class TableSpace(msgspec.Struct, frozen=True, kw_only=True):
    """
    One table: how it is divided, how many parts it has and how many of them are compressed, its rows (estimated) and its bytes.
    """

    name: str
    kind: str
    parts: int
    compressed: int
    rows: int
    bytes: int

    @property
    def bytes_per_row(self) -> float | None:
        """
        Bytes that a row takes with its indexes; None where nobody has counted the rows yet.
        """
        return self.bytes / self.rows if self.rows else None


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """
    All tables, the largest first, and what keeps them.
    """

    server: str
    tables: tuple[TableSpace, ...]


async def space(url: str) -> Space:
    """
    Return what the tables take; nothing is changed.

    Raises:
        DecisionStoreUnavailable: PostgreSQL did not answer, or the tables are missing.
    """
    connection = await connect(url)
    try:
        with translated():
            plain = await connection.fetchval(_IS_PLAIN)
            rows = await connection.fetch(f"{_PLAIN if plain else _TIMESCALE} {_OTHERS}")
    finally:
        await part_from(connection)
    tables = tuple(TableSpace(**dict(row)) for row in rows)
    return Space(server="postgresql" if plain else "timescaledb", tables=tables)
