"""
Questions to the decisions on record: by entity, time, outcome, rule, score and amount, in an order that stays.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from fraudstream.adapters.postgres_connection import OneConnection
from fraudstream.adapters.postgres_errors import translated
from fraudstream.adapters.postgres_rows import COLUMNS, decision_of
from fraudstream.domain.currency import EXPONENTS
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.transaction import ENTITY_FIELDS

#: Rows of one trip to the server while an export runs.
_PREFETCH = 2000
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM decisions"  # noqa: S608 names of our own
_LABELS = "SELECT label, source, labelled_at FROM labels WHERE transaction_id = $1 ORDER BY labelled_at, label_id"
_ALERTS = "SELECT channel, outcome, settled_at FROM alerts WHERE transaction_id = $1 ORDER BY channel"
_SUPERSEDING = """
SELECT superseded_at, outcome, score, rule_set, model, actor, cause FROM superseding_decisions
WHERE transaction_id = $1 ORDER BY superseded_at, superseding_id
"""
#: What an amount in major units is multiplied by, in SQL.
_SCALE = "CASE " + " ".join(
    f"WHEN currency IN ({', '.join(repr(code) for code, one in EXPONENTS.items() if one == digits)}) THEN {10**digits}"
    for digits in (0, 3, 4)
) + " ELSE 100 END"  # fmt: skip


class Criteria(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a decision must be; an empty field asks nothing.

    ``entities`` are ids by kind (card, user, device, merchant, ip). Times are those of the decision, or with ``occurred`` the
    payment's own; the end is not included. ``rule`` is the id of a rule that fired. Amounts are in major units of whatever
    currency.
    """

    entities: tuple[tuple[str, str], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    occurred: bool = False
    outcomes: tuple[Outcome, ...] = ()
    rule: str = ""
    score_from: float | None = None
    score_to: float | None = None
    amount_from: float | None = None
    amount_to: float | None = None
    currency: str = ""
    degraded: bool = False


class DecisionSearch(OneConnection):
    """
    Reads of the decisions on record, over one connection; nothing is changed.

    Every method raises ``DecisionStoreUnavailable`` when the database does not answer.
    """

    #: A long read has no time limit of ours.
    statement_timeout_s = None

    async def search(self, criteria: Criteria, *, limit: int | None) -> AsyncIterator[Decision]:
        """
        Yield decisions, the newest first, those of one instant by id; read through a cursor on one snapshot.

        Shadow hits are left out: they stand in a table of their own.
        """
        where, values = _where(criteria)
        sql = f'{_SELECT}{where} ORDER BY decided_at DESC, transaction_id COLLATE "C"'
        if limit is not None:
            sql += f" LIMIT {int(limit)}"
        with translated():
            async with self._connection.transaction(isolation="repeatable_read", readonly=True):
                async for row in self._connection.cursor(sql, *values, prefetch=_PREFETCH):
                    yield decision_of(row)

    async def sample(self, count: int) -> list[str]:
        """
        Return the ids of so many decisions, by chance.
        """
        with translated():
            rows = await self._connection.fetch(
                "SELECT transaction_id FROM transaction_ledger ORDER BY random() LIMIT $1", count
            )
        return [row["transaction_id"] for row in rows]

    async def whole(self, transaction_ids: Sequence[str]) -> dict[str, Decision]:
        """
        Return the decisions of these transactions by id, with what rules in shadow would have done.
        """
        ids = [one for one in transaction_ids if "\x00" not in one]
        with translated():
            rows = await self._connection.fetch(
                f"{_SELECT} WHERE transaction_id = ANY($1::text[]) AND decided_at = ANY"  # noqa: S608 names of our own
                "(ARRAY(SELECT decided_at FROM transaction_ledger WHERE transaction_id = ANY($1::text[])))", ids
            )  # fmt: skip
            shadows = await self._connection.fetch(
                "SELECT transaction_id, hit FROM rule_shadow_hits WHERE transaction_id = ANY($1::text[])", ids
            )
        hits: dict[str, list[str]] = {}
        for row in shadows:
            hits.setdefault(row["transaction_id"], []).append(row["hit"])
        return {row["transaction_id"]: decision_of(row, tuple(hits.get(row["transaction_id"], ()))) for row in rows}

    async def aftermath(self, transaction_id: str) -> dict[str, list[dict[str, Any]]]:
        """
        Return what came after a decision: labels, alerts, superseding decisions.
        """
        with translated():
            return {
                "labels": [dict(row) for row in await self._connection.fetch(_LABELS, transaction_id)],
                "alerts": [dict(row) for row in await self._connection.fetch(_ALERTS, transaction_id)],
                "superseding": [dict(row) for row in await self._connection.fetch(_SUPERSEDING, transaction_id)],
            }


def _where(criteria: Criteria) -> tuple[str, list[object]]:
    """
    Return the condition with its values, numbered.
    """
    conditions: list[str] = []
    values: list[object] = []

    def ask(condition: str, value: object) -> None:
        values.append(value)
        conditions.append(condition.format(f"${len(values)}"))

    at = "occurred_at" if criteria.occurred else "decided_at"
    for kind, entity in criteria.entities:
        ask(f"{ENTITY_FIELDS[kind]} = {{}}::text", entity)
    for condition, value in (
        (f"{at} >= {{}}::timestamptz", criteria.since),
        (f"{at} < {{}}::timestamptz", criteria.until),
        ("outcome = ANY({}::text[])", [one.value for one in criteria.outcomes] or None),
        ("rule_hits @> {}::jsonb", msgspec.json.encode([{"rule_id": criteria.rule}]).decode() if criteria.rule else None),
        ("score >= {}::float8", criteria.score_from),
        ("score <= {}::float8", criteria.score_to),
        (f"amount_minor >= {{}}::float8 * {_SCALE}", criteria.amount_from),
        (f"amount_minor <= {{}}::float8 * {_SCALE}", criteria.amount_to),
        ("currency = {}::text", criteria.currency or None),
    ):
        if value is not None:
            ask(condition, value)
    if criteria.degraded:
        conditions.append("cardinality(degraded) > 0")
    return (" WHERE " + " AND ".join(conditions) if conditions else ""), values
