"""
What ``AlertOutbox`` promises, held to the one in memory and to the one on a real server.
"""

from collections.abc import AsyncIterator, Callable

import pytest

from fraudstream.adapters.redis_keys import FRAUD, UNDELIVERABLE, Keys
from fraudstream.adapters.redis_outbox import RedisAlertOutbox
from fraudstream.fleet.ports import AlertOutbox, Delivery
from fraudstream.local import LocalValkey
from tests.support.fake_outbox import FakeOutbox
from tests.support.streams import RedisStreams


class Outboxes:
    """
    An outbox, an entry in its hands, and what a test looks at from the side.
    """

    def __init__(
        self,
        outbox: AlertOutbox,
        entry_id: bytes,
        *,
        acknowledged: Callable[[], bool],
        undeliverable: Callable[[], list[dict[str, str]]],
        lose: Callable[[], object],
    ) -> None:
        self.outbox = outbox
        self.acknowledged = acknowledged
        self.undeliverable = undeliverable
        self.lose = lose
        self._delivery = Delivery(entry_id=entry_id, fields={})

    async def settle(self, channel: str, outcome: str = "delivered", *, channels: int = 2) -> bool:
        letter = {"reason": "refused"} if outcome == "undeliverable" else {}
        return await self.outbox.settle(self._delivery, "txn_1", channel, outcome, channels=channels, letter=letter)


class AlertOutboxContract:
    """
    The promises; the subclasses say which outbox makes them.
    """

    async def test_an_entry_is_over_when_every_channel_is_settled(self, outboxes: Outboxes) -> None:
        assert not await outboxes.settle("slack")
        assert not outboxes.acknowledged()

        assert await outboxes.settle("email", "digested")
        assert outboxes.acknowledged()

    async def test_what_is_settled_can_be_read(self, outboxes: Outboxes) -> None:
        await outboxes.settle("slack")

        assert await outboxes.outbox.settled(["txn_1", "txn_2"]) == [{"slack": "delivered"}, {}]
        assert await outboxes.outbox.settled([]) == []

    async def test_settling_twice_changes_nothing(self, outboxes: Outboxes) -> None:
        await outboxes.settle("slack", "delivered")
        await outboxes.settle("slack", "undeliverable")

        assert await outboxes.outbox.settled(["txn_1"]) == [{"slack": "delivered"}]
        assert outboxes.undeliverable() == []
        assert not outboxes.acknowledged()

    async def test_an_undeliverable_alert_leaves_one_letter(self, outboxes: Outboxes) -> None:
        await outboxes.settle("slack", "undeliverable")
        await outboxes.settle("slack", "undeliverable")

        assert [(letter["channel"], letter["reason"]) for letter in outboxes.undeliverable()] == [("slack", "refused")]

    async def test_who_lost_the_entry_settles_nothing_and_is_told_to_stop(self, outboxes: Outboxes) -> None:
        outboxes.lose()

        assert await outboxes.settle("slack")
        assert await outboxes.outbox.settled(["txn_1"]) == [{}]


class TestFakeOutbox(AlertOutboxContract):
    @pytest.fixture
    def outboxes(self) -> Outboxes:
        outbox = FakeOutbox()
        return Outboxes(
            outbox,
            b"1-0",
            acknowledged=lambda: b"1-0" in outbox.acknowledged,
            undeliverable=lambda: outbox.undeliverable,
            lose=lambda: outbox.lost.add(b"1-0"),
        )


class TestRedisAlertOutbox(AlertOutboxContract):
    @pytest.fixture
    async def outboxes(self, valkey: LocalValkey) -> AsyncIterator[Outboxes]:
        streams = RedisStreams(valkey.url)
        client = streams.client
        (entry_id,) = [client.xadd(FRAUD, {"transaction_id": "txn_1"})]
        client.xgroup_create(FRAUD, "alerter", "0")
        client.xreadgroup("alerter", "me", {FRAUD: ">"})
        commands = streams.address.commands(2)
        yield Outboxes(
            RedisAlertOutbox(commands, stream=FRAUD, group="alerter", consumer="me", keys=Keys(), ttl_s=60),
            entry_id,
            acknowledged=lambda: client.xpending(FRAUD, "alerter")["pending"] == 0,
            undeliverable=lambda: [
                {name.decode(): value.decode() for name, value in fields.items()} for _, fields in client.xrange(UNDELIVERABLE)
            ],
            lose=lambda: client.xclaim(FRAUD, "alerter", "heir", 0, [entry_id]),
        )
        await commands.aclose()
        await commands.connection_pool.disconnect()
        await streams.close()

    async def test_what_is_settled_is_forgotten_in_time(self, outboxes: Outboxes, valkey: LocalValkey) -> None:
        await outboxes.settle("slack", channels=1)

        streams = RedisStreams(valkey.url)
        assert 0 < streams.client.ttl("alert:txn_1") <= 60
        await streams.close()
