"""
The decision store on PostgreSQL: batches in, each in one transaction; a bad row condemns only itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg
import msgspec

from fraudstream.adapters.postgres_copy import COPY_COLUMNS, PackedRow, Packer, copy_of
from fraudstream.adapters.postgres_errors import UNFIT, RowsRefused, part_from, translated, why_unfit
from fraudstream.adapters.postgres_queries import QUERIES
from fraudstream.adapters.postgres_rows import SHADOW_COLUMNS, decision_of
from fraudstream.domain.decision import Decision, Label
from fraudstream.domain.errors import DecisionStoreUnavailable, InvalidSettings, UnsuitableServer
from fraudstream.fleet import crash
from fraudstream.fleet.ports import Recorded

#: Longest wait for a connection to be made or to come free, in seconds.
CONNECT_TIMEOUT_S = 5.0
#: Longest wait for one statement, in seconds; a batch takes a tenth of one.
STATEMENT_TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 5.0
_Item = TypeVar("_Item", PackedRow, Label)


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

    async def record(self, decisions: Iterable[Decision]) -> Recorded:
        """
        Store decisions; see ``DecisionStore``.
        """
        rows, unfit = _rows(decisions)
        recorded = await self._record(rows, self._put_decisions)
        flagged = sum(rows[key].flagged for key in recorded.stored)
        return msgspec.structs.replace(recorded, refused={**recorded.refused, **unfit}, flagged=flagged)

    async def record_labels(self, labels: Sequence[Label]) -> Recorded:
        """
        Store labels; see ``DecisionStore``.
        """
        first: dict[str, Label] = {}
        for each in labels:
            first.setdefault(each.label_id, each)
        return await self._record(dict(sorted(first.items())), self._put_labels)

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
                    reset=_as_it_is,
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

    async def _put_decisions(self, rows: dict[str, PackedRow]) -> set[str]:
        """
        Enter ids into the ledger and copy the rows of the new ones straight to where they belong, in one transaction.
        """
        everyone = rows.values()
        # In three texts instead of three arrays: the driver looks at every element of an array several times.
        columns = "\n".join(rows), " ".join(one.outcome for one in everyone), " ".join(str(one.decided_us) for one in everyone)
        with translated():
            async with self._connection() as connection, connection.transaction():
                entered = await connection.fetch(QUERIES["enter_ledger"], *columns, len(rows))
                known = {row["transaction_id"] for row in entered}
                await _copy_rows(connection, [one for key, one in rows.items() if key not in known] if known else everyone)
                crash.here("inserted")
        return rows.keys() - known

    async def _put_labels(self, labels: dict[str, Label]) -> set[str]:
        columns = [[getattr(each, name) for each in labels.values()] for name in Label.__struct_fields__]
        with translated():
            async with self._connection() as connection, connection.transaction():
                fresh = await connection.fetch(QUERIES["record_labels"], *columns)
        return {row["label_id"] for row in fresh}


async def _copy_rows(connection: asyncpg.Connection, rows: Iterable[PackedRow]) -> None:
    tables = {
        "approved_transactions": [one for one in rows if not one.flagged],
        "fraud_transactions": [one for one in rows if one.flagged],
    }
    for table, some in tables.items():
        if some:
            await connection.copy_to_table(table, source=copy_of(some), columns=COPY_COLUMNS, format="binary")
    if hits := [hit for one in rows for hit in one.shadow]:
        await connection.copy_records_to_table("rule_shadow_hits", records=hits, columns=SHADOW_COLUMNS)


async def _as_it_is(_connection: asyncpg.Connection) -> None:
    """
    Leave a session as it is: nothing of ours changes one, and the driver's reset is a round trip for every batch.
    """


def _rows(decisions: Iterable[Decision]) -> tuple[dict[str, PackedRow], dict[str, str]]:
    """
    Pack the first decision of each id, and say of those that cannot be packed why.

    Ids come in order: two recorders that meet in the ledger then wait for each other one way only.
    """
    packer = Packer()
    rows: dict[str, PackedRow] = {}
    unfit: dict[str, str] = {}
    for one in decisions:
        transaction_id = one.transaction.transaction_id
        if transaction_id in rows or transaction_id in unfit:
            continue
        try:
            rows[transaction_id] = packer.row(one)
        except UNFIT as exc:
            unfit[transaction_id] = why_unfit(exc)
    return dict(sorted(rows.items())), unfit
