"""
What people were told, on its way from the journal into the database.
"""

import asyncpg
import pytest

from fraudstream.adapters.postgres_alerts import PostgresAlertRecords
from fraudstream.adapters.redis_alert_answers import Actor, Snooze
from fraudstream.adapters.redis_alert_journal import RedisAlertJournal
from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_keys import Keys
from fraudstream.app.alerting import copy_once
from fraudstream.domain.decision import Outcome
from fraudstream.domain.errors import AlertFailed, DecisionStoreUnavailable
from fraudstream.local import LocalValkey
from tests.support.alert_hall import Hall, RememberingChannel, a_flagged, a_hall


async def _told(hall: Hall) -> None:
    """
    Tell of a group of three, of which the last came later, and have one refused.
    """
    slack = RememberingChannel("slack")
    hall.work(hall.desk(slack))
    await hall.flag(a_flagged(1, card="tok_1"), a_flagged(2, card="tok_1"))
    await hall.idle("slack")
    await hall.flag(a_flagged(3, card="tok_1"))
    await hall.idle("slack")
    slack.failures.append(AlertFailed("slack", "200 not_in_channel", permanent=True))
    await hall.flag(a_flagged(4, outcome=Outcome.REVIEW))
    await hall.idle("slack")
    await hall.answers.snooze(Snooze(rule_id="many_cards", until_ms=2_000_000_000_000), Actor("ann", "host"), reason="test")
    await hall.flag(a_flagged(5))


async def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_every_flagged_transaction_is_on_record_with_its_group_and_what_became_of_it(
    valkey: LocalValkey, database: str
) -> None:
    async with a_hall(valkey.url) as hall:
        await _told(hall)
        group = hall.group_of("txn_1")["id"]
        client = RedisAddress(url=valkey.url).commands(2)
        journal, records = RedisAlertJournal(client, Keys()), PostgresAlertRecords(database)
        lines = await journal.read(100)
        await records.write(lines)

        await records.write(lines)  # the answer to the first one was lost
        copied = await copy_once(journal, records)
        await records.close()
        await client.aclose()
        await client.connection_pool.disconnect()

        assert copied == len(lines)
        assert hall.side.xlen("alerts:journal") == 0

    alerts = await _rows(database, "SELECT transaction_id, channel, outcome, alert_id FROM alerts ORDER BY 1")
    assert [row[:3] for row in alerts] == [
        ("txn_1", "slack", "delivered"),
        ("txn_2", "slack", "deduplicated"),
        ("txn_3", "slack", "deduplicated"),
        ("txn_4", "slack", "undeliverable"),
        ("txn_5", "none", "snoozed"),
    ]
    assert {row[3] for row in alerts[:3]} == {group}
    events = await _rows(database, "SELECT kind, action, outcome, recipient, transactions FROM alert_events ORDER BY event_id")
    assert events == [
        ("delivery", "posted", "delivered", "slack for critical", 2),
        ("delivery", "updated", "delivered", "slack for critical", 1),
        ("delivery", "posted", "undeliverable", "", 1),
        ("snooze", "", "", "", 0),
        ("muted", "", "", "", 1),
    ]
    groups = await _rows(database, "SELECT transactions, severity, amounts::text FROM alert_groups ORDER BY opened_at")
    assert groups == [(3, "critical", '{"USD": 3750}'), (1, "warning", '{"USD": 1250}'), (1, "critical", '{"USD": 1250}')]
    assert len(await _rows(database, "SELECT 1 FROM rule_snoozes")) == 1
    assert await _rows(database, "SELECT actor, action, resource FROM audit_log") == [
        ("ann", "alerts.snooze", "alerts/many_cards")
    ]


async def test_while_the_database_is_away_the_journal_keeps_everything(valkey: LocalValkey) -> None:
    async with a_hall(valkey.url) as hall:
        await hall.flag(a_flagged(1))
        await hall.answers.acknowledge(hall.group_of("txn_1")["id"], Actor("ann", "host"))
        client = RedisAddress(url=valkey.url).commands(2)

        with pytest.raises(DecisionStoreUnavailable):
            await copy_once(RedisAlertJournal(client, Keys()), PostgresAlertRecords("postgresql://127.0.0.1:1/nowhere"))
        await client.aclose()
        await client.connection_pool.disconnect()

        assert hall.side.xlen("alerts:journal") == 1
