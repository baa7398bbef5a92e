"""
An alerter's stage and its desks over a real server, with channels of our own.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

from redis.asyncio import Redis

from fraudstream.adapters.redis_alert_answers import RedisAlertAnswers
from fraudstream.adapters.redis_alerts import RedisAlertBook, RedisAlertFolder
from fraudstream.adapters.redis_clock import RedisClock
from fraudstream.adapters.redis_keys import FRAUD, Keys
from fraudstream.domain.alert import Message, Severity
from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.decision_codec import encode_decision
from fraudstream.domain.errors import AlertFailed
from fraudstream.fleet.ports import Delivery, Handled
from fraudstream.stages.alert_desk import AlertDesk
from fraudstream.stages.alert_policy import ChannelPolicy
from fraudstream.stages.alert_ports import AlertBook, AlertChannel
from fraudstream.stages.alerter import Alerter
from tests.support.builders import a_decision, a_transaction
from tests.support.streams import PatientAddress
from tests.support.swift_alerts import SWIFT
from tests.support.wait import wait_until


class RememberingChannel:
    """
    Takes every message, unless a failure is planned; remembers what it took, and when.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.posts: list[Message] = []
        self.updates: list[Message] = []
        self.replies: list[str] = []
        self.times_s: list[float] = []
        self.tries = 0
        self.failures: deque[AlertFailed | Exception] = deque()
        self.always: AlertFailed | Exception | None = None
        self.accepts_before_failing = False

    @property
    def threads(self) -> Self:
        return self

    def recipient(self, message: Message) -> str:
        return f"{self.name} for {message.severity.value}"

    async def post(self, message: Message) -> str:
        self._take(self.posts, message)
        return f"place of {message.alert_id}"

    async def update(self, message: Message, place: str) -> str:
        self._take(self.updates, message)
        return place

    async def reply(self, words: str, message: Message, place: str) -> None:
        self._take(self.replies, words, told=False)

    async def close(self) -> None:
        return

    def _take(self, kept: list[Any], what: object, *, told: bool = True) -> None:
        self.tries += 1
        failure = self.failures.popleft() if self.failures else self.always
        if failure is None or self.accepts_before_failing:
            kept.append(what)
            if told:
                self.times_s.append(time.monotonic())
        if failure is not None:
            raise failure


class Counts:
    """
    What the alerter told about itself.
    """

    def __init__(self) -> None:
        self.raised_of: list[tuple[Severity, bool]] = []
        self.attempts: list[tuple[str, str]] = []
        self.ends: list[tuple[str, str, int]] = []
        self.folds: list[tuple[str, str, int]] = []
        self.storms: list[bool] = []
        self.errors: list[str] = []

    def raised(self, severity: Severity, *, opened: bool) -> None:
        self.raised_of.append((severity, opened))

    def attempted(self, channel: str, outcome: str) -> None:
        self.attempts.append((channel, outcome))

    def told(self, channel: str, outcome: str, delays_s: Any, *, digest: bool) -> None:
        self.ends.append((channel, outcome, len(delays_s)))

    def folded(self, channel: str, reason: str, groups: int, transactions: int) -> None:
        self.folds.append((channel, reason, transactions))

    def folded_of(self, channel: str) -> int:
        """
        Return how many payments went into digests.
        """
        return sum(transactions for name, _, transactions in self.folds if name == channel)

    def weather(self, channel: str, *, storm: bool) -> None:
        self.storms.append(storm)

    def away(self, error: str) -> None:
        self.errors.append(error)

    def faulty(self, channel: str, error: str) -> None:
        self.errors.append(error)


class Hall:
    """
    One stage, and a desk for each channel that is asked for.
    """

    def __init__(self, client: Redis, side: Any, policies: Mapping[str, ChannelPolicy], silence_s: float, keys: Keys) -> None:
        self._client = client
        self.side = side
        self.counts = Counts()
        self.keys = keys
        self._fraud = keys.stream(FRAUD)
        self.policies = policies
        folder = RedisAlertFolder(
            client,
            stream=self._fraud,
            group="alerter",
            consumer="me",
            keys=self.keys,
            policies=policies,
            silence_s=silence_s,
            known_s=60,
        )
        self.stage = Alerter(folder, report=self.counts)
        self.answers = RedisAlertAnswers(client, self.keys)
        self._stop = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []
        self._desks: list[AlertDesk] = []

    def desk(self, channel: AlertChannel, *, fallback: str = "", book: AlertBook | None = None, me: str = "") -> AlertDesk:
        """
        Return a desk that does not work yet.
        """
        clock = RedisClock()
        desk = AlertDesk(
            channel,
            book or RedisAlertBook(self._client, self.keys, clock, me=me),
            clock,
            self.policies.get(channel.name, SWIFT[channel.name]),
            fallback=fallback,
            report=self.counts,
        )
        self._desks.append(desk)
        return desk

    def book(self, me: str = "") -> RedisAlertBook:
        """
        Return a book of a process of its own.
        """
        return RedisAlertBook(self._client, self.keys, RedisClock(), me=me)

    def work(self, desk: AlertDesk) -> asyncio.Task[None]:
        """
        Let a desk work until the hall closes.
        """
        task = asyncio.create_task(desk.run(self._stop))
        self._running.append(task)
        return task

    async def flag(self, *decisions: Decision) -> Handled:
        """
        Append decisions to the fraud stream, read them, and hand them to the stage.
        """
        for decision in decisions:
            transaction_id = decision.transaction.transaction_id
            self.side.xadd(self._fraud, {"transaction_id": transaction_id, "decision": encode_decision(decision)})
        ((_, entries),) = self.side.xreadgroup("alerter", "me", {self._fraud: ">"}, count=1000)
        return await self.stage.work([Delivery(entry_id=entry_id, fields=fields) for entry_id, fields in entries])

    async def idle(self, *channels: str) -> None:
        """
        Wait until nothing is due any more, and what was told is counted too, which comes after it is noted.
        """

        def nothing() -> bool:
            return not any(self.side.zcard(f"alertdue:{name}") for name in channels) and not any(
                desk._flying for desk in self._desks
            )

        await wait_until(nothing, "nothing is due")

    def group_of(self, transaction_id: str) -> dict[str, str]:
        """
        Return the hash of the group that a transaction is in.
        """
        alert_id = self.side.get(f"alertof:{transaction_id}").decode()
        found = self.side.hgetall(f"alertgroup:{alert_id}")
        return {name.decode(): value.decode() for name, value in found.items()}

    def members(self) -> list[str]:
        """
        Return the transactions of every group, as often as they stand in one.
        """
        keys = self.side.keys("alertmembers:al_*")
        return sorted(member.decode().split(" ", 3)[3] for key in keys for member in self.side.lrange(key, 0, -1))

    def letters(self) -> list[dict[str, str]]:
        """
        Return what could not be delivered.
        """
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in self.side.xrange("alerts:undeliverable")
        ]

    async def close(self) -> None:
        """
        Let every desk drain.
        """
        self._stop.set()
        await asyncio.gather(*self._running, return_exceptions=True)


@asynccontextmanager
async def a_hall(
    url: str, policies: Mapping[str, ChannelPolicy] | None = None, *, silence_s: float = 60.0, keys: Keys | None = None
) -> AsyncIterator[Hall]:
    """
    Run a hall on an empty server; without policies it is Slack's.
    """
    import redis  # noqa: PLC0415 its blocking client, beside the one of the adapters

    side: Any = redis.Redis.from_url(url, protocol=2)
    keys = keys or Keys()
    side.xgroup_create(keys.stream(FRAUD), "alerter", "0", mkstream=True)
    client = PatientAddress(url=url).commands(8)
    hall = Hall(client, side, policies or {"slack": SWIFT["slack"]}, silence_s, keys)
    try:
        yield hall
    finally:
        await hall.close()
        await client.aclose()
        await client.connection_pool.disconnect()
        side.close()


def a_flagged(number: int = 1, *, card: str = "", outcome: Outcome = Outcome.BLOCK, **changes: Any) -> Decision:
    """
    Return a flagged decision about a card; of its own, where none is named.
    """
    transaction = a_transaction(transaction_id=f"txn_{number}", card_id=card or f"tok_{number:08}", device_id=None, **changes)
    return a_decision(transaction, outcome=outcome)
