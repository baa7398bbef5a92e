"""
The decision store on PostgreSQL: batches in, each in one transaction; a bad row condemns only itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg

from fraudstream.adapters.postgres_errors import RowsRefused, part_from, translated
from fraudstream.adapters.postgres_queries import QUERIES
from fraudstream.adapters.postgres_rows import COLUMNS, SHADOW_COLUMNS, decision_of, row_of, shadow_rows_of
from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.errors import DecisionStoreUnavailable, InvalidSettings, UnsuitableServer
from fraudstream.fleet import crash
from fraudstream.fleet.ports import Recorded

#: Longest wait for a connection to be made or to come free, in seconds.
CONNECT_TIMEOUT_S = 5.0
#: Longest wait for one statement, in seconds; a batch takes a tenth of one.
STATEMENT_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0
_Item = TypeVar("_Item", Decision, Label)


class PostgresDecisionStore:
    """
    A ``DecisionStore`` over a pool of connections, which it makes as it needs them.

    The ledger makes the second call harmless: a row is written only in the transaction that put its id there first. A reply
    to COMMIT that got lost leaves the ids in the ledger, and the next call finds them known. A batch in which a value is
    refused is halved until the one at fault stands alone, each half in a transaction of its own.

    Args:
        url: ``postgresql://…``; may carry ``sslmode``, ``sslrootcert``, ``sslcert`` and ``sslkey``.
        max_connections: How many batches may be under way at once.
        statement_timeout_s: Longest wait for one statement.
    """

    def __init__(self, url: str, *, max_connections: int = 4, statement_timeout_s: float = STATEMENT_TIMEOUT_S) -> None:
        self._url = url
        self._max_connections = max_connections
        self._statement_timeout_s = statement_timeout_s
        self._opened: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """
        Look at the server once, for an early word about what cannot work; a server that is away now may come later.

        Raises:
            InvalidSettings: The address cannot be used: it is malformed, names a certificate that cannot be read, or leads to a
                server whose certificate is not trusted.
            UnsuitableServer: The tables are missing.
        """
        try:
            ready = await self._has_tables()
        except (asyncpg.ClientConfigurationError, ValueError, FileNotFoundError, PermissionError) as exc:
            raise InvalidSettings(f"POSTGRES_URL cannot be used: {exc}") from exc
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return  # every later call says so, and the fleet waits
        if not ready:
            raise UnsuitableServer("the database has no tables of ours; run: fraudstream db migrate")

    async def _has_tables(self) -> bool:
        connection = await asyncpg.connect(self._url, timeout=CONNECT_TIMEOUT_S)
        try:
            return await connection.fetchval("SELECT to_regclass('transaction_ledger')") is not None
        finally:
            await part_from(connection)

    async def close(self) -> None:
        """
        Give back every connection; the store is not used afterwards.
        """
        if self._opened is None:
            return
        try:
            await asyncio.wait_for(self._opened.close(), _CLOSE_TIMEOUT_S)
        except TimeoutError:
            self._opened.terminate()

    async def record(self, decisions: Sequence[Decision]) -> Recorded:
        """
        Store decisions; see ``DecisionStore``.
        """
        return await self._record(
            _first_of_each((each.transaction.transaction_id, each) for each in decisions), self._put_decisions
        )

    async def record_labels(self, labels: Sequence[Label]) -> Recorded:
        """
        Store labels; see ``DecisionStore``.
        """
        return await self._record(_first_of_each((each.label_id, each) for each in labels), self._put_labels)

    async def find(self, transaction_id: str) -> Decision | None:
        """
        Return the decision on record, as it was when it was stored; None when there is none.

        Raises:
            DecisionStoreUnavailable: PostgreSQL did not answer.
        """
        with translated():
            async with self._connection() as connection:
                row = await connection.fetchrow(QUERIES["find_decision"], transaction_id)
                hits = await connection.fetch(QUERIES["find_shadow_hits"], transaction_id)
        return None if row is None else decision_of(row, tuple(hit["hit"] for hit in hits))

    async def _pool(self) -> asyncpg.Pool:
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncpg.create_pool(
                    self._url,
                    min_size=0,  # nothing is connected here, so nothing can fail here
                    max_size=self._max_connections,
                    timeout=CONNECT_TIMEOUT_S,
                    command_timeout=self._statement_timeout_s,
                    server_settings={"application_name": "fraudstream", "client_min_messages": "warning"},
                )
            return self._opened

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        pool = await self._pool()
        try:
            connection = await pool.acquire(timeout=CONNECT_TIMEOUT_S)
        except (ValueError, TypeError, asyncpg.PostgresError) as exc:  # whatever was wrong on the way here, no row is to blame
            raise DecisionStoreUnavailable(f"PostgreSQL did not let us in: {exc}") from exc
        try:
            yield connection
        finally:
            await pool.release(connection)

    async def _record(self, items: dict[str, _Item], put: Callable[[dict[str, _Item]], Awaitable[set[str]]]) -> Recorded:
        if not items:
            return Recorded()
        stored: set[str] = set()
        refused = await self._halve(items, put, stored)
        known = [key for key in items if key not in stored and key not in refused]
        return Recorded(stored=[key for key in items if key in stored], known=known, refused=refused)

    async def _halve(
        self, items: dict[str, _Item], put: Callable[[dict[str, _Item]], Awaitable[set[str]]], stored: set[str]
    ) -> dict[str, str]:
        """
        Put all items at once or, where one is refused, each half by itself, down to the one at fault; return the refused.
        """
        try:
            stored |= await put(items)
        except RowsRefused as exc:
            keys = list(items)
            if len(keys) == 1:
                return {keys[0]: str(exc)}
            middle = len(keys) // 2
            first = await self._halve({key: items[key] for key in keys[:middle]}, put, stored)
            second = await self._halve({key: items[key] for key in keys[middle:]}, put, stored)
            return first | second
        return {}

    async def _put_decisions(self, decisions: dict[str, Decision]) -> set[str]:
        """
        Enter ids into the ledger and copy the rows of the new ones straight to where they belong, in one transaction.
        """
        everyone = decisions.values()
        columns = list(decisions), [one.outcome.value for one in everyone], [one.decided_at for one in everyone]
        with translated():
            async with self._connection() as connection, connection.transaction():
                known = {row["transaction_id"] for row in await connection.fetch(QUERIES["enter_ledger"], *columns)}
                await _copy_rows(connection, [one for key, one in decisions.items() if key not in known])
                crash.here("inserted")
        return decisions.keys() - known

    async def _put_labels(self, labels: dict[str, Label]) -> set[str]:
        columns = [[getattr(each, name) for each in labels.values()] for name in Label.__struct_fields__]
        with translated():
            async with self._connection() as connection, connection.transaction():
                fresh = await connection.fetch(QUERIES["record_labels"], *columns)
        return {row["label_id"] for row in fresh}


async def _copy_rows(connection: asyncpg.Connection, decisions: Sequence[Decision]) -> None:
    tables: dict[str, tuple[list[tuple[object, ...]], tuple[str, ...]]] = {
        "approved_transactions": _lean([one for one in decisions if not one.flagged]),
        "fraud_transactions": _lean([one for one in decisions if one.flagged]),
        "rule_shadow_hits": ([row for one in decisions if one.shadow_hits for row in shadow_rows_of(one)], SHADOW_COLUMNS),
    }
    for table, (rows, names) in tables.items():
        if rows:
            await connection.copy_records_to_table(table, records=rows, columns=names)


def _lean(decisions: Sequence[Decision]) -> tuple[list[tuple[object, ...]], tuple[str, ...]]:
    """
    Return rows and their columns, without ``degraded`` where no decision is: writing an empty array costs the driver more than
    all other columns of a row together.
    """
    rows = [row_of(one) for one in decisions]
    if any(one.degraded for one in decisions):
        return rows, COLUMNS
    at = COLUMNS.index("degraded")
    return [row[:at] + row[at + 1 :] for row in rows], COLUMNS[:at] + COLUMNS[at + 1 :]


def _first_of_each(pairs: Iterable[tuple[str, _Item]]) -> dict[str, _Item]:
    """
    Return the first item of each id, ids in order: two recorders that meet in the ledger then wait for each other one way only.
    """
    first: dict[str, _Item] = {}
    for key, item in pairs:
        first.setdefault(key, item)
    return dict(sorted(first.items()))
