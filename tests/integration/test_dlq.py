"""
``fraudstream dlq`` on real servers: what people do with dead letters, and what must never come of it.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from fraudstream.adapters.postgres_migrations import migrate
from fraudstream.local import LocalValkey
from tests.support.shell import answer, run, servers_of
from tests.support.system import a_system, append, body, duplicates, letters, recorded_ids, rows, wait_until_done
from tests.support.wait import wait_until_sync

GROUPS = ("fraud-group", "recorder")
SERVED = ("fraud-check", "ml-scoring", "recorder")
EMAIL = "jane.doe@example.com"
PHONE = "+33 6 12 34 56 78"


@pytest.fixture
def redis(valkey: LocalValkey) -> Iterator["Redis[bytes]"]:
    with Redis.from_url(valkey.url) as client:
        yield client


def bury(client: "Redis[bytes]", data: bytes, **changes: Any) -> str:
    """
    Write a letter as the fleet would, and return its id.
    """
    head = {
        "source": "transactions:raw", "entry_id": "1768478400000-0", "group": "fraud-check", "consumer": "worker:1",
        "deliveries": 1, "reason": "schema_invalid", "error": "field 'amount' is negative",
    }  # fmt: skip
    written: bytes = client.xadd("transactions:dlq", {**head, **changes, "data": data})
    return written.decode()


async def audit(url: str) -> list[tuple[str, str, str]]:
    found = await rows(url, "SELECT action, outcome, resource, actor, origin FROM audit_log ORDER BY audit_id")
    assert all(row["actor"] and row["origin"] for row in found)
    return [(row["action"], row["outcome"], row["resource"]) for row in found]


async def test_a_mistyped_entry_is_edited_replayed_and_decided_once() -> None:
    with a_system(GROUPS) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        given = servers_of(system.valkey.url, system.postgres.url)
        append(client, [body(transaction_id="typo_1", amount="12,50", email=EMAIL), body(transaction_id="good_1")])
        system.start_workers()
        wait_until_done(client, SERVED)

        (found,) = (await answer(given, "dlq", "list"))["letters"]
        original = found["letter_id"]
        refused = await answer(given, "dlq", "replay", "--id", original)
        dry = await answer(given, "dlq", "edit", original, "--set", "amount=12.50")
        length_after_dry = client.xlen("transactions:dlq")
        copy = (await answer(given, "dlq", "edit", original, "--set", "amount=12.50", "--execute"))["copy"]
        planned = await answer(given, "dlq", "replay", "--all")
        done = await answer(given, "dlq", "replay", "--id", copy, "--execute", "--yes")
        wait_until_done(client, SERVED)
        again = await answer(given, "dlq", "replay", "--id", copy, "--execute", "--yes", code=5)

        assert refused["letters"][0]["replay"] == "invalid"
        assert dry["copy"] == ""
        assert dry["problem"] == ""
        assert length_after_dry == 1, "a dry run writes nothing"
        assert {one["letter_id"]: one["replay"] for one in planned["letters"]} == {original: "corrected", copy: "decide"}
        assert done["replayed"] == 1
        assert again["replayed"] == 0
        assert (await recorded_ids(system.postgres.url)) == {"typo_1": 1, "good_1": 1}
        (row,) = await rows(system.postgres.url, "SELECT amount_minor, email FROM decisions WHERE transaction_id = 'typo_1'")
        assert row["amount_minor"] == 1250
        assert re.fullmatch(r"email_[a-z]+@example\.com", row["email"]), "the replay carries what the letter kept, as a token"
        assert [letter["reason"] for letter in letters(client)] == ["schema_invalid"], (
            "the original is kept, and nothing is new"
        )
        name = f"transactions:dlq/{copy}"
        assert await audit(system.postgres.url) == [
            ("dlq.edit", "success", f"transactions:dlq/{original}"),
            ("dlq.replay", "success", name),
        ]
        closed = await rows(system.postgres.url, "SELECT status, transaction_id, fields::text FROM dead_letters")
        assert [(row["status"], row["transaction_id"]) for row in closed] == [("replayed", "typo_1")]
        assert EMAIL not in closed[0]["fields"]


async def test_a_replay_of_a_decided_one_changes_nothing() -> None:
    with a_system(GROUPS) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        given = servers_of(system.valkey.url, system.postgres.url)
        one = body(transaction_id="twice", card_id="card_1", merchant="Example Shop", user_id="user_1")
        append(client, [one])
        system.start_workers()
        wait_until_done(client, SERVED)
        client.expire("txn:twice", 120)
        letter = bury(client, one, reason="max_retries")
        before = await rows(system.postgres.url, "SELECT * FROM decisions")
        states = {key: client.get(key) for pattern in ("log:*", "ring:*") for key in client.scan_iter(pattern)}

        planned = await answer(given, "dlq", "replay", "--id", letter)
        done = await answer(given, "dlq", "replay", "--id", letter, "--execute", "--yes")
        kept_s = client.ttl("txn:twice")
        wait_until_done(client, SERVED)

        assert [(each["replay"], each["decision"]) for each in planned["letters"]] == [("duplicate", "approve")]
        assert "counted duplicate" in planned["letters"][0]["says"]
        assert done["replayed"] == 1
        assert await rows(system.postgres.url, "SELECT * FROM decisions") == before
        assert states
        assert {key: client.get(key) for key in states} == states
        assert client.xlen("transactions:dlq") == 0
        assert kept_s > 3000, "what is replayed stays known until long after it was worked"
        wait_until_sync(lambda: duplicates(system) >= 1, "the duplicate to be counted")
        assert duplicates(system) == 1


async def test_a_decided_one_that_redis_has_forgotten_is_not_decided_again(
    redis: "Redis[bytes]", valkey: LocalValkey, database: str
) -> None:
    await rows(database, "INSERT INTO transaction_ledger VALUES ('old', 'block', now())")
    letter = bury(redis, body(transaction_id="old"), reason="max_retries")
    given = servers_of(valkey.url, database)

    done = await answer(given, "dlq", "replay", "--id", letter, "--execute", "--yes", code=5)
    unsure = await answer(servers_of(valkey.url, ""), "dlq", "replay", "--id", letter, "--execute", "--yes", code=5)

    assert [(one["replay"], one["decision"]) for one in done["letters"]] == [("expired", "block")]
    assert [one["replay"] for one in unsure["letters"]] == ["unsure"]
    assert redis.xlen("transactions:raw") == 0
    assert redis.xlen("transactions:dlq") == 1


async def test_a_fallback_decision_is_superseded_from_its_vector_and_stays() -> None:
    with a_system(("fraud-check", "recorder"), deadline_ms=50) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        given = servers_of(system.valkey.url, system.postgres.url)
        one = body(transaction_id="halved", card_id="card_1", merchant="Example Shop", user_id="user_1")
        append(client, [one])
        system.start_workers()
        wait_until_done(client, SERVED)
        letter = bury(client, one, reason="max_retries")
        before = await rows(system.postgres.url, "SELECT * FROM decisions")
        states = {key: client.get(key) for pattern in ("log:*", "ring:*", "txn:*") for key in client.scan_iter(pattern)}

        dry = await answer(given, "dlq", "replay", "--redecide", "--id", letter)
        untouched = await rows(system.postgres.url, "SELECT * FROM superseding_decisions")
        done = await answer(given, "dlq", "replay", "--redecide", "--id", letter, "--execute", "--yes")

        assert before[0]["probability"] is None, "the model was away"
        assert (dry["recorded"], untouched) == (0, [])
        assert done["recorded"] == 1
        (second,) = await rows(system.postgres.url, "SELECT * FROM superseding_decisions")
        assert 0 <= second["probability"] <= 1
        assert (second["transaction_id"], second["vector"], list(second["degraded"])) == ("halved", before[0]["vector"], [])
        assert second["cause"] == f"dead letter {letter}"
        assert await rows(system.postgres.url, "SELECT * FROM decisions") == before
        assert {key: client.get(key) for key in states} == states
        assert await audit(system.postgres.url) == [("dlq.redecide", "success", "superseding_decisions/halved")]
        shown = await answer(given, "decisions", "show", "halved")
        assert shown["execution"]["verdict"] == "same"
        assert [each["cause"] for each in shown["superseding"]] == [f"dead letter {letter}"]


async def test_rows_that_the_database_refused_are_stored_by_a_replay_and_leave_a_letter_if_refused_again() -> None:
    """
    A refusal within the hour of the first one found the mark of the first letter, and left none: the decision was lost.
    """
    with a_system(GROUPS) as system, Redis.from_url(system.valkey.url) as client:
        await migrate(system.postgres.url)
        given = servers_of(system.valkey.url, system.postgres.url)
        forbid = "ALTER TABLE approved_transactions ADD CONSTRAINT forbidden CHECK (transaction_id <> 'refused_1')"
        await rows(system.postgres.url, forbid)
        append(client, [body(transaction_id="refused_1"), body(transaction_id="taken_1")])
        system.start_workers()
        wait_until_done(client, SERVED)
        (first,) = (await answer(given, "dlq", "list"))["letters"]

        await answer(given, "dlq", "replay", "--reason", "sink_rejected", "--execute", "--yes")
        wait_until_done(client, SERVED)
        (second,) = (await answer(given, "dlq", "list"))["letters"]
        await rows(system.postgres.url, "ALTER TABLE approved_transactions DROP CONSTRAINT forbidden")
        planned = await answer(given, "dlq", "replay", "--source", "transactions:decisions")
        await answer(given, "dlq", "replay", "--source", "transactions:decisions", "--execute", "--yes")
        wait_until_done(client, SERVED)

        assert first["letter_id"] != second["letter_id"]
        assert [one["replay"] for one in planned["letters"]] == ["store"]
        assert await recorded_ids(system.postgres.url) == {"refused_1": 1, "taken_1": 1}
        assert client.xlen("transactions:dlq") == 0


@pytest.mark.parametrize(
    ("data", "changes", "fate"),
    [
        (body(transaction_id="a", card_id="[PAN *1111]"), {"reason": "card_number"}, "masked"),
        (b'{"transaction_id":"a","amount":1', {"reason": "decode_error"}, "invalid"),
        (body(transaction_id="a"), {"left_out": "3 more fields"}, "incomplete"),
        (body(transaction_id="a"), {"truncated": "data: first 65536 of 70000 bytes"}, "incomplete"),
        (body(transaction_id="a"), {"source": "transactions:fraud"}, "invalid"),
        (body(transaction_id="a", timestamp=4_000_000_000), {}, "invalid"),
    ],
    ids=["masked", "no JSON", "left out", "truncated", "another stream", "far future"],  # the bodies hold the time
)
async def test_what_would_not_get_far_is_not_replayed(
    data: bytes, changes: dict[str, str], fate: str, redis: "Redis[bytes]", valkey: LocalValkey
) -> None:
    letter = bury(redis, data, **changes)

    done = await answer(servers_of(valkey.url, ""), "dlq", "replay", "--all", "--execute", "--yes", code=5)

    assert [(one["letter_id"], one["replay"]) for one in done["letters"]] == [(letter, fate)]
    assert redis.xlen("transactions:dlq") == 1
    assert redis.xlen("transactions:raw") == 0


async def test_what_was_given_up_leaves_another_letter_when_its_replay_fails_again(
    redis: "Redis[bytes]", valkey: LocalValkey, database: str
) -> None:
    letter = bury(redis, body(transaction_id="again"), reason="max_retries")
    redis.set("dead:transactions:raw:again", b"fraud-check", ex=3600)

    done = await answer(servers_of(valkey.url, database), "dlq", "replay", "--id", letter, "--execute", "--yes")

    assert done["replayed"] == 1
    assert not redis.exists("dead:transactions:raw:again"), "no letter of this transaction stands any more"


async def test_some_replayed_and_some_not_is_partly_done(redis: "Redis[bytes]", valkey: LocalValkey) -> None:
    good = bury(redis, body(transaction_id="fine"), reason="decode_error")
    bury(redis, b"{", reason="decode_error")

    done = await answer(servers_of(valkey.url, ""), "dlq", "replay", "--reason", "decode_error", "--execute", "--yes", code=5)

    assert (done["selected"], done["replayed"]) == (2, 1)
    assert [one["letter_id"] for one in done["letters"] if one["entry_id"]] == [good]
    (entry,) = redis.xrange("transactions:raw")
    assert json.loads(entry[1][b"data"])["transaction_id"] == "fine"


async def test_bytes_that_are_no_json_are_corrected_by_a_whole_body(redis: "Redis[bytes]", valkey: LocalValkey) -> None:
    letter = bury(redis, b'{"transaction_id":"bin_1\xff', reason="decode_error", trace="abc")
    given = servers_of(valkey.url, "")
    whole = body(transaction_id="bin_1", amount=0.1)

    field = await answer(given, "dlq", "edit", letter, "--set", "amount=1", "--execute", code=1)
    copy = await answer(given, "dlq", "edit", letter, "--body", "-", "--execute", stdin=whole + b"\n")
    await answer(given, "dlq", "replay", "--id", copy["copy"], "--execute", "--yes")

    assert "--body" in field["problem"]
    (entry,) = redis.xrange("transactions:raw")
    assert entry[1] == {b"data": whole, b"trace": b"abc"}


async def test_a_correction_keeps_every_digit_of_what_it_does_not_touch(redis: "Redis[bytes]", valkey: LocalValkey) -> None:
    data = (
        b'{"transaction_id":"d_1","amount":-1,"timestamp":1747000000005,"balance_before":1234567.12345678901234567,"x":{"y":1}}'
    )
    letter = bury(redis, data)
    given = servers_of(valkey.url, "")

    copy = await answer(
        given, "dlq", "edit", letter, "--set", "amount=1.10", "--set", "x.y=two", "--unset", "none", "--execute"
    )

    stored = dict(redis.xrange("transactions:dlq", copy["copy"], copy["copy"])[0][1])
    changed = data.replace(b'"amount":-1', b'"amount":1.10').replace(b'"y":1', b'"y":"two"')
    assert stored[b"data"] == changed
    assert stored[b"edited_from"] == letter.encode()


async def test_nobody_corrects_a_card_number_into_a_letter(redis: "Redis[bytes]", valkey: LocalValkey) -> None:
    letter = bury(redis, body(transaction_id="c_1", amount=-1))

    done = await answer(
        servers_of(valkey.url, ""), "dlq", "edit", letter, "--set", "amount=1", "--set", "card_id=4111111111111111",
        "--execute", code=1,
    )  # fmt: skip

    assert "card number" in done["problem"]
    assert redis.xlen("transactions:dlq") == 1


async def test_no_answer_shows_personal_data_unless_asked_and_that_is_audited(
    redis: "Redis[bytes]", valkey: LocalValkey, database: str, tmp_path: Path
) -> None:
    secret = body(transaction_id="p_1", amount=-1, email=EMAIL, note=f"call {PHONE}", metadata={"deep": [EMAIL]})
    letter = bury(redis, secret, error=f"not this: {EMAIL}", reply_to=EMAIL)
    broken = bury(redis, secret[:-2], reason="decode_error")
    given = servers_of(valkey.url, database)
    file = tmp_path / "letters.ndjson"

    outputs = [
        (await run(given, *words)).stdout
        for words in (
            ["dlq", "list"], ["dlq", "list", "--json"], ["dlq", "show", letter], ["dlq", "show", broken, "--json"],
            ["dlq", "replay", "--all"], ["dlq", "edit", letter, "--set", "amount=1"], ["dlq", "export", "-"],
            ["dlq", "stats", "--by", "producer"],
        )
    ]  # fmt: skip
    await run(given, "dlq", "export", str(file), "--mask")
    audited_before = await audit(database)
    seen = await answer(given, "dlq", "show", letter, "--unmask")

    for output in [*outputs, file.read_bytes()]:
        assert output
        assert EMAIL.encode() not in output
        assert b"12 34 56" not in output
    assert len(file.read_text().splitlines()) == 2
    assert file.stat().st_mode & 0o077 == 0
    assert seen["fields"]["data"].encode() == secret
    assert audited_before == []
    assert await audit(database) == [("dlq.show", "success", f"transactions:dlq/{letter}")]


async def test_an_unmasked_look_without_a_database_says_that_it_is_not_audited(
    redis: "Redis[bytes]", valkey: LocalValkey
) -> None:
    letter = bury(redis, body(transaction_id="p_1"))

    done = await run(servers_of(valkey.url, ""), "dlq", "show", letter, "--unmask")

    assert b"not audited" in done.stderr


async def test_nothing_is_changed_that_the_named_database_cannot_audit(redis: "Redis[bytes]", valkey: LocalValkey) -> None:
    letter = bury(redis, body(transaction_id="p_1"))
    given = servers_of(valkey.url, "postgresql://nobody@127.0.0.1:1/none")

    codes = [
        (await run(given, *words)).returncode
        for words in (
            ["dlq", "replay", "--id", letter, "--execute", "--yes"],
            ["dlq", "discard", "--id", letter, "--reason", "x", "--execute", "--yes"],
            ["dlq", "show", letter, "--unmask"],
        )
    ]

    assert codes == [4, 4, 4]
    assert redis.xlen("transactions:dlq") == 1


async def test_letters_are_discarded_only_when_meant(redis: "Redis[bytes]", valkey: LocalValkey, database: str) -> None:
    first, second = bury(redis, body(transaction_id="x_1")), bury(redis, b"{", reason="decode_error")
    given = servers_of(valkey.url, database)
    words = ["dlq", "discard", "--only", "decode_error", "--reason", "test traffic"]

    dry = await answer(given, *words)
    unconfirmed = await run(given, *words, "--execute")
    unselected = await run(given, "dlq", "discard", "--reason", "all of it", "--execute", "--yes")
    untouched = redis.xlen("transactions:dlq")
    done = await answer(given, *words, "--execute", "--yes")
    missing = await answer(given, "dlq", "discard", "--id", second, "--reason", "again", "--execute", "--yes", code=5)

    assert (dry["executed"], dry["discarded"], len(dry["letters"])) == (False, 0, 1)
    assert (unconfirmed.returncode, unselected.returncode) == (6, 6)
    assert b"--yes" in unconfirmed.stderr
    assert untouched == 2
    assert done["discarded"] == 1
    assert missing["missing"] == [second]
    assert [entry_id.decode() for entry_id, _ in redis.xrange("transactions:dlq")] == [first]
    assert await audit(database) == [("dlq.discard", "success", f"transactions:dlq/{second}")]
    (row,) = await rows(database, "SELECT status, reason, detail->>'why' AS why FROM dead_letters, audit_log")
    assert tuple(row) == ("discarded", "decode_error", "test traffic")


async def test_letters_are_counted_by_reason_and_by_hour(redis: "Redis[bytes]", valkey: LocalValkey) -> None:
    for n in range(3):
        bury(redis, body(transaction_id=f"s_{n}"), producer="shop-7")
    bury(redis, b"{", reason="decode_error")
    given = servers_of(valkey.url, "")

    by = {name: (await answer(given, "dlq", "stats", "--by", name))["counts"] for name in ("reason", "producer", "hour")}
    recent = await answer(given, "dlq", "stats", "--since", "1h")
    future = await answer(given, "dlq", "stats", "--since", "2100-01-01")

    assert by["reason"] == {"schema_invalid": 3, "decode_error": 1}
    assert by["producer"] == {"shop-7": 3, "not named": 1}
    assert sum(by["hour"].values()) == 4
    assert next(iter(by["hour"]))[:2] == time.strftime("%Y", time.gmtime())[:2]
    assert (recent["letters"], future["letters"]) == (4, 0)


async def test_more_letters_than_a_page_are_all_seen_once(redis: "Redis[bytes]", valkey: LocalValkey) -> None:
    ids = [bury(redis, body(transaction_id=f"m_{n}")) for n in range(250)]
    given = servers_of(valkey.url, "")

    export = (await run(given, "dlq", "export", "-")).stdout.decode().splitlines()
    newest = await answer(given, "dlq", "list", "-n", "3")
    done = await answer(given, "dlq", "replay", "--all", "--limit", "230", "--rate", "100000", "--execute", "--yes")

    assert [json.loads(line)["letter_id"] for line in export] == ids
    assert [one["letter_id"] for one in newest["letters"]] == ids[:-4:-1]
    assert done["replayed"] == 230
    assert [entry_id.decode() for entry_id, _ in redis.xrange("transactions:dlq")] == ids[230:]


@pytest.mark.parametrize("words", [["show", "12"], ["list", "--since", "soon"], ["replay", "--id", "x"], ["edit", "1-0"]])
async def test_words_that_make_no_sense_are_refused_as_usage(words: list[str], valkey: LocalValkey) -> None:
    done = await run(servers_of(valkey.url, ""), "dlq", *words)

    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


async def test_a_redis_that_is_away_is_said_so() -> None:
    done = await run(servers_of("redis://127.0.0.1:1/0", ""), "dlq", "stats")

    assert done.returncode == 4
    assert b"127.0.0.1" in done.stderr
