"""
Workers of both verdict groups over one stream of real bodies, in memory and on a real server.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from fraudstream.decision.policy import DecisionPolicy
from fraudstream.domain.decision import Decision
from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.fleet.ports import Delivery, TransactionStream
from fraudstream.stages.abreast import Abreast
from fraudstream.stages.following import Following
from fraudstream.stages.neighbours import Follower, Neighbours
from fraudstream.stages.news import News
from fraudstream.stages.ports import EntityStore, VerdictLedger
from fraudstream.stages.verdict import VerdictRoad
from tests.support.builders import NOW_MS
from tests.support.fake_stream import FakeStream, MemoryStreams, Pending
from tests.support.fake_verdicts import (
    FakeEntityStore,
    FakeLedger,
    FixedClock,
    MemoryTransactions,
    RememberingVerdictReport,
    ScriptedJudge,
)
from tests.support.verdicts import MODEL, RULES, SMALL, VerdictRig
from tests.support.wire import a_body


def a_payment(identity: str = "txn_1", **changes: Any) -> bytes:
    """
    Return the body of a payment of 12.50 with card, user and merchant.
    """
    at_s = NOW_MS // 1000 - 60
    values = {"transaction_id": identity, "card_id": "card_1", "user_id": "user_1", "merchant": "Shop", "timestamp": at_s}
    return a_body(**{**values, **changes})


class World(Protocol):
    """
    What both kinds of road run on.
    """

    def add(self, bodies: Sequence[bytes]) -> list[bytes]: ...

    def parts(
        self, group: str, consumer: str, features: FeatureSet
    ) -> tuple[TransactionStream, EntityStore, VerdictLedger]: ...

    def decisions(self) -> list[Decision]: ...

    def letters(self) -> list[dict[str, bytes]]: ...

    def pending(self, group: str) -> set[bytes]: ...

    def forget(self, identity: str) -> None: ...

    def hand_over(self, group: str, entry_id: bytes, consumer: str) -> None: ...

    async def close(self) -> None: ...


class MemoryWorld:
    """
    ``World`` without a server.
    """

    def __init__(self) -> None:
        self.streams = MemoryStreams()
        self.shared = MemoryTransactions(SMALL)

    def add(self, bodies: Sequence[bytes]) -> list[bytes]:
        return [self.streams.add({b"data": body}) for body in bodies]

    def parts(self, group: str, consumer: str, features: FeatureSet) -> tuple[TransactionStream, EntityStore, VerdictLedger]:
        return (
            FakeStream(self.streams, group=group, consumer=consumer),
            FakeEntityStore(self.shared, self.streams, group),
            FakeLedger(self.shared, self.streams, group, consumer),
        )

    def decisions(self) -> list[Decision]:
        return self.shared.decisions

    def letters(self) -> list[dict[str, bytes]]:
        return [
            {
                **{name.decode(): value for name, value in one.fields.items()},
                "entry_id": one.entry_id,
                "reason": one.reason.encode(),
            }
            for one in self.streams.letters
        ]

    def pending(self, group: str) -> set[bytes]:
        return set(self.streams.pending(group))

    def forget(self, identity: str) -> None:
        del self.shared.standing[identity]

    def hand_over(self, group: str, entry_id: bytes, consumer: str) -> None:
        self.streams.groups[group].pending[int(entry_id.partition(b"-")[0])] = Pending(consumer, 2, 0.0)

    async def close(self) -> None:
        return


class RedisWorld:
    """
    ``World`` on a real server.
    """

    def __init__(self, url: str) -> None:
        self.rig = VerdictRig(url)

    def add(self, bodies: Sequence[bytes]) -> list[bytes]:
        client = self.rig.streams.client
        pipeline = client.pipeline(transaction=False)
        for body in bodies:
            pipeline.xadd(self.rig.streams.stream, {"data": body})
        entry_ids: list[bytes] = pipeline.execute()
        return entry_ids

    def parts(self, group: str, consumer: str, features: FeatureSet) -> tuple[TransactionStream, EntityStore, VerdictLedger]:
        self.rig.features = features
        side = self.rig.side(group, consumer)
        return side.stream, side.entities, side.ledger

    def decisions(self) -> list[Decision]:
        return self.rig.decisions()

    def letters(self) -> list[dict[str, bytes]]:
        return self.rig.streams.letters()

    def pending(self, group: str) -> set[bytes]:
        return set(self.rig.streams.pending(group))

    def forget(self, identity: str) -> None:
        self.rig.streams.client.delete(self.rig.streams.keys.txn(identity))

    def hand_over(self, group: str, entry_id: bytes, consumer: str) -> None:
        self.rig.streams.client.xclaim(self.rig.streams.stream, group, consumer, 0, [entry_id])

    async def close(self) -> None:
        await self.rig.close()


class Worker:
    """
    One worker of one group: its road, and everything that a test looks at.
    """

    def __init__(
        self,
        world: World,
        group: str,
        *,
        features: FeatureSet = SMALL,
        consumer: str = "",
        following: Following | None = None,
        neighbours: Neighbours | None = None,
        news: News | None = None,
        abreast: Abreast | None = None,
    ) -> None:
        self.group = group
        self.judge = ScriptedJudge("rules" if group == RULES else "model")
        self.report = RememberingVerdictReport()
        self.consumer = consumer or f"{group}-1"
        self.stream, self.entities, self.ledger = world.parts(group, self.consumer, features)
        if neighbours is not None and following is not None:
            neighbours.follower = Follower(self.judge, self.consumer)
        self.road = VerdictRoad(
            self.judge,
            self.entities,
            self.ledger,
            self.stream,
            features=features,
            policy=DecisionPolicy(),
            clock=FixedClock(),
            default_currency="USD",
            report=self.report,
            following=following,
            neighbours=neighbours,
            news=news,
            abreast=abreast,
        )

    async def read(self, count: int = 1000) -> list[Delivery]:
        await self.stream.open()
        return await self.stream.read(count, 1)

    async def work(self) -> None:
        """
        Read everything new and work it as one batch.
        """
        await self.road.work(await self.read())


def both(world: World) -> tuple[Worker, Worker]:
    return Worker(world, RULES), Worker(world, MODEL)


def poison(_: Transaction) -> Any:
    """
    Judge a transaction by failing.
    """
    raise ValueError("the judge cannot judge this")
