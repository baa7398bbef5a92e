"""
A real server that forgets scripts, restarts and drops connections under a stream.
"""

from collections.abc import AsyncIterator

import pytest

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.ports import Delivery
from fraudstream.local import LocalValkey
from tests.support.streams import RedisStreams
from tests.support.wait import wait_until


@pytest.fixture
async def streams(own_valkey: LocalValkey) -> AsyncIterator[RedisStreams]:
    streams = RedisStreams(own_valkey.url)
    yield streams
    await streams.close()


async def test_scripts_that_the_server_forgot_are_loaded_again(streams: RedisStreams) -> None:
    entries = streams.add(2)
    stream = streams.consumer("a")
    await stream.open()
    await stream.read(2, 1)
    await stream.later(entries[0], 0.0)

    streams.client.script_flush()

    assert [delivery.entry_id for delivery in await stream.due(10)] == [entries[0]]
    assert await stream.later(entries[1], 0.0)
    streams.client.script_flush()
    assert streams.beat("a", entries) == [entries[1]]
    streams.client.script_flush()
    await stream.hand_back(entries)
    await stream.leave()
    assert streams.pending()[entries[0]] == ("__retry__", 2)


def idle_ms(streams: RedisStreams, entries: list[bytes]) -> list[int]:
    pending = streams.client.xpending_range(streams.stream, "fraud-check", "-", "+", len(entries))
    return [int(one["time_since_delivered"]) for one in pending]


async def test_a_beat_renews_what_has_been_in_hand_for_a_while_and_costs_nothing_for_the_rest(streams: RedisStreams) -> None:
    """
    A look and a renewal for each entry in hand took Redis nine milliseconds for 1,500, at every beat of every busy worker.
    """
    entries = streams.add(2_500)
    stream = streams.consumer("a")
    await stream.open()
    await stream.read(2_500, 1)
    await wait_until(lambda: min(idle_ms(streams, entries)) >= 200, "they have been in hand for a while")
    streams.client.config_resetstat()

    assert streams.beat("a", entries[::-1], life_s=60.0) == []
    untouched = streams.client.info("commandstats")
    assert min(idle_ms(streams, entries)) >= 200
    assert streams.beat("a", entries, life_s=0.6) == []

    assert max(idle_ms(streams, entries)) < 200
    assert "cmdstat_xclaim" not in untouched
    assert untouched["cmdstat_xpending"]["calls"] == 3
    assert [deliveries for _, deliveries in streams.pending().values()] == [1] * 2_500


async def test_a_killed_and_restarted_server_still_knows_what_was_handed_out(
    streams: RedisStreams, own_valkey: LocalValkey
) -> None:
    entries = streams.add(3)
    stream = streams.consumer("a")
    await stream.open()
    await stream.read(2, 1)

    own_valkey.kill()
    with pytest.raises(StreamUnavailable):
        await stream.read(1, 1)
    with pytest.raises(StreamUnavailable):
        await stream.later(entries[0], 0.0)
    with pytest.raises(StreamUnavailable):
        streams.beat("a", entries)
    own_valkey.start()

    async def read() -> list[Delivery]:
        try:
            return await stream.read(10, 1)
        except StreamUnavailable:
            return []

    await wait_until(read, "the last entry is read")
    assert {entry: owner for entry, (owner, _) in streams.pending().items()} == dict.fromkeys(entries, "a")
    assert [delivery.entry_id for delivery in await stream.stranded({entries[2]}, 0)] == entries[:2]


async def test_a_connection_that_is_cut_under_a_read_is_made_again(streams: RedisStreams) -> None:
    stream = streams.consumer("a")
    await stream.open()
    await stream.read(1, 1)

    streams.client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(StreamUnavailable):
        await stream.read(1, 1)

    entries = streams.add(1)
    assert [delivery.entry_id for delivery in await stream.read(1, 1)] == entries


async def test_a_server_that_refuses_for_now_is_waited_for(streams: RedisStreams) -> None:
    """
    A replica, a full memory, a failing disk: the same command succeeds later, so nothing is at fault.
    """
    stream = streams.consumer("a")
    await stream.open()
    streams.client.config_set("maxmemory", 1)

    with pytest.raises(StreamUnavailable):
        await streams.consumer("b", group="another").open()

    streams.client.config_set("maxmemory", 0)
    assert await stream.read(1, 1) == []


async def test_workers_drain_a_full_server(streams: RedisStreams) -> None:
    """
    A server over its limit refuses writes; if it refused those of workers too, it could never be drained.
    """
    entries = streams.add(3)
    stream = streams.consumer("a")
    await stream.open()
    await stream.read(3, 1)
    streams.client.config_set("maxmemory", 1)

    assert await stream.later(entries[0], 0.0)
    assert len(await stream.due(10)) == 1
    await stream.acknowledge(entries)
    assert streams.beat("a", ()) == []

    streams.client.config_set("maxmemory", 0)
    assert streams.pending() == {}


async def test_an_error_of_ours_is_not_waited_for(streams: RedisStreams) -> None:
    streams.client.set("retry:fraud-check", "not a sorted set")
    stream = streams.consumer("a")
    await stream.open()

    with pytest.raises(Exception, match="WRONGTYPE") as raised:
        await stream.due(10)

    assert not isinstance(raised.value, StreamUnavailable)
