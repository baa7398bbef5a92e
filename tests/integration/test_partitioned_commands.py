"""
The commands over several partitions: they see all of them, and what they change they change in the right one.
"""

import json
from collections.abc import Iterator

import pytest
from redis import Redis

from fraudstream.adapters.redis_keys import DLQ, RAW, Partitions
from fraudstream.local import LocalValkey
from tests.support.shell import answer, run, servers_of
from tests.support.system import body

PARTITIONS = Partitions(3)


@pytest.fixture
def redis(valkey: LocalValkey) -> Iterator["Redis[bytes]"]:
    with Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture
def given(valkey: LocalValkey, database: str) -> dict[str, str]:
    return servers_of(valkey.url, database, FRAUDSTREAM_PARTITIONS="3")


def bury(client: "Redis[bytes]", partition: int, data: bytes, *, letter_id: str) -> str:
    """
    Write a letter of a partition as the fleet would; return the id that people see.
    """
    keys = PARTITIONS.keys(partition)
    words = {
        "source": keys.stream(RAW), "entry_id": "1768478400000-0", "group": "fraud-check", "consumer": "w", "deliveries": 1,
        "reason": "schema_invalid", "error": "field 'amount' is negative", "data": data,
    }  # fmt: skip
    client.xadd(keys.stream(DLQ), words, id=letter_id)
    return f"{letter_id}@{partition}"


async def test_dead_letters_of_all_partitions_are_listed_in_order_and_go_back_where_they_came_from(
    redis: "Redis[bytes]", given: dict[str, str]
) -> None:
    first, twin, last = (
        bury(redis, partition, body(transaction_id=f"t{number}", user_id="u"), letter_id=letter_id)
        for number, (partition, letter_id) in enumerate(
            [(2, "1768478400000-0"), (0, "1768478401000-0"), (1, "1768478401000-0")]
        )
    )

    listed = [one["letter_id"] for one in (await answer(given, "dlq", "list"))["letters"]]
    replayed = await answer(given, "dlq", "replay", "--id", first, "--execute", "--yes")
    discarded = await answer(given, "dlq", "discard", "--id", last, "--reason", "made up", "--execute", "--yes")
    copy = (await answer(given, "dlq", "edit", twin, "--set", "amount=3", "--execute"))["copy"]

    assert sorted(listed) == sorted([first, twin, last])
    assert replayed["replayed"] == 1
    assert redis.xlen("transactions:raw:{p02}") == 1
    assert discarded["discarded"] == 1
    assert [redis.xlen(keys.stream(DLQ)) for keys in PARTITIONS.all()] == [2, 0, 0]
    assert copy.endswith("@0")


async def test_a_letter_without_its_partition_is_asked_for(redis: "Redis[bytes]", given: dict[str, str]) -> None:
    bury(redis, 0, body(transaction_id="t"), letter_id="1768478400000-0")

    refused = await run(given, "dlq", "show", "1768478400000-0")

    assert refused.returncode != 0
    assert b"does not say its partition" in refused.stderr


async def test_status_lag_and_pending_look_at_every_partition(redis: "Redis[bytes]", given: dict[str, str]) -> None:
    for partition, keys in enumerate(PARTITIONS.all()):
        stream = keys.stream(RAW)
        for number in range(partition + 1):
            redis.xadd(stream, {"data": json.dumps({"transaction_id": f"{partition}-{number}"})})
        redis.xgroup_create(stream, "fraud-check", "0")
        redis.xreadgroup("fraud-check", "dead", {stream: ">"}, count=1)

    lag = await answer(given, "lag", "--group", "fraud-check", "--max-entries", "1", code=1)
    pending = await answer(given, "pending", "--group", "fraud-check")
    status = await answer(given, "status", code=1)

    assert {row["stream"]: row["lag_entries"] for row in lag["groups"]} == {
        keys.stream(RAW): partition for partition, keys in enumerate(PARTITIONS.all())
    }
    assert {row["stream"] for row in pending["entries"]} == {keys.stream(RAW) for keys in PARTITIONS.all()}
    assert {finding["about"] for finding in status["findings"]} >= {f"group fraud-check {{p0{number}}}" for number in range(3)}
