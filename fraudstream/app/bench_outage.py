"""
One part after another away for a while: how long until the lag is what it was, and was anything lost?
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from fraudstream.adapters.postgres_account import counted
from fraudstream.adapters.redis_account import lag_and_untold, sizes
from fraudstream.adapters.redis_client import RedisAddress, connected
from fraudstream.adapters.redis_keys import DLQ, UNDELIVERABLE
from fraudstream.app.bench import machine
from fraudstream.app.bench_hook import Hook
from fraudstream.app.bench_system import bench_system
from fraudstream.app.bench_world import rounds
from fraudstream.app.connections import address, intake
from fraudstream.app.demo import Progress
from fraudstream.app.local_system import LocalSystem
from fraudstream.app.settling import until_done
from fraudstream.domain.errors import InvalidSettings, TransientError
from fraudstream.producers.produce import Produced, produce

GROUPS = ("fraud-check", "ml-scoring", "recorder", "alerter")
#: What can be away: servers, the channel of the alerts, and all workers of a group.
PARTS = ("redis", "postgres", "alerts", *GROUPS)
_CHANNEL = "webhook"
#: Lag counts as usual while it is at most so many times what it was, or so many seconds' worth of payments.
_USUAL_TIMES, _USUAL_WORTH_S = 2.0, 0.5
_EVERY_S = 0.25
#: A message that failed often rests for up to a minute, and its channel too.
_RESTS_S = 180.0


class OutagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    Each of ``parts`` is away for ``seconds`` while ``rate_per_s`` is offered.

    What is usual is seen for ``usual_s`` before, after ``warm_s`` of load; it must be so again for ``steady_s``. Who has not
    recovered ``patience_s`` after its return never will.
    """

    seconds: float = 600.0
    rate_per_s: float = 1_000.0
    parts: tuple[str, ...] = PARTS
    warm_s: float = 3.0
    usual_s: float = 5.0
    steady_s: float = 2.0
    patience_s: float = 900.0
    inherited: dict[str, str] = {}
    commit: str = ""


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """
    One outage. ``recovered_s`` counts from when the part was started again until the lag was usual, and stayed so; None: never.

    ``back_s`` is what the start itself took of that. Lags are payments that wait, with the producer or for the slowest group;
    for the channel and its group they are alerts. Nothing was lost when ``produced`` = ``decided`` = ``recorded``.
    """

    part: str
    away_s: float
    back_s: float
    recovered_s: float | None
    usual_lag: int
    highest_lag: int
    produced: int
    sent_again: int
    decided: int
    recorded: int
    doubled: int
    degraded: int
    flagged: int
    alerts_told: int
    dead_letters: int
    undeliverable: int

    @property
    def lost(self) -> int:
        """
        Payments that were produced and are not on record.
        """
        return self.produced - min(self.decided, self.recorded)

    @property
    def good(self) -> bool:
        """
        Whether it recovered, and no payment was lost, doubled or given up. Alerts that the policy calls too old are kept apart.
        """
        return self.recovered_s is not None and not (self.lost or self.doubled or self.dead_letters)


class OutageReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    Every outage, on one machine, each with a system of its own.
    """

    machine: str
    commit: str
    seconds: float
    rate_tps: float
    outages: list[Recovery]

    @property
    def good(self) -> bool:
        """
        Whether all of them were survived.
        """
        return all(one.good for one in self.outages)


async def run_bench_outage(plan: OutagePlan, progress: Progress) -> OutageReport:
    """
    Take each part away from a system of our own that is under load, and bring it back.

    Raises:
        ConfigurationError: A server of our own did not start.
        InvalidSettings: There is no such part.
        TransientError: The system stopped moving.
    """
    unknown = sorted(set(plan.parts) - set(PARTS))
    if unknown:
        raise InvalidSettings(f"{', '.join(unknown)} cannot be taken away; parts are {', '.join(PARTS)}")
    outages = [await _outage(part, plan, progress) for part in plan.parts]
    return OutageReport(machine=machine(), commit=plan.commit, seconds=plan.seconds, rate_tps=plan.rate_per_s, outages=outages)


async def _outage(part: str, plan: OutagePlan, progress: Progress) -> Recovery:
    with Hook() as hook:
        channel = {
            "FRAUDSTREAM_ALERT_CHANNELS": _CHANNEL,
            "FRAUDSTREAM_WEBHOOK_URL": hook.url,
            "FRAUDSTREAM_WEBHOOK_SECRET": "bench",
        }
        async with bench_system(plan.inherited, GROUPS, progress, settings=channel) as system:
            return await _Outage(part, plan, system, hook, progress).run()


class _Load:
    """
    Payments at a constant rate until told to stop.
    """

    def __init__(self, system: LocalSystem, rate_per_s: float, longest_s: float) -> None:
        self._system = system
        self._rate_per_s = rate_per_s
        self._longest_s = longest_s
        self._stopped = False
        self._began = time.monotonic()
        self._appended = 0

    async def run(self) -> Produced:
        bodies = self._until_stopped(rounds(round(self._longest_s * self._rate_per_s), seconds=self._longest_s))
        async with intake(self._system.settings()) as target:
            return await produce(bodies, target, rate_per_s=self._rate_per_s, progress=self._note, clock=self._clock)

    def stop(self) -> None:
        self._stopped = True

    @property
    def held_up(self) -> int:
        """
        Return how many payments are due and not taken yet.
        """
        return max(0, round((time.monotonic() - self._began) * self._rate_per_s) - self._appended)

    def _until_stopped(self, bodies: Iterable[bytes]) -> Iterator[bytes]:
        for body in bodies:
            if self._stopped:
                return
            yield body

    def _clock(self) -> float:
        now = time.monotonic()
        self._began = now if self._appended == 0 else self._began  # payment 0 is due when the first batch is at hand
        return now

    def _note(self, appended: int) -> None:
        self._appended = appended


class _Outage:
    """
    One part of one system, away once.
    """

    def __init__(self, part: str, plan: OutagePlan, system: LocalSystem, hook: Hook, progress: Progress) -> None:
        self._part = part
        self._plan = plan
        self._system = system
        self._hook = hook
        self._progress = progress
        self._redis: RedisAddress = address(system.settings())
        self._load = _Load(
            system, plan.rate_per_s, plan.warm_s + plan.usual_s + plan.seconds + plan.patience_s + plan.steady_s + 60
        )
        self._highest = 0

    async def run(self) -> Recovery:
        producing = asyncio.create_task(self._load.run())
        try:
            await asyncio.sleep(self._plan.warm_s)
            usual = await self._watch(self._plan.usual_s)
            self._progress.step(
                f"{self._part} is away for {self._plan.seconds:,.0f} s, {self._plan.rate_per_s:,.0f}/s are offered"
            )
            take, bring = self._switches()
            await asyncio.to_thread(take)
            began = time.monotonic()
            await self._watch(self._plan.seconds)
            away_s, began = time.monotonic() - began, time.monotonic()
            await asyncio.to_thread(bring)
            back_s = time.monotonic() - began
            recovered_s = await self._recovered(began, usual)
        finally:
            self._load.stop()
            sent = await producing
        self._progress.step("waiting until everything is done")
        await until_done(self._left, lambda: None, stuck_s=_RESTS_S)
        return await self._account(sent, round(away_s, 1), round(back_s, 2), recovered_s, usual)

    def _switches(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """
        Return what takes the part away, and what brings it back.
        """
        match self._part:
            case "redis":
                return self._system.valkey.stop, self._system.valkey.start
            case "postgres":
                return self._system.postgres.stop, self._system.postgres.start
            case "alerts":
                return self._hook.stop, self._hook.start
            case group:
                (worker,) = (one for one in self._system.workers if one.groups == group)
                return worker.kill, worker.start

    async def _left(self) -> dict[str, int]:
        """
        Return what each group has not finished, and the alerts that nobody was told of.
        """
        async with connected(self._redis, connections=1) as client:
            return await lag_and_untold(client, GROUPS, _CHANNEL)

    async def _lag(self) -> int:
        """
        Return what waits: alerts for a part that tells people, else payments, with the producer or for the slowest group.
        """
        try:
            left = await self._left()
        except (TransientError, OSError):  # Redis is away: whatever is due waits
            return self._load.held_up
        alerts = left.pop("alerts") + left.pop("alerter")
        return alerts if self._part in ("alerts", "alerter") else self._load.held_up + max(left.values())

    async def _watch(self, seconds: float) -> int:
        """
        Return the highest lag of a while.
        """
        highest, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            highest = max(highest, await self._lag())
            await asyncio.sleep(_EVERY_S)
        self._highest = max(self._highest, highest)
        return highest

    async def _recovered(self, began: float, usual: int) -> float | None:
        """
        Return how many seconds after its return the lag was usual for the first time from which it stayed so.
        """
        worth = 0.0 if self._part in ("alerts", "alerter") else _USUAL_WORTH_S * self._plan.rate_per_s
        most = max(_USUAL_TIMES * usual, worth, 1)
        since: float | None = None
        while (now := time.monotonic()) - began < self._plan.patience_s:
            lag = await self._lag()
            self._highest = max(self._highest, lag)
            since = (since or now) if lag <= most else None
            if since is not None and now - since > self._plan.steady_s:
                return round(since - began, 2)
            await asyncio.sleep(_EVERY_S)
        return None

    async def _account(self, sent: Produced, away_s: float, back_s: float, recovered_s: float | None, usual: int) -> Recovery:
        async with connected(self._redis, connections=1) as client:
            streams = (await sizes(client)).streams
        books = await counted(self._system.postgres.url)
        return Recovery(
            part=self._part, away_s=away_s, back_s=back_s, recovered_s=recovered_s, usual_lag=usual, highest_lag=self._highest,
            produced=sent.appended, sent_again=sent.resent, decided=books.ids, recorded=books.transactions,
            doubled=books.rows - books.transactions, degraded=books.degraded, flagged=books.flagged,
            alerts_told=self._hook.told, dead_letters=streams[DLQ], undeliverable=streams[UNDELIVERABLE],
        )  # fmt: skip
