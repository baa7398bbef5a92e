"""
What ``TransactionStream`` promises, held to the one in memory and to the one on a real server.
"""

from collections.abc import AsyncIterator

import pytest

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.ports import DOUBTS, TRIED_ALONE, Accused, Letter, TransactionStream
from fraudstream.local import LocalValkey
from tests.support.streams import FakeStreams, RedisStreams, Streams
from tests.support.wait import wait_until


def a_letter(entry_id: bytes, *, part: str = "") -> Letter:
    return Letter(entry_id=entry_id, reason="max_retries", error="it raised", fields={b"data": b"x"}, part=part)


async def handed_out(streams: Streams, entry: bytes, times: int) -> TransactionStream:
    """
    Hand an entry from one dead consumer to the next, and return the last.
    """
    stream = streams.consumer("life-1")
    await stream.open()
    await stream.read(1, 1)
    for number in range(2, times + 1):
        stream = streams.consumer(f"life-{number}")
        assert [delivery.entry_id for delivery in await stream.claim(1)] == [entry]
    return stream


class TransactionStreamContract:
    """
    The promises; the subclasses say which stream makes them.
    """

    async def test_opening_twice_changes_nothing_and_starts_at_the_first_entry(self, streams: Streams) -> None:
        entries = streams.add(3)
        stream = streams.consumer("a")

        await stream.open()
        first = await stream.read(2, 1)
        await stream.open()
        rest = await stream.read(10, 1)

        assert [delivery.entry_id for delivery in first + rest] == entries
        assert [delivery.fields for delivery in first] == [{b"data": b"0"}, {b"data": b"1"}]
        assert {delivery.deliveries for delivery in first + rest} == {1}

    async def test_nothing_to_read_is_an_empty_list(self, streams: Streams) -> None:
        stream = streams.consumer("a")
        await stream.open()

        assert await stream.read(10, 1) == []

    async def test_what_is_acknowledged_is_over(self, streams: Streams) -> None:
        entries = streams.add(3)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(10, 1)

        await stream.acknowledge([])
        await stream.acknowledge(entries[:2])
        await stream.acknowledge(entries[:2])

        assert streams.pending() == {entries[2]: ("a", 1)}

    async def test_two_consumers_share_a_stream(self, streams: Streams) -> None:
        entries = streams.add(4)
        one, two = streams.consumer("a"), streams.consumer("b")
        await one.open()

        read = [await one.read(2, 1), await two.read(2, 1)]

        assert [delivery.entry_id for deliveries in read for delivery in deliveries] == entries

    async def test_entries_whose_reply_was_lost_are_found_again_without_counting_a_delivery(self, streams: Streams) -> None:
        entries = streams.add(5)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(10, 1)

        found = await stream.stranded({entries[1], entries[3]}, 0)

        assert [(delivery.entry_id, delivery.deliveries) for delivery in found] == [(entries[i], 1) for i in (0, 2, 4)]
        assert found[0].fields == {b"data": b"0"}
        assert streams.pending()[entries[0]] == ("a", 1)

    async def test_entries_of_others_and_fresh_ones_are_not_stranded(self, streams: Streams) -> None:
        streams.add(2)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        await streams.consumer("b").read(1, 1)

        assert await stream.stranded((), 60_000) == []
        assert len(await stream.stranded((), 0)) == 1

    async def test_a_stranded_entry_behind_a_thousand_in_hand_is_found(self, streams: Streams) -> None:
        entries = streams.add(1_101)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(2_000, 1)

        found = await stream.stranded(entries[:-1], 0)

        assert [delivery.entry_id for delivery in found] == entries[-1:]

    async def test_a_stranded_entry_that_was_trimmed_comes_without_a_body(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        streams.trim(entry)

        (delivery,) = await stream.stranded((), 0)

        assert delivery.fields is None

    async def test_what_is_given_back_comes_due_after_its_delay_and_counts_a_delivery(self, streams: Streams) -> None:
        entries = streams.add(2)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(2, 1)

        assert await stream.later(entries[0], 0.0)
        assert await stream.later(entries[1], 30.0)
        due = await stream.due(10)

        assert [(delivery.entry_id, delivery.deliveries, delivery.fields) for delivery in due] == [
            (entries[0], 2, {b"data": b"0"})
        ]
        assert await stream.due(10) == []
        assert streams.pending()[entries[1]] == ("__retry__", 1)

    async def test_a_delay_is_waited_for(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)

        await stream.later(entry, 0.05)
        assert await stream.due(10) == []

        await wait_until(lambda: stream.due(10), "the delay is over")

    async def test_anybody_may_take_what_is_due(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        await stream.later(entry, 0.0)

        (delivery,) = await streams.consumer("b").due(10)

        assert delivery.entry_id == entry
        assert streams.pending()[entry] == ("b", 2)

    async def test_of_those_due_a_suspect_comes_alone(self, streams: Streams) -> None:
        entries = streams.add(3)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(3, 1)
        for entry in entries:
            await stream.later(entry, 0.0)
        first = await stream.due(10)
        for entry in entries:
            await stream.later(entry, 0.0)

        second = [await stream.due(10) for _ in range(4)]

        assert [len(first), *map(len, second)] == [3, 1, 1, 1, 0]

    async def test_what_is_due_is_found_behind_what_others_have_ended(self, streams: Streams) -> None:
        """
        While a group is away others step in for what it was to retry; each look at a hundred of those cost a pause.
        """
        entries = streams.add(301)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1000, 1)
        for entry in entries:
            await stream.later(entry, 0.0)
        await stream.acknowledge(entries[:-1])

        assert [delivery.entry_id for delivery in await stream.due(10)] == entries[-1:]

    async def test_what_is_due_is_taken_by_the_number_asked_for(self, streams: Streams) -> None:
        entries = streams.add(5)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(5, 1)
        for entry in entries:
            await stream.later(entry, 0.0)

        assert [len(await stream.due(2)) for _ in range(4)] == [2, 2, 1, 0]

    async def test_what_is_not_due_yet_is_not_claimed(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        await stream.later(entry, 30.0)

        assert await streams.consumer("b").claim(10) == []

    async def test_only_entries_of_a_dead_consumer_are_claimed(self, streams: Streams) -> None:
        entries = streams.add(4)
        alive, dead, heir = (streams.consumer(name) for name in ("alive", "dead", "heir"))
        await heir.open()
        await alive.read(2, 1)
        await dead.read(2, 1)
        streams.beat("alive", ())

        claimed = await heir.claim(10)

        assert [(delivery.entry_id, delivery.deliveries) for delivery in claimed] == [(entries[2], 2), (entries[3], 2)]
        assert claimed[0].fields == {b"data": b"2"}
        assert streams.pending()[entries[0]] == ("alive", 1)

    async def test_a_heartbeat_that_has_run_out_is_none(self, streams: Streams) -> None:
        streams.add(1)
        dead, heir = streams.consumer("dead"), streams.consumer("heir")
        await dead.open()
        await dead.read(1, 1)
        streams.beat("dead", (), life_s=0.02)

        await wait_until(lambda: heir.claim(10), "the heartbeat runs out")

    async def test_what_was_handed_out_lately_is_not_claimed(self, streams: Streams) -> None:
        streams.add(1)
        dead = streams.consumer("dead")
        await dead.open()
        await dead.read(1, 1)

        assert await streams.consumer("heir", claim_idle_s=60.0).claim(10) == []

    async def test_a_worker_that_hangs_with_a_beating_heart_loses_its_entries_at_the_hard_limit(self, streams: Streams) -> None:
        streams.add(1)
        hung = streams.consumer("hung")
        await hung.open()
        await hung.read(1, 1)
        streams.beat("hung", ())

        heir = streams.consumer("heir", hard_idle_s=0.02)
        await wait_until(lambda: heir.claim(10), "the hard limit is over")

    async def test_of_those_claimed_a_suspect_comes_alone(self, streams: Streams) -> None:
        streams.add(3)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(3, 1)

        first = await streams.consumer("b").claim(10)
        heir = streams.consumer("c")
        second = [await heir.claim(10) for _ in range(4)]

        assert [len(first), *map(len, second)] == [3, 1, 1, 1, 0]
        assert [delivery.deliveries for deliveries in second for delivery in deliveries] == [3, 3, 3]

    async def test_however_many_consumers_of_an_entry_died_that_alone_makes_it_no_more_than_a_suspect(
        self, streams: Streams
    ) -> None:
        (entry,) = streams.add(1)

        stream = await handed_out(streams, entry, 20)
        for _ in range(3):
            await stream.later(entry, 0.0)
            (delivery,) = await stream.due(10)

        assert delivery.deliveries == TRIED_ALONE
        assert streams.pending()[entry] == ("life-20", TRIED_ALONE)

    async def test_a_try_alone_is_counted_before_it_begins_and_stands_when_its_process_dies(self, streams: Streams) -> None:
        entry, _ = streams.add(2)
        stream = await handed_out(streams, entry, TRIED_ALONE)

        accused = await stream.accuse(entry, TRIED_ALONE + 1, proven=True, alone=True)
        again = await stream.accuse(entry, TRIED_ALONE + 1, proven=True, alone=True)
        (delivery,) = await streams.consumer("heir").claim(1)

        assert (accused, again) == (Accused.COUNTED, Accused.COUNTED)
        assert delivery.deliveries == TRIED_ALONE + 1

    async def test_an_accusation_is_taken_back(self, streams: Streams) -> None:
        entry, _ = streams.add(2)
        stream = await handed_out(streams, entry, TRIED_ALONE)

        await stream.accuse(entry, TRIED_ALONE + 1, proven=True, alone=True)
        await stream.acquit(entry, TRIED_ALONE)

        assert streams.pending()[entry] == (f"life-{TRIED_ALONE}", TRIED_ALONE)

    async def test_whoever_has_ended_nothing_tries_others_before_it_tries_one_alone(self, streams: Streams) -> None:
        # given: one entry that is tried alone, and one that nobody has read
        entry, _ = streams.add(2)
        stream = await handed_out(streams, entry, TRIED_ALONE)

        # when: it is tried beside an unread one, and beside one in hand
        unread = [await stream.accuse(entry, TRIED_ALONE + 1, proven=False, alone=True) for _ in range(2 * DOUBTS)]
        await stream.read(1, 1)
        in_hand = [await stream.accuse(entry, TRIED_ALONE + 1, proven=False, alone=True) for _ in range(2 * DOUBTS)]

        # then
        assert {*unread, *in_hand} == {Accused.OTHERS_FIRST}
        assert streams.pending()[entry] == (f"life-{TRIED_ALONE}", TRIED_ALONE)

    async def test_of_two_that_are_tried_alone_the_one_that_was_less_often_comes_first(self, streams: Streams) -> None:
        # given: two entries that are tried alone
        entries = streams.add(2)
        stream = streams.consumer("life-1")
        await stream.open()
        await stream.read(2, 1)
        await streams.consumer("life-2").claim(2)
        heir = streams.consumer("heir")
        assert [one.deliveries for _ in entries for one in await heir.claim(1)] == [TRIED_ALONE] * 2

        # when
        answers = [await heir.accuse(entries[n], TRIED_ALONE + 1, proven=False, alone=True) for n in (0, 0, 1, 1, 0, 1)]

        # then
        tried, first = Accused.NOT_COUNTED, Accused.OTHERS_FIRST
        assert answers == [tried, first, tried, tried, tried, tried]

    async def test_where_the_group_has_no_other_entry_several_tries_count_as_one(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        stream = await handed_out(streams, entry, TRIED_ALONE)

        answers = [await stream.accuse(entry, TRIED_ALONE + 1, proven=False, alone=True) for _ in range(DOUBTS)]

        assert answers == [*[Accused.NOT_COUNTED] * (DOUBTS - 1), Accused.COUNTED]
        assert streams.pending()[entry] == (f"life-{TRIED_ALONE}", TRIED_ALONE + 1)

    async def test_beside_other_work_several_tries_count_as_one_whatever_else_the_group_has(self, streams: Streams) -> None:
        entry, _ = streams.add(2)
        stream = await handed_out(streams, entry, TRIED_ALONE)

        answers = [await stream.accuse(entry, TRIED_ALONE + 1, proven=number % 2 == 0, alone=False) for number in range(DOUBTS)]

        assert answers == [*[Accused.NOT_COUNTED] * (DOUBTS - 1), Accused.COUNTED]

    async def test_tries_that_the_process_lived_through_do_not_add_up(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        stream = await handed_out(streams, entry, TRIED_ALONE)

        answers = []
        for _ in range(3 * DOUBTS):
            answers.append(await stream.accuse(entry, TRIED_ALONE + 1, proven=False, alone=True))
            await stream.acquit(entry, TRIED_ALONE)

        assert {*answers} == {Accused.NOT_COUNTED}
        assert streams.pending()[entry] == (f"life-{TRIED_ALONE}", TRIED_ALONE)

    async def test_what_is_not_ours_is_not_accused(self, streams: Streams) -> None:
        entry, ended = streams.add(2)
        zombie = await handed_out(streams, entry, 1)
        await zombie.read(1, 1)
        await zombie.acknowledge([ended])
        await streams.consumer("heir").claim(1)

        answers = [await zombie.accuse(one, 9, proven=True, alone=True) for one in (entry, ended)]
        await zombie.acquit(entry, 9)

        assert answers == [Accused.GONE, Accused.GONE]
        assert streams.pending() == {entry: ("heir", 2)}

    async def test_a_failure_counts_once_from_where_an_entry_is_tried_alone(self, streams: Streams) -> None:
        entry, _ = streams.add(2)
        stream = await handed_out(streams, entry, 1)
        counts = []

        for deliveries in range(1, 7):
            await stream.later(entry, 0.0, failed=deliveries + 1)
            (delivery,) = await stream.due(10)
            counts.append(delivery.deliveries)

        assert counts == [2, 3, 4, 5, 6, 7]

    async def test_innocents_in_front_of_a_suspect_are_claimed_without_it(self, streams: Streams) -> None:
        entries = streams.add(4)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(4, 1)
        await stream.later(entries[2], 0.0)
        await stream.due(10)

        heir = streams.consumer("heir")
        claimed = [[delivery.entry_id for delivery in await heir.claim(10)] for _ in range(3)]

        assert claimed == [entries[:2], entries[2:3], entries[3:]]

    async def test_dead_entries_behind_a_thousand_live_ones_are_reached(self, streams: Streams) -> None:
        """
        Looking always from the first pending entry on never came past the live ones: the dead ones behind waited for ever.
        """
        streams.add(1_250)
        alive, dead, heir = (streams.consumer(name) for name in ("alive", "dead", "heir"))
        await heir.open()
        await alive.read(1_200, 1)
        lost = {delivery.entry_id for delivery in await dead.read(50, 1)}
        streams.beat("alive", ())

        claimed: set[bytes] = set()
        for _ in range(20):
            claimed |= {delivery.entry_id for delivery in await heir.claim(128)}

        assert claimed == lost

    async def test_a_claimed_entry_that_was_trimmed_comes_without_a_body_and_is_over(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        dead = streams.consumer("dead")
        await dead.open()
        await dead.read(1, 1)
        streams.trim(entry)

        (delivery,) = await streams.consumer("heir").claim(10)

        assert (delivery.entry_id, delivery.fields) == (entry, None)
        assert streams.pending() == {}

    async def test_a_heart_keeps_what_is_in_hand_and_names_what_is_lost(self, streams: Streams) -> None:
        entries = streams.add(2)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(2, 1)
        await streams.consumer("b").claim(1)

        lost = streams.beat("a", entries)

        assert lost == [entries[0]]
        assert streams.pending() == {entries[0]: ("b", 2), entries[1]: ("a", 1)}

    async def test_what_is_handed_back_is_claimed_at_once(self, streams: Streams) -> None:
        entries = streams.add(3)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(3, 1)
        streams.beat("a", ())

        await stream.hand_back([])
        await stream.hand_back(entries[:2])

        assert streams.pending()[entries[0]] == ("__retry__", 1)
        claimed = await streams.consumer("b", claim_idle_s=60.0).claim(10)
        assert [delivery.entry_id for delivery in claimed] == entries[:2]

    async def test_a_letter_is_written_once_for_each_entry_and_part(self, streams: Streams) -> None:
        entries = streams.add(2)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(2, 1)

        answers = [
            await stream.bury(letter)
            for letter in (
                *(a_letter(entries[0]), a_letter(entries[0]), a_letter(entries[1])),
                *(a_letter(entries[1], part="txn_1"), a_letter(entries[1], part="txn_2"), a_letter(entries[1], part="txn_1")),
            )
        ]

        assert answers == [True, False, True, True, True, False]
        assert len(streams.letters()) == 4
        first = streams.letters()[0]
        assert (first["entry_id"], first["reason"], first["data"]) == (entries[0], b"max_retries", b"x")
        assert first["deliveries"] == b"1"
        assert set(streams.pending()) == set(entries)

    async def test_a_field_of_the_entry_cannot_pass_for_the_reason(self, streams: Streams) -> None:
        """
        A producer's own field ``reason`` stood behind ours, and whoever read the letter read the producer's.
        """
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        forged = {b"reason": b"none", b"entry_id": b"0-0", b"deliveries": b"99", b"data": b"x"}

        await stream.bury(Letter(entry_id=entry, reason="schema_invalid", error="", fields=forged))

        (letter,) = streams.letters()
        assert (letter["reason"], letter["entry_id"], letter["deliveries"]) == (b"schema_invalid", entry, b"1")

    async def test_an_entry_with_thousands_of_fields_can_be_buried(self, streams: Streams) -> None:
        """
        The script could not unpack so many: the entry was never dead-lettered, and came back for ever.
        """
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        fields = {b"field_%d" % number: b"x" for number in range(20_000)}

        assert await stream.bury(Letter(entry_id=entry, reason="schema_invalid", error="", fields=fields))
        assert len(streams.letters()) == 1

    async def test_a_tombstone_is_written_once_and_ends_its_entry(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        streams.trim(entry)

        assert [await stream.entomb(entry), await stream.entomb(entry)] == [True, False]
        assert [(letter["entry_id"], letter["reason"]) for letter in streams.letters()] == [(entry, b"trimmed")]
        assert streams.pending() == {}

    async def test_who_lost_an_entry_can_do_nothing_with_it(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        zombie = streams.consumer("zombie")
        await zombie.open()
        await zombie.read(1, 1)
        await streams.consumer("heir").claim(10)

        assert not await zombie.bury(a_letter(entry))
        assert not await zombie.later(entry, 0.0)
        await zombie.hand_back([entry])

        assert streams.letters() == []
        assert streams.pending() == {entry: ("heir", 2)}

    async def test_a_flushed_server_raises_once_and_then_works_from_the_first_entry_on(self, streams: Streams) -> None:
        streams.add(3)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(3, 1)
        streams.flush()
        entries = streams.add(2)

        with pytest.raises(StreamUnavailable):
            await stream.read(10, 1)

        assert [delivery.entry_id for delivery in await stream.read(10, 1)] == entries

    @pytest.mark.parametrize("call", ["claim", "stranded", "later", "bury"])
    async def test_every_call_makes_a_lost_group_again(self, streams: Streams, call: str) -> None:
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        streams.flush()
        arguments = {"claim": (10,), "stranded": ((), 0), "later": (entry, 0.0), "bury": (a_letter(entry),)}

        with pytest.raises(StreamUnavailable):
            await getattr(stream, call)(*arguments[call])

        assert not await getattr(stream, call)(*arguments[call])

    async def test_a_consumer_that_holds_nothing_is_forgotten(self, streams: Streams) -> None:
        entries = streams.add(2)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(2, 1)
        streams.beat("a", entries)

        await stream.acknowledge(entries[:1])
        await stream.leave()
        assert "a" in streams.consumers()
        assert streams.pending() == {entries[1]: ("a", 1)}

        await stream.acknowledge(entries[1:])
        await stream.leave()
        assert "a" not in streams.consumers()

    async def test_who_left_is_dead_to_others_at_once(self, streams: Streams) -> None:
        (entry,) = streams.add(1)
        stream = streams.consumer("a")
        await stream.open()
        await stream.read(1, 1)
        streams.beat("a", ())
        await stream.leave()

        claimed = await streams.consumer("b").claim(10)

        assert [delivery.entry_id for delivery in claimed] == [entry]


class TestFakeStream(TransactionStreamContract):
    @pytest.fixture
    def streams(self) -> Streams:
        return FakeStreams()


class TestRedisTransactionStream(TransactionStreamContract):
    @pytest.fixture
    async def streams(self, valkey: LocalValkey) -> AsyncIterator[Streams]:
        streams = RedisStreams(valkey.url)
        yield streams
        await streams.close()


class TestPartitionedStream(TransactionStreamContract):
    @pytest.fixture
    async def streams(self, valkey: LocalValkey) -> AsyncIterator[Streams]:
        streams = RedisStreams(valkey.url, tag="{p03}")
        yield streams
        await streams.close()
