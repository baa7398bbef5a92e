"""
One channel's desk: see which groups are due, decide which are told alone and which are folded, send, note what became of it.

One process leads a channel at a time, so budgets hold for the whole fleet; the others stand by. What must outlive the process
stands in the book. What is sent and cannot be noted, because Redis is away, is noted first when it is back.
"""

import asyncio
import random
from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import Any

import msgspec

from fraudstream.domain.alert import Message, Notice, Severity
from fraudstream.domain.errors import AlertFailed, TransientError
from fraudstream.domain.moments import moment
from fraudstream.fleet import crash
from fraudstream.fleet.backoff import full_jitter
from fraudstream.fleet.ports import Clock
from fraudstream.stages.alert_notice import SEVERITIES, Links, build_digest, build_notice, reply_words
from fraudstream.stages.alert_pace import Kind, Pace, failed, is_open, places, succeeded, took, wait_s
from fraudstream.stages.alert_policy import (
    ChannelPolicy,
    Due,
    Fold,
    Storm,
    digest_due,
    fold_of,
    weather,
)
from fraudstream.stages.alert_ports import AlertBook, AlertChannel, Errand, Settled, View
from fraudstream.stages.alert_report import AlertReport, Unreported
from fraudstream.telemetry.redact import scrub

#: Longest pause between two looks, in seconds: a new group may be due sooner than anything known.
_LOOK_S = 0.2
#: How long a process that does not lead waits before it asks again, and one that cannot reach Redis.
_STANDBY_S, _AWAY_S = 1.0, 1.0
_ERROR_LENGTH = 500
_DAY_S = 86_400.0


class AlertDesk:
    """
    Tell one channel of the groups that are due on it.

    Args:
        channel: Where to.
        book: The groups.
        clock: The time of Redis.
        policy: What the channel may be burdened with.
        links: What a message offers beside its words.
        fallback: Channel that gets critical groups which this one refuses, or does not take while it is away; empty for none.
        rng: Spreads retries.
        report: Counts.
    """

    def __init__(
        self,
        channel: AlertChannel,
        book: AlertBook,
        clock: Clock,
        policy: ChannelPolicy,
        *,
        links: Links | None = None,
        fallback: str = "",
        rng: random.Random | None = None,
        report: AlertReport | None = None,
    ) -> None:
        self._channel = channel
        self._name = channel.name
        self._book = book
        self._clock = clock
        self._policy = policy
        self._links = links or Links()
        self._fallback = fallback
        self._rng = rng or random.Random()  # noqa: S311 spreads retries, decides nothing
        self._report = report or Unreported()
        self._pace = Pace()
        self._flying: dict[str, asyncio.Task[None]] = {}
        #: What landed since the last look was asked for: its answer may still call due what is told by now.
        self._landed_since: set[str] = set()
        self._unnoted: dict[str, Settled] = {}
        self._landed_all = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """
        Look and tell until told to stop; then let what is under way end, and hand the lead on.
        """
        while not stop.is_set():
            self._landed_all.clear()
            await self._pause(stop, await self._safely())
        await self.idle()
        try:
            await self._note_all()
            await self._book.resign(self._name)
        except TransientError as exc:
            self._report.away(repr(exc))

    async def _pause(self, stop: asyncio.Event, pause_s: float) -> None:
        """
        Wait, but not longer than until everything that was under way has landed: its places are free again.
        """
        waiting = [asyncio.create_task(event.wait()) for event in (stop, self._landed_all)]
        await asyncio.wait(waiting, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def idle(self) -> None:
        """
        Wait until nothing is under way.
        """
        while self._flying:
            await asyncio.wait(self._flying.values())

    async def look(self) -> float:
        """
        Look once and start what may be started; return the seconds until the next look.

        Raises:
            StreamUnavailable: Redis is away; what is under way goes on.
        """
        await self._note_all()
        limits = self._policy.storm
        self._landed_since.clear()
        view = await self._book.look(self._name, openings=limits.enter_groups + 1 if limits else 1)
        if view is None:
            return _STANDBY_S
        storm = await self._weather(view)
        alone = await self._fold(view, storm)
        pause_s, started = self._start(alone, view)
        if storm is not None and started:
            await self._book.blow(self._name, msgspec.structs.replace(storm, alone=storm.alone + started))
        until_next_s = _LOOK_S if view.next_ms is None else (view.next_ms - view.now_ms) / 1000
        return max(0.01, min(_LOOK_S, pause_s, until_next_s))

    async def _safely(self) -> float:
        try:
            return await self.look()
        except TransientError as exc:
            self._report.away(repr(exc))
        except Exception as exc:  # noqa: BLE001 one broken group must not end the desk; it is looked at again and everybody can see it
            self._report.faulty(self._name, repr(exc))
        return _AWAY_S

    async def _weather(self, view: View) -> Storm | None:
        """
        See whether there is a storm, and note when that changes.
        """
        if self._policy.storm is None:
            return None
        storm = weather(view.storm, view.opened_ms, view.now_ms, self._policy.storm)
        if storm != view.storm:
            await self._book.blow(self._name, storm)
        if (storm is None) != (view.storm is None):
            self._report.weather(self._name, storm=storm is not None)
        return storm

    async def _fold(self, view: View, storm: Storm | None) -> list[Errand]:
        """
        Put into digests what goes there, and return the rest.
        """
        now = moment(view.now_ms)
        alone: list[Errand] = []
        folds: dict[Fold, list[Errand]] = {}
        left = storm
        for errand in view.due:
            if errand.group.alert_id in self._flying or errand.group.alert_id in self._landed_since:
                continue
            fold = None if errand.group.digest else fold_of(_due(errand), self._policy, left, now)
            if fold is not None and errand.group.transactions > errand.shown.told:
                folds.setdefault(fold, []).append(errand)
                continue
            alone.append(errand)
            if left is not None and _news(errand):
                left = msgspec.structs.replace(left, alone=left.alone + 1)
        for fold, errands in folds.items():
            await self._digest(fold, errands, now)
        return alone

    async def _digest(self, fold: Fold, errands: Sequence[Errand], now: datetime) -> None:
        due_ms = int(digest_due(fold, self._policy, now).timestamp() * 1000)
        life_s = self._policy.digest_life_s if fold is Fold.STORM else _DAY_S
        gap_s = self._policy.storm_gap_s
        await self._book.digest(self._name, fold, errands, due_ms=due_ms, gap_s=gap_s, life_s=life_s)
        fresh = sum(errand.group.transactions - errand.shown.told for errand in errands)
        self._report.folded(self._name, fold.value, len(errands), fresh)

    def _start(self, errands: Sequence[Errand], view: View) -> tuple[float, int]:
        """
        Start what the budget allows, the most urgent first; return the seconds until more may go, and how many groups were new.
        """
        limits, now_s, pause_s, started = self._policy.pace, view.now_ms / 1000, _LOOK_S, 0
        for errand in sorted(errands, key=_urgency):
            if len(self._flying) >= places(self._pace, limits):
                break
            kind = Kind.UPDATE if errand.shown.place else Kind.POST
            pause = wait_s(self._pace, kind, now_s, limits)
            if pause > 0:
                pause_s = min(pause_s, pause)
                self._pass_on(errand)
                continue
            self._pace = took(self._pace, kind, now_s, limits)
            started += _news(errand)
            self._fly(errand.group.alert_id, self._tell(errand))
        return pause_s, started

    def _pass_on(self, errand: Errand) -> None:
        """
        Where the channel is away, let another one tell what is critical.
        """
        if self._fallback_for(errand) and not errand.shown.told and is_open(self._pace, self._policy.pace):
            rest_s = max(_LOOK_S, self._pace.rest_until_s - self._clock.now_ms() / 1000)
            self._fly(errand.group.alert_id, self._defer(errand, rest_s, counted=False))

    def _fallback_for(self, errand: Errand) -> str:
        return self._fallback if errand.group.severity is Severity.CRITICAL else ""

    def _fly(self, alert_id: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._flying[alert_id] = task
        task.add_done_callback(lambda done: self._landed(alert_id, done))

    def _landed(self, alert_id: str, task: "asyncio.Task[None]") -> None:
        self._flying.pop(alert_id, None)
        self._landed_since.add(alert_id)
        if not self._flying:
            self._landed_all.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report.faulty(self._name, repr(error))

    async def _tell(self, errand: Errand) -> None:
        """
        Send one message, and a reply under it where one belongs there; note what became of it.
        """
        try:
            message = await self._message(errand)
            sent = await self._send(errand, message)
        except TransientError as exc:
            self._report.away(repr(exc))
            return
        except AlertFailed as exc:
            await self._failed(errand, exc)
            return
        except Exception as exc:  # noqa: BLE001 a channel's fault must end as undeliverable, not go round for ever
            await self._failed(errand, AlertFailed(self._name, f"unexpected: {exc!r}", permanent=False))
            return
        await self._note(sent)

    async def _message(self, errand: Errand) -> Message:
        group = errand.group
        if group.digest:
            return build_digest(group, errand.shown, await self._book.facts(group.alert_id), self._links)
        new = await self._book.members(group.alert_id, errand.shown.told, group.transactions)
        return build_notice(group, errand.shown, self._links, new)

    async def _send(self, errand: Errand, message: Message) -> Settled:
        place = errand.shown.place
        crash.here("sending")
        if place:
            place = await self._channel.update(message, place)
        else:
            place = await self._channel.post(message)
        crash.here("sent")
        self._pace = succeeded(self._pace)
        self._report.attempted(self._name, "ok")
        sent = Settled(
            errand=errand,
            outcome="delivered",
            action="updated" if errand.shown.place else "posted",
            place=place,
            recipient=self._channel.recipient(message),
            gap_s=self._gap_s(errand),
        )
        return await self._replied(sent, message) if isinstance(message, Notice) else sent

    async def _replied(self, sent: Settled, message: Notice) -> Settled:
        words, mark = reply_words(message, sent.errand.shown)
        threads = self._channel.threads
        if not words or threads is None:
            return msgspec.structs.replace(sent, reply=mark)
        try:
            await threads.reply(words, message, sent.place)
        except AlertFailed as exc:
            self._charge(exc)
            retry_s = self._retry_s(sent.errand, exc)
            spent = exc.permanent or sent.errand.shown.tries + 1 >= self._policy.tries
            # The message itself says it all; a reply that is refused for good is not tried for ever.
            changes = {"reply": mark} if spent else {"retry_s": retry_s}
            return msgspec.structs.replace(sent, error=scrub(exc.detail)[:_ERROR_LENGTH], **changes)
        self._report.attempted(self._name, "ok")
        return msgspec.structs.replace(sent, reply=mark, action="replied")

    def _gap_s(self, errand: Errand) -> float:
        group = errand.group
        return self._policy.storm_gap_s if group.digest else self._policy.gap_s[group.severity]

    def _charge(self, failure: AlertFailed) -> None:
        """
        Count a failure against the channel.
        """
        self._report.attempted(self._name, "failed" if failure.retry_after_s is None else "throttled")
        if failure.permanent:
            self._pace = succeeded(self._pace)
        else:
            self._pace = failed(self._pace, self._clock.now_ms() / 1000, self._policy.pace, failure.retry_after_s)

    def _retry_s(self, errand: Errand, failure: AlertFailed) -> float:
        policy = self._policy
        if failure.retry_after_s is not None:
            return failure.retry_after_s
        first_s, longest_s = policy.first_retry_s, policy.longest_retry_s
        return full_jitter(errand.shown.tries, first_s=first_s, longest_s=longest_s, rng=self._rng)

    async def _failed(self, errand: Errand, failure: AlertFailed) -> None:
        """
        Try again later, or give up for good: a letter, and the fallback where there is one.
        """
        probing = is_open(self._pace, self._policy.pace)
        self._charge(failure)
        reason = self._hopeless(errand, failure)
        if reason is None:
            # Being throttled wears no message out, nor does trying for all while the channel rests.
            counted = failure.retry_after_s is None and not probing
            await self._defer(errand, self._retry_s(errand, failure), counted=counted)
            return
        error = scrub(failure.detail)[:_ERROR_LENGTH]
        await self._note(
            Settled(
                errand=errand,
                outcome="undeliverable",
                action="updated" if errand.shown.place else "posted",
                gap_s=self._gap_s(errand),
                fallback=self._fallback_for(errand),
                error=error,
                letter=_letter(errand, reason, error),
            )
        )

    def _hopeless(self, errand: Errand, failure: AlertFailed) -> str | None:
        if failure.permanent:
            return "refused"
        if errand.shown.tries + 1 >= self._policy.tries and failure.retry_after_s is None:
            return "too_many_tries"
        since_ms = errand.shown.failed_since_ms
        oldest_ms = self._policy.oldest_s[errand.group.severity] * 1000
        return "too_old" if since_ms is not None and self._clock.now_ms() - since_ms >= oldest_ms else None

    async def _defer(self, errand: Errand, delay_s: float, *, counted: bool) -> None:
        away = is_open(self._pace, self._policy.pace)
        fallback = self._fallback_for(errand) if away else ""
        try:
            await self._book.defer(self._name, errand, delay_s, counted=counted, fallback=fallback)
        except TransientError as exc:
            # It is still due in the book: the next look finds it there.
            self._report.away(repr(exc))

    async def _note(self, settled: Settled) -> None:
        """
        Note what became of a message; where Redis is away, keep it in mind: the message is out and must not go again.
        """
        self._unnoted[settled.errand.group.alert_id] = settled
        try:
            await self._note_one(settled)
        except TransientError as exc:
            self._report.away(repr(exc))

    async def _note_all(self) -> None:
        for alert_id, settled in list(self._unnoted.items()):
            if alert_id not in self._flying:
                await self._note_one(settled)

    async def _note_one(self, settled: Settled) -> None:
        decided_ms = await self._book.settle(self._name, settled)
        crash.here("settled")
        self._unnoted.pop(settled.errand.group.alert_id, None)
        if decided_ms is not None:
            now_ms = self._clock.now_ms()
            delays_s = [max(0.0, (now_ms - one) / 1000) for one in decided_ms]
            self._report.told(self._name, settled.outcome, delays_s, digest=settled.errand.group.digest)


def _due(errand: Errand) -> Due:
    return Due(severity=errand.group.severity, major=errand.group.major, placed=bool(errand.shown.place))


def _news(errand: Errand) -> bool:
    """
    Say whether a group has not been told of on this channel.
    """
    return not errand.group.digest and not errand.shown.told


def _urgency(errand: Errand) -> tuple[bool, int, bool, int]:
    """
    Digests first, for they speak for many; then by severity, news before updates, the oldest first.
    """
    group = errand.group
    return not group.digest, -SEVERITIES.index(group.severity), bool(errand.shown.place), group.last_ms


def _letter(errand: Errand, reason: str, error: str) -> dict[str, str]:
    """
    Say what was not told and why; ``alert`` is the whole group, so that it can be read without the book.
    """
    group = errand.group
    return {
        "transaction_id": group.alert.transaction_id if group.alert is not None else "",
        "severity": group.severity.value,
        "reason": reason,
        "tries": str(errand.shown.tries + 1),
        "error": error,
        "transactions": str(group.transactions),
        "alert": msgspec.json.encode(group.alert).decode(),
    }
