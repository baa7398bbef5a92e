"""
The desk for alerts over several partitions: one list, one answer, one snooze.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from fraudstream.adapters.redis_alert_answers import Actor, Mark, Snooze
from fraudstream.adapters.redis_client import RedisAddress
from fraudstream.adapters.redis_every_answer import RedisEveryAnswers
from fraudstream.adapters.redis_keys import LABELS, Partitions
from fraudstream.adapters.redis_partitions import every_part
from fraudstream.domain.alert import Answer
from fraudstream.domain.errors import AlertFailed, InvalidSettings
from fraudstream.local import LocalValkey
from tests.support.alert_hall import Hall, RememberingChannel, a_flagged, a_hall
from tests.support.wait import wait_until

ME = Actor("ann", "a test")
PARTITIONS = Partitions(3)


@pytest_asyncio.fixture
async def halls(valkey: LocalValkey) -> AsyncIterator[list[Hall]]:
    async with (
        a_hall(valkey.url, keys=PARTITIONS.keys(0)) as first,
        a_hall(valkey.url, keys=PARTITIONS.keys(1)) as second,
        a_hall(valkey.url, keys=PARTITIONS.keys(2)) as third,
    ):
        yield [first, second, third]


@pytest_asyncio.fixture
async def desk(valkey: LocalValkey) -> AsyncIterator[RedisEveryAnswers]:
    async with every_part(RedisAddress(url=valkey.url), PARTITIONS) as parts:
        yield RedisEveryAnswers(parts)


async def test_groups_of_all_partitions_are_one_list_and_are_answered_where_they_are(
    halls: list[Hall], desk: RedisEveryAnswers
) -> None:
    await halls[0].flag(a_flagged(1, card="tok_00001111"))
    await halls[2].flag(a_flagged(2, card="tok_00002222"), a_flagged(3, card="tok_00002222"))

    listed = await desk.recent(10)
    alert_id = await desk.group_of("txn_3")
    assert alert_id is not None
    members = await desk.members(alert_id, 10)
    marked = await desk.answer(alert_id, Answer.FRAUD, ME, source="test", at_ms=1_768_478_400_000)
    again = await desk.answer(alert_id, Answer.FRAUD, ME, source="test", at_ms=1_768_478_400_000)
    looked_after = await desk.acknowledge(alert_id, ME)

    assert sorted(known.group.transactions for known in listed) == [1, 2]
    assert members == ["txn_2", "txn_3"]
    assert (marked.mark, marked.labels, again.mark, looked_after.mark) == (Mark.DONE, 2, Mark.SAME, Mark.DONE)
    assert [halls[0].side.xlen(keys.stream(LABELS)) for keys in PARTITIONS.all()] == [0, 0, 2]
    assert (await desk.acknowledge("al_unknown", ME)).mark is Mark.ABSENT


async def test_a_snooze_holds_in_every_partition_and_is_noted_once(halls: list[Hall], desk: RedisEveryAnswers) -> None:
    await halls[1].flag(a_flagged(1, card="tok_00001111"))
    alert_id = await desk.group_of("txn_1")
    assert alert_id is not None

    marked = await desk.snooze_alert(alert_id, 4_000_000_000_000, ME, reason="known")
    await desk.snooze(Snooze(rule_id="other_rule", until_ms=4_000_000_000_000), ME, reason="a test")
    await halls[0].flag(a_flagged(2, card="tok_00001111"))
    scopes = sorted(snooze.scope for snooze in await desk.snoozes(1_768_478_400_000))
    notes = [
        fields[b"kind"]
        for keys in PARTITIONS.all()
        for _, fields in halls[0].side.xrange(keys.stream("alerts:journal"))
        if fields[b"kind"] == b"snooze"
    ]
    woken = [await desk.wake(Snooze(rule_id="other_rule", until_ms=0)) for _ in range(2)]

    assert marked.mark is Mark.DONE
    assert len(scopes) == 2
    assert notes == [b"snooze"] * 2
    muted = await desk.get(await desk.group_of("txn_2") or "")
    assert muted is not None
    assert muted.group.muted == 1
    assert woken == [True, False]


async def test_what_could_not_be_delivered_names_its_partition(halls: list[Hall], desk: RedisEveryAnswers) -> None:
    slack = RememberingChannel("slack")
    slack.failures.append(AlertFailed("slack", "200 not_in_channel", permanent=True))
    halls[1].work(halls[1].desk(slack))
    await halls[1].flag(a_flagged(1))
    await wait_until(lambda: desk.undelivered(10), "the refused alert")

    (letter,) = await desk.undelivered(10)
    found = await desk.undelivered_one(letter.letter_id)
    done = [await desk.take_out(letter, ME, again=False, reason="a test") for _ in range(2)]

    assert letter.letter_id.endswith("@1")
    assert found == letter
    assert done == [True, False]
    with pytest.raises(InvalidSettings, match="partition"):
        await desk.undelivered_one("17-0")
