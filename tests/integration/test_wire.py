"""
What any Redis client may write, and what becomes of it: one row, a counted duplicate, or one dead letter.
"""

import json
import time

from redis import Redis

from fraudstream.adapters.postgres_migrations import migrate
from tests.support.system import a_system, append, body, duplicates, letters, open_entries, recorded_ids, rows, wait_until_done
from tests.support.wait import wait_until_sync

GROUPS = ("fraud-group", "recorder")
SERVED = ("fraud-check", "ml-scoring", "recorder")
CARD = "4111111111111111"

#: Name of the case, the fields of the entry, the reason of its letter.
BAD = [
    ("no data field", {"payload": body(transaction_id="bad_1")}, "schema_invalid"),
    ("not UTF-8", {"data": b'{"transaction_id":"bad_2\xff","amount":1,"timestamp":1}'}, "decode_error"),
    ("broken JSON", {"data": b'{"transaction_id":"bad_3",'}, "decode_error"),
    ("missing field", {"data": b'{"transaction_id":"bad_4","timestamp":1747000000}'}, "schema_invalid"),
    ("mistyped field", {"data": body(transaction_id="bad_5", user_id=["a"])}, "schema_invalid"),
    ("negative amount", {"data": body(transaction_id="bad_6", amount=-1)}, "schema_invalid"),
    ("absurd amount", {"data": body(transaction_id="bad_7", amount=1e15)}, "schema_invalid"),
    ("unknown currency", {"data": body(transaction_id="bad_8", currency="XYZ")}, "schema_invalid"),
    ("far future", {"data": body(transaction_id="bad_9", timestamp=int(time.time()) + 86_400)}, "schema_invalid"),
    ("a megabyte", {"data": body(transaction_id="bad_10", note="x" * 1_000_000)}, "too_large"),
    ("clear card number", {"data": body(transaction_id="bad_11", card_id=CARD)}, "card_number"),
]


async def test_each_bad_entry_becomes_one_letter_and_its_neighbours_are_decided() -> None:
    with a_system(GROUPS) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        good = [body(transaction_id=f"good_{n}", card_id="card_1") for n in range(len(BAD) + 1)]
        bad_ids = {}
        for number, (name, fields, _) in enumerate(BAD):
            append(client, [good[number]])
            bad_ids[client.xadd("transactions:raw", fields).decode()] = name
        append(client, good[-1:])

        system.start_workers()
        wait_until_done(client, SERVED)

        found = letters(client)
        reasons = {bad_ids[letter["entry_id"]]: letter["reason"] for letter in found}
        assert reasons == {name: reason for name, _, reason in BAD}
        assert len(found) == len(BAD), "one letter each, whichever group read it first"
        assert all(letter["source"] == "transactions:raw" and letter["deliveries"] == "1" for letter in found)
        assert (await recorded_ids(system.postgres.url)).keys() == {f"good_{n}" for n in range(len(good))}
        kept = {bad_ids[letter["entry_id"]]: letter for letter in found}
        assert len(kept["a megabyte"]["data"]) == 65_536
        assert "first 65536 of" in kept["a megabyte"]["truncated"]
        assert CARD not in json.dumps(found)
        assert kept["clear card number"]["data"].count("[PAN *1111]") == 1
        raw = [fields[b"data"] for _, fields in client.xrange("transactions:dlq") if b"data" in fields]
        assert BAD[1][1]["data"] in raw, "bytes that are not UTF-8 are kept as they came"


async def test_the_five_field_form_becomes_a_row_and_the_same_id_again_a_duplicate() -> None:
    wire = b'{"transaction_id":"txn_a1","user_id":"user_1","amount":12.5,"merchant":"Example Shop","timestamp":1747000000}'
    with a_system(GROUPS) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()

        client.execute_command("XADD", "transactions:raw", "*", "data", wire)
        wait_until_done(client, SERVED)
        states = {key: client.get(key) for key in client.scan_iter("log:*")} | {
            key: client.get(key) for key in client.scan_iter("ring:*")
        }
        client.execute_command("XADD", "transactions:raw", "*", "data", wire)
        wait_until_done(client, SERVED)

        stored = await rows(system.postgres.url, "SELECT * FROM decisions")
        assert [(row["transaction_id"], row["amount_minor"], row["merchant"]) for row in stored] == [
            ("txn_a1", 1250, "Example Shop")
        ]
        assert states, "the payment moved something"
        assert {key: client.get(key) for key in states} == states
        wait_until_sync(lambda: duplicates(system) >= 1, "the duplicate to be counted")
        assert duplicates(system) == 1


async def test_entries_from_before_the_groups_existed_are_decided() -> None:
    with a_system(GROUPS) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        append(client, [body(transaction_id=f"early_{n}") for n in range(10)])

        system.start_workers()
        wait_until_done(client, SERVED)

        assert (await recorded_ids(system.postgres.url)).keys() == {f"early_{n}" for n in range(10)}


def _last_tick(page: str) -> float:
    return next(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("fraudstream_worker_heartbeat_timestamp_seconds ")
    )


async def test_an_idle_stream_is_no_error() -> None:
    with a_system(GROUPS) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()

        began = time.time()
        wait_until_sync(
            lambda: all(_last_tick(worker.metrics()) > began + 2.5 for worker in system.workers), "many empty reads"
        )

        logs = "".join(worker.log.read_text() for worker in system.workers)
        assert all(worker.running for worker in system.workers)
        assert [line for line in logs.splitlines() if '"level":"warning"' in line or '"level":"error"' in line] == []
        assert not any(open_entries(client, SERVED[:2]).values())


async def test_a_label_becomes_a_row_once_and_a_broken_one_a_letter() -> None:
    label = {
        "label_id": "label_1",
        "transaction_id": "txn_1",
        "label": "fraud",
        "source": "chargeback",
        "labelled_at": "2026-01-15T12:00:00Z",
    }
    with a_system(("labels",)) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        system.start_workers()

        for fields in (label, label, {**label, "label_id": "label_2", "label": "perhaps"}):
            client.xadd("transactions:labels", {"data": json.dumps(fields)})
        wait_until_done(client, ("labels",))

        stored = await rows(system.postgres.url, "SELECT label_id, transaction_id, label, source FROM labels")
        assert [tuple(row) for row in stored] == [("label_1", "txn_1", "fraud", "chargeback")]
        assert [(letter["source"], letter["reason"]) for letter in letters(client)] == [
            ("transactions:labels", "schema_invalid")
        ]
