"""
The alerter's outbox in memory: the same promises as the one in Redis.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fraudstream.domain.errors import StreamUnavailable
from fraudstream.fleet.ports import Delivery


class FakeOutbox:
    """
    Notes what is settled. ``outages`` counts the next calls of ``settle`` that find the server away; ``lost`` holds the entries
    that are no longer in our hands.
    """

    def __init__(self) -> None:
        self.alerts: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.acknowledged: set[bytes] = set()
        self.undeliverable: list[dict[str, str]] = []
        self.outages = 0
        self.lost: set[bytes] = set()

    async def settled(self, transaction_ids: Sequence[str]) -> list[Mapping[str, str]]:
        return [dict(self.alerts.get(transaction_id, {})) for transaction_id in transaction_ids]

    async def settle(
        self, delivery: Delivery, transaction_id: str, channel: str, outcome: str, *, channels: int, letter: Mapping[str, str]
    ) -> bool:
        if self.outages:
            self.outages -= 1
            raise StreamUnavailable("the server is away")
        if delivery.entry_id in self.lost or delivery.entry_id in self.acknowledged:
            return True
        noted = self.alerts[transaction_id]
        if channel not in noted:
            noted[channel] = outcome
            if outcome == "undeliverable":
                self.undeliverable.append({"channel": channel, **letter})
        if len(noted) < channels:
            return False
        self.acknowledged.add(delivery.entry_id)
        return True
