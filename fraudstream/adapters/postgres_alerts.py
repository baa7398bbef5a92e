"""
What people were told, on record: groups, messages, answers, and what became of each flagged transaction on each channel.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg
import msgspec

from fraudstream.adapters.postgres_connection import connect
from fraudstream.adapters.postgres_errors import part_from, translated
from fraudstream.adapters.redis_alert_journal import JournalLine
from fraudstream.domain.moments import moment
from fraudstream.stages.alert_ports import AlertGroup

_EVENTS = """
INSERT INTO alert_events (event_id, at, kind, alert_id, channel, outcome, action, recipient, transactions, attempts, actor,
                          detail)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::integer[], $10::integer[], $11::text[], $12::text[])
ON CONFLICT (event_id) DO NOTHING
RETURNING event_id
"""
_GROUPS = """
INSERT INTO alert_groups (alert_id, digest, family, rule_id, entity, severity, title, transactions, amounts, opened_at, last_at,
                          answer, answered_by, acknowledged_by)
SELECT alert_id, digest, family, rule_id, entity, severity, title, transactions, amounts::jsonb, opened_at, last_at, answer,
       answered_by, acknowledged_by
FROM unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::text[],
            $10::timestamptz[], $11::timestamptz[], $12::text[], $13::text[], $14::text[])
    AS new (alert_id, digest, family, rule_id, entity, severity, title, transactions, amounts, opened_at, last_at, answer,
            answered_by, acknowledged_by)
ON CONFLICT (alert_id) DO UPDATE SET
    severity = excluded.severity, title = excluded.title, transactions = excluded.transactions, amounts = excluded.amounts,
    last_at = excluded.last_at, answer = excluded.answer, answered_by = excluded.answered_by,
    acknowledged_by = excluded.acknowledged_by
WHERE alert_groups.transactions <= excluded.transactions
"""
# What was undeliverable and sent again later is delivered; what a later line says of a transaction counts.
_ALERTS = """
INSERT INTO alerts (alert_id, transaction_id, channel, outcome, severity, attempts, detail, settled_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::text[], $8::timestamptz[])
ON CONFLICT (transaction_id, channel) DO UPDATE SET
    alert_id = excluded.alert_id, outcome = excluded.outcome, severity = excluded.severity, attempts = excluded.attempts,
    detail = excluded.detail, settled_at = excluded.settled_at
"""
_SNOOZE = """
INSERT INTO rule_snoozes (rule_id, entity, entity_id, actor, reason, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_AUDIT = """
INSERT INTO audit_log (at, actor, action, outcome, origin, resource, detail) VALUES ($1, $2, $3, 'success', $4, $5, $6)
"""
#: Lines that say what a person did.
_BY_PEOPLE = ("answer", "acknowledge", "snooze", "resend", "discard")


class PostgresAlertRecords:
    """
    Writes lines of the journal, each once. The connection is opened when it is needed.

    Args:
        url: Where the database is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection | None = None

    async def write(self, lines: Sequence[JournalLine]) -> None:
        """
        Put lines on record in one database transaction; those that are on record already change nothing.

        Raises:
            DecisionStoreUnavailable: PostgreSQL did not answer; nothing may be assumed, call again.
        """
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url)
        with translated():
            async with self._connection.transaction():
                await self._write(self._connection, lines)

    async def close(self) -> None:
        """
        Close the connection.
        """
        if self._connection is not None:
            await part_from(self._connection)
            self._connection = None

    async def _write(self, connection: asyncpg.Connection, lines: Sequence[JournalLine]) -> None:
        fresh = {row["event_id"] for row in await connection.fetch(_EVENTS, *_columns(map(_event, lines), 12))}
        new = [line for line in lines if line.line_id in fresh]
        groups = {line.group.alert_id: line.group for line in new if line.group is not None}
        if groups:
            # In one order everywhere: two processes that copy at the same time must not wait for each other in a ring.
            await connection.execute(_GROUPS, *_columns((_group(groups[alert_id]) for alert_id in sorted(groups)), 14))
        rows = {(row[1], row[2]): row for line in new for row in _alerts(line)}
        if rows:
            await connection.execute(_ALERTS, *_columns((rows[key] for key in sorted(rows)), 8))
        for line in new:
            if line.words.get("kind") in _BY_PEOPLE:
                await _by_people(connection, line)


async def _by_people(connection: asyncpg.Connection, line: JournalLine) -> None:
    words = line.words
    at = moment(line.at_ms)
    kept = {name: words[name] for name in ("detail", "label", "rule_id", "reason", "until", "channel") if words.get(name)}
    detail = msgspec.json.encode(kept).decode().replace("\\u0000", "\\ufffd")
    resource = f"alerts/{words.get('alert_id') or words.get('rule_id', '')}"
    action = f"alerts.{words['kind']}"
    await connection.execute(_AUDIT, at, words.get("actor", ""), action, words.get("origin", ""), resource, detail)
    if words["kind"] == "snooze":
        entity = words.get("entity") or None
        entity_id = (words.get("entity_id") or None) if entity else None
        until = moment(int(words["until"]))
        await connection.execute(
            _SNOOZE, words["rule_id"], entity, entity_id, words.get("actor", ""), words.get("reason", ""), at, until
        )


def _event(line: JournalLine) -> tuple[Any, ...]:
    words = line.words
    return (
        line.line_id, moment(line.at_ms), words.get("kind", ""), words.get("alert_id", ""), words.get("channel", ""),
        words.get("outcome", ""), words.get("action", ""), words.get("recipient", ""),
        max(0, int(words.get("to", 0)) - int(words.get("from", 0))), int(words.get("attempts", 0)), words.get("actor", ""),
        _text(words.get("error", "") or words.get("digest", "") or words.get("detail", "")),
    )  # fmt: skip


def _group(group: AlertGroup) -> tuple[Any, ...]:
    title = group.alert.title if group.alert is not None else f"digest: {group.bearing.family}"
    return (
        group.alert_id, group.digest, group.bearing.family, group.bearing.rule_id, group.bearing.entity, group.severity.value,
        _text(title), group.transactions, msgspec.json.encode(group.values).decode(), moment(group.opened_ms),
        moment(group.last_ms), group.answer.value, group.answered_by, group.acknowledged_by,
    )  # fmt: skip


def _alerts(line: JournalLine) -> Iterator[tuple[Any, ...]]:
    """
    Yield what a line says of each transaction that it is the first to tell of.
    """
    words = line.words
    if words.get("kind") not in ("delivery", "folded", "muted"):
        return
    first = int(words.get("from", 0))
    severity = words.get("severity") or (line.group.severity.value if line.group is not None else "info")
    detail = words.get("error") or words.get("digest") or None
    for number, transaction_id in enumerate(line.transactions, first):
        outcome = "snoozed" if words["kind"] == "muted" else words.get("outcome", "delivered")
        if outcome == "delivered" and number:
            outcome = "deduplicated"
        yield (
            words["alert_id"], _text(transaction_id), words.get("channel") or "none", outcome, severity,
            int(words.get("attempts", 1)), _text(detail) if detail else None, moment(line.at_ms),
        )  # fmt: skip


def _columns(rows: Any, width: int) -> list[list[Any]]:
    """
    Turn rows into columns, also where there are none.
    """
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]


def _text(text: str) -> str:
    # The database holds no NUL.
    return text.replace("\x00", "�")
