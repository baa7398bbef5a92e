"""
A storm of flagged payments over real alerter processes and a moody Slack, and exact books of who was told of what, and when.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from redis.asyncio import Redis

from fraudstream.adapters.slack_limits import problems
from fraudstream.domain.decision import Outcome
from fraudstream.domain.decision_codec import encode_decision
from fraudstream.domain.evidence import Action, Reason, RuleHit
from fraudstream.domain.moments import moment
from fraudstream.local import LocalPostgres, LocalValkey
from tests.support.builders import a_decision, a_transaction
from tests.support.fake_slack import FakeSlack
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[2]
FRAUD = "transactions:fraud"
#: What a moody Slack does, and how often: the rest is fine.
MOODS: Mapping[str, float] = {
    "429:0.4": 0.02,
    "429:1.7": 0.01,
    "500": 0.02,
    "502": 0.02,
    "internal_error": 0.01,
    "drop": 0.02,
    "timeout": 0.005,
}
#: Rules of the storm: id, family, entity that it is about.
_RULES = (
    ("card_testing_burst", "card_testing", "device"),
    ("merchant_under_test", "card_testing", "merchant"),
    ("stolen_card_spree", "stolen_card", "card"),
    ("account_taken_over", "account_takeover", "user"),
    ("far_away", "stolen_card", "card"),
)


class StormPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    What happens: ``transactions`` flagged ones within ``over_s``, about so many ``entities``; ``critical`` is the share of
    blocks.

    ``kills`` alerters are killed while it lasts, each replaced by a new one. ``postgres`` is up, down or none. With ``swift``
    the alerters wait a part of the time only.
    """

    transactions: int = 20_000
    over_s: float = 60.0
    entities: int = 12_000
    critical: float = 0.6
    alerters: int = 2
    kills: int = 2
    moody: bool = True
    postgres: str = "none"
    seed: int = 11
    swift: bool = False
    settings: Mapping[str, str] = {}


class StormReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What came of it. Delays are from the decision to the first post or update that counts the payment, in seconds.

    ``lost`` are payments that nobody was told of; ``astray`` those in no group or in several; ``doubles`` first posts beyond
    one per alert, of which ``drops`` (accepted, no answer) may cause one each, and each of ``kills`` what it had under way.
    """

    transactions: int
    groups: int
    posts: int
    digests: int
    replies: int
    updates: int
    refused_by_limits: int
    lost: int
    astray: int
    undeliverable: int
    doubles: int
    drops: int
    kills: int
    answers: Mapping[str, int]
    delay_s: Mapping[str, float]
    delay_critical_s: Mapping[str, float]
    fed_s: float
    settled_s: float
    on_record: int


class Storm:
    """
    Servers, alerters and Slack of one run.
    """

    def __init__(self, plan: StormPlan) -> None:
        self.plan = plan
        self.rng = random.Random(plan.seed)
        self.slack = FakeSlack(self._mood if plan.moody else lambda: "ok")
        self.decided_s: dict[str, float] = {}
        self.critical: set[str] = set()
        self.postgres: LocalPostgres | None = None
        self._alerters: list[subprocess.Popen[bytes]] = []
        self._environment: dict[str, str] = {}

    async def run(self) -> StormReport:
        """
        Run all of it once.
        """
        async with AsyncExitStack() as stack:
            valkey = stack.enter_context(LocalValkey())
            self.postgres = await self._database(stack)
            await self.slack.start()
            stack.push_async_callback(self.slack.stop)
            client = await stack.enter_async_context(Redis.from_url(valkey.url))
            self._environment = self._settings(valkey.url)
            stack.callback(self._end)
            for _ in range(self.plan.alerters):
                self._start()
            await wait_until(lambda: _group_exists(client), "the alerters read", timeout_s=60)
            if self.postgres is not None and self.plan.postgres == "down":
                await asyncio.to_thread(self.postgres.stop)
            started_s = time.monotonic()
            killing = asyncio.create_task(self._kill())
            await self._feed(client)
            fed_s = time.monotonic() - started_s
            await killing
            await wait_until(lambda: _told(client), "everything is told", timeout_s=180)
            settled_s = time.monotonic() - started_s
            if self.plan.postgres == "up":
                await wait_until(lambda: _journal_empty(client), "the journal is on record", timeout_s=60)
            return await self._report(client, fed_s, settled_s)

    def _mood(self) -> str:
        draw = self.rng.random()
        for mood, share in MOODS.items():
            draw -= share
            if draw < 0:
                return mood
        return "ok"

    async def _database(self, stack: AsyncExitStack) -> LocalPostgres | None:
        if self.plan.postgres == "none":
            return None
        from fraudstream.adapters.postgres_migrations import migrate  # noqa: PLC0415 a run without a database needs none

        postgres = stack.enter_context(LocalPostgres(settings={"fsync": "off"}))
        await migrate(postgres.url)
        return postgres

    def _settings(self, redis_url: str) -> dict[str, str]:
        ours = ("FRAUDSTREAM_", "REDIS_URL", "POSTGRES_URL", "CONSUMER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        postgres = {"POSTGRES_URL": self.postgres.url} if self.postgres is not None else {}
        return {
            **kept,
            **postgres,
            "REDIS_URL": redis_url,
            "FRAUDSTREAM_ALERT_CHANNELS": "slack",
            "FRAUDSTREAM_SLACK_BOT_TOKEN": "xoxb-storm",
            "FRAUDSTREAM_SLACK_CHANNEL": "#fraud-alerts",
            "FRAUDSTREAM_SLACK_BASE_URL": self.slack.base_url,
            "FRAUDSTREAM_LOG_LEVEL": "error",
            "FRAUDSTREAM_METRICS_PORT": "none",
            "FRAUDSTREAM_HEARTBEAT_LIFE_S": "3",
            "FRAUDSTREAM_CLAIM_IDLE_S": "4",
            **self.plan.settings,
        }

    def _start(self) -> None:
        words = (
            ["tests.support.swift_alerter"] if self.plan.swift else ["fraudstream", "alerter", "start", "--channel", "slack"]
        )
        command = [sys.executable, "-m", *words]
        self._alerters.append(subprocess.Popen(command, cwd=ROOT, env=self._environment))

    async def _kill(self) -> None:
        """
        Kill the oldest alerter, and start another, evenly over the time.
        """
        for _ in range(self.plan.kills):
            await asyncio.sleep(self.plan.over_s / (self.plan.kills + 1))
            oldest = self._alerters.pop(0)
            oldest.send_signal(signal.SIGKILL)
            oldest.wait()
            self._start()

    def _end(self) -> None:
        for one in self._alerters:
            one.send_signal(signal.SIGTERM)
        for one in self._alerters:
            try:
                one.wait(60)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()

    async def _feed(self, client: Redis) -> None:
        """
        Append flagged decisions at an even rate, each decided at the moment of its appending.
        """
        started_s = time.monotonic()
        number = 0
        while number < self.plan.transactions:
            due = min(
                self.plan.transactions, int((time.monotonic() - started_s) / self.plan.over_s * self.plan.transactions) + 1
            )
            pipeline = client.pipeline(transaction=False)
            for one in range(number, due):
                pipeline.xadd(FRAUD, self._entry(one))
            if due > number:
                await pipeline.execute()
            number = due
            await asyncio.sleep(0.01)

    def _entry(self, number: int) -> dict[Any, Any]:
        transaction_id = f"txn_{number:06}"
        now_s = time.time()
        rule_id, family, entity = self.rng.choice(_RULES)
        blocked = self.rng.random() < self.plan.critical
        one = int(self.rng.triangular(0, self.plan.entities, 0))
        transaction = a_transaction(
            transaction_id=transaction_id,
            amount_minor=int(self.rng.lognormvariate(10, 2)),
            currency=self.rng.choice(("USD", "EUR")),
            card_id=f"tok_{one:012}",
            user_id=f"user_{one}",
            device_id=f"device_{one}",
            merchant=f"Shop {one % 400}" if entity != "merchant" else f"Shop {one}",
            occurred_at_ms=int(now_s * 1000) - 200,
        )
        hit = RuleHit(
            rule_id=rule_id, action=Action.BLOCK if blocked else Action.REVIEW, reason=f"{family} rule", tags=(family, entity)
        )
        decision = a_decision(
            transaction,
            outcome=Outcome.BLOCK if blocked else Outcome.REVIEW,
            rule_hits=(hit,),
            reasons=(Reason(code=rule_id, text=f"{self.rng.randint(6, 40)} payments within 5 minutes (limit 5)"),),
            decided_at=moment(int(now_s * 1000)),
        )
        self.decided_s[transaction_id] = now_s
        if blocked:
            self.critical.add(transaction_id)
        return {"transaction_id": transaction_id, "decision": encode_decision(decision)}

    async def _report(self, client: Redis, fed_s: float, settled_s: float) -> StormReport:
        groups = await _lists(client, "alertmembers:al_*")
        digests = await _lists(client, "alertmembers:dg_*")
        places = Counter(one for members in groups.values() for one in members)
        told_s = self._told_s({**groups, **digests})
        posts = Counter(_payload(message)["alert_id"] for message in self.slack.posts)
        delays = {one: told_s[one] - decided for one, decided in self.decided_s.items() if one in told_s}
        return StormReport(
            transactions=len(self.decided_s),
            groups=len(groups),
            posts=sum(count for alert_id, count in posts.items() if alert_id.startswith("al_")),
            digests=sum(count for alert_id, count in posts.items() if alert_id.startswith("dg_")),
            replies=len(self.slack.replies),
            updates=len(self.slack.updates),
            refused_by_limits=sum(bool(problems(message)) for message in [*self.slack.posts, *self.slack.updates]),
            lost=len(self.decided_s.keys() - told_s.keys()),
            astray=len(self.decided_s.keys() ^ places.keys()) + sum(count - 1 for count in places.values()),
            undeliverable=await client.xlen("alerts:undeliverable"),
            doubles=sum(count - 1 for count in posts.values()),
            drops=sum(fate in ("drop", "timeout") for _, _, fate in self.slack.log),
            kills=self.plan.kills,
            answers=Counter(fate for _, _, fate in self.slack.log),
            delay_s=_percentiles(list(delays.values())),
            delay_critical_s=_percentiles([delay for one, delay in delays.items() if one in self.critical]),
            fed_s=round(fed_s, 2),
            settled_s=round(settled_s, 2),
            on_record=await self._on_record(),
        )

    async def _on_record(self) -> int:
        """
        Return how many flagged transactions the database knows an alert of.
        """
        if self.postgres is None or self.plan.postgres != "up":
            return 0
        import asyncpg  # noqa: PLC0415 a run without a database needs none

        connection = await asyncpg.connect(self.postgres.url)
        try:
            found: int = await connection.fetchval("SELECT count(*) FROM alerts")
        finally:
            await connection.close()
        return found

    def _told_s(self, lists: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """
        Return when Slack first accepted a message that counts each transaction: as the n-th of its group or of a digest.
        """
        told: dict[str, float] = {}
        counted: defaultdict[str, int] = defaultdict(int)
        for at_s, body in sorted(self.slack.accepted, key=lambda pair: pair[0]):
            if "thread_ts" in body:
                continue
            payload = _payload(body)
            alert_id, count = payload["alert_id"], payload["transactions"]
            for one in lists.get(alert_id, ())[counted[alert_id] : count]:
                told[one] = min(at_s, told.get(one, at_s))
            counted[alert_id] = max(counted[alert_id], count)
        return told


def _payload(message: Mapping[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = message["metadata"]["event_payload"]
    return payload


async def _group_exists(client: Redis) -> bool:
    return bool(await client.exists(FRAUD)) and bool(await client.xinfo_groups(FRAUD))


async def _told(client: Redis) -> bool:
    (group,) = await client.xinfo_groups(FRAUD)
    return group["pending"] == 0 and group["lag"] == 0 and await client.zcard("alertdue:slack") == 0


async def _journal_empty(client: Redis) -> bool:
    return await client.xlen("alerts:journal") == 0


async def _lists(client: Redis, pattern: str) -> dict[str, list[str]]:
    keys = [key async for key in client.scan_iter(match=pattern, count=1000)]
    lists = [await client.lrange(key, 0, -1) for key in keys]
    return {
        key.decode().partition(":")[2]: [member.decode().split(" ", 3)[3] for member in members]
        for key, members in zip(keys, lists, strict=True)
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    picked = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {name: round(value, 3) for name, value in {**picked, "max": ordered[-1]}.items()}
