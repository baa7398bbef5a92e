"""
Who did what, in the database: the audit log, and the dead letters that somebody closed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from fraudstream.adapters.postgres_connection import OneConnection
from fraudstream.adapters.postgres_errors import translated
from fraudstream.adapters.postgres_rows import COLUMNS, row_of
from fraudstream.domain.decision import Decision

_AUDIT = "INSERT INTO audit_log (actor, action, outcome, origin, resource, detail) VALUES ($1, $2, $3, $4, $5, $6)"
_LEDGER = "SELECT transaction_id, outcome, decided_at FROM transaction_ledger WHERE transaction_id = ANY($1::text[])"
_CLOSE = """
INSERT INTO dead_letters (stream, entry_id, part, transaction_id, consumer_group, owner, reason, error, attempts, fields,
                          dead_at, status, closed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now())
ON CONFLICT (stream, entry_id, part) DO UPDATE SET status = excluded.status, closed_at = excluded.closed_at
"""
_SUPERSEDE = """
INSERT INTO superseding_decisions ({columns}, actor, cause) VALUES ({places})
"""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One line of the audit log (PCI DSS 10.2.2); the database says when. ``succeeded`` tells the outcome; ``detail`` is masked.
    """

    actor: str
    action: str
    succeeded: bool
    origin: str
    resource: str
    detail: dict[str, Any]


class ClosedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """
    A dead letter that is closed, in the columns of ``dead_letters``; everything that came from outside is masked.
    """

    stream: str
    entry_id: str
    part: str
    transaction_id: str | None
    consumer_group: str
    owner: str
    reason: str
    error: str
    attempts: int
    fields: dict[str, Any]
    dead_at: datetime
    status: str


class PostgresAudit(OneConnection):
    """
    The audit log over one connection; also what is known of decided transactions.

    Every method raises ``DecisionStoreUnavailable`` when the database does not answer.
    """

    async def write(self, entry: AuditEntry, closed: ClosedLetter | None = None) -> None:
        """
        Add a line, and close a letter in the same database transaction.
        """
        outcome = "success" if entry.succeeded else "failure"
        detail = _jsonb(entry.detail)
        with translated():
            async with self._connection.transaction():
                await self._connection.execute(_AUDIT, entry.actor, entry.action, outcome, entry.origin, entry.resource, detail)
                if closed is not None:
                    await self._connection.execute(_CLOSE, *_values(closed))

    async def supersede(self, decision: Decision, *, cause: str, entry: AuditEntry) -> None:
        """
        Record a decision that was made again, beside the first one, and say so in the audit log.
        """
        places = ", ".join(f"${n}" for n in range(1, len(COLUMNS) + 3))
        sql = _SUPERSEDE.format(columns=", ".join(COLUMNS), places=places)
        row = row_of(decision)
        with translated():
            async with self._connection.transaction():
                await self._connection.execute(sql, *row, entry.actor, cause)
                await self.write(entry)

    async def decided(self, transaction_ids: Sequence[str]) -> dict[str, tuple[str, datetime]]:
        """
        Return outcome and time of decision of those that have one on record.
        """
        with translated():
            rows = await self._connection.fetch(_LEDGER, [one for one in transaction_ids if "\x00" not in one])
        return {row["transaction_id"]: (row["outcome"], row["decided_at"]) for row in rows}


def _values(closed: ClosedLetter) -> list[Any]:
    values = [getattr(closed, name) for name in closed.__struct_fields__]
    return [_jsonb(one) if isinstance(one, dict) else one for one in values]


def _jsonb(value: dict[str, Any]) -> str:
    # jsonb holds no NUL; what people read loses nothing by the replacement.
    return msgspec.json.encode(value).decode().replace("\\u0000", "\\ufffd")
