"""
Group ``alerter``: tell people of each flagged decision on every channel, at least once.

The pending entries of ``transactions:fraud`` are the outbox. An entry is acknowledged when every channel is settled: delivered,
or undeliverable with a letter. Nothing waits here: what has to is handed back with the seconds until it is due.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from fraudstream.domain.alert import Alert
from fraudstream.domain.codec import decode_decision
from fraudstream.domain.errors import AlertFailed
from fraudstream.fleet import crash
from fraudstream.fleet.lane import Lane, LaneLimits, Turn
from fraudstream.fleet.ports import AlertChannel, AlertOutbox, Clock, Delivery, Handled, Letter
from fraudstream.stages.alert_report import AlertReport, Unreported
from fraudstream.stages.alert_text import build_alert
from fraudstream.stages.intake import letter_for
from fraudstream.telemetry.redact import scrub

#: Slack takes about one message a second and channel; mail servers and receivers are spared bursts; a stream needs no budget.
LANE_LIMITS: Mapping[str, LaneLimits] = {
    "slack": LaneLimits(rate_per_s=1.0, burst=5),
    "email": LaneLimits(rate_per_s=1.0, burst=10),
    "webhook": LaneLimits(rate_per_s=50.0, burst=50, concurrent=8),
    "console": LaneLimits(concurrent=1),
}
#: How often one entry may be handed out before the fleet gives it up. Every wait for a channel's budget or rest is a hand-out,
#: and not a failure of the alert: failures are counted here.
MAX_HAND_OUTS = 5000
#: Errands remembered at the same time; the oldest is forgotten first, and then starts anew.
_MAX_ERRANDS = 100_000
_ERROR_LENGTH = 500
#: When to come again where all places of a lane are taken, in seconds.
_BUSY_S = 0.5


class _Over(Enum):
    """
    How an entry, or one errand of it, is over: acknowledged with the last outcome, or noted without that.
    """

    SETTLED = 1
    NOTED = 2


#: Over, or the seconds until it is due again.
_End = float | _Over


class _Case(NamedTuple):
    """
    A delivery and the alert that it holds; the alert's own transaction id is masked for reading.
    """

    delivery: Delivery
    transaction_id: str
    alert: Alert


class _Errand:
    """
    One alert on its way through one channel.

    ``outcome`` is set once the channel's answer is final, and kept until the outbox has noted it: a second call for the same
    delivery then notes, and does not send again.
    """

    __slots__ = ("error", "outcome", "reason", "turn")

    def __init__(self) -> None:
        self.turn = Turn()
        self.outcome = ""
        self.reason = ""
        self.error = ""

    def give_up(self, reason: str) -> None:
        """
        End as undeliverable.
        """
        self.outcome, self.reason = "undeliverable", reason


class Alerter:
    """
    The stage of group ``alerter``.

    Args:
        channels: Each of a name of its own; every alert goes to all of them.
        outbox: What is settled already.
        clock: The time of Redis.
        limits: By name of channel, over ``LANE_LIMITS``. Budgets hold for this process: two alerters send twice as fast.
        rng: Spreads retries.
        report: Counts.
    """

    def __init__(
        self,
        channels: Sequence[AlertChannel],
        outbox: AlertOutbox,
        clock: Clock,
        *,
        limits: Mapping[str, LaneLimits] | None = None,
        rng: random.Random | None = None,
        report: AlertReport | None = None,
    ) -> None:
        rng = rng or random.Random()  # noqa: S311 spreads retries, decides nothing
        bounds = {**LANE_LIMITS, **(limits or {})}
        self._channels = {channel.name: channel for channel in channels}
        self._lanes = {name: Lane(bounds.get(name, LaneLimits()), rng) for name in self._channels}
        self._outbox = outbox
        self._clock = clock
        self._report = report or Unreported()
        self._errands: OrderedDict[tuple[bytes, str], _Errand] = OrderedDict()

    async def work(self, batch: Sequence[Delivery]) -> Handled:
        """
        Send each alert on every channel that is not settled; see ``Stage``.

        A channel that fails, waits or is slow holds up neither the other channels nor, beyond its own time-out, other alerts.
        """
        cases, letters = _read(batch)
        for case in cases:
            if case.delivery.deliveries == 1:
                self._report.raised(case.alert.severity)
        known = await self._known(cases)
        ends = await _all(self._tell(case, settled) for case, settled in zip(cases, known, strict=True))
        return _handled(cases, ends, letters)

    async def give_up(self, delivery: Delivery, error: str) -> Handled:
        """
        End a delivery that was handed out too often: undeliverable on every channel that has not had it.
        """
        cases, letters = _read([delivery])
        known = await self._known(cases)
        ends = [
            _last(await _all(self._abandon(case, name, error) for name in self._channels if name not in settled))
            for case, settled in zip(cases, known, strict=True)
        ]
        return _handled(cases, ends, letters)

    async def _known(self, cases: Sequence[_Case]) -> list[Mapping[str, str]]:
        return await self._outbox.settled([case.transaction_id for case in cases]) if cases else []

    async def _tell(self, case: _Case, settled: Mapping[str, str]) -> _End:
        return _last(await _all(self._run(case, name) for name in self._channels if name not in settled))

    async def _run(self, case: _Case, name: str) -> _End:
        """
        Bring one errand as far as it goes now.
        """
        errand = self._errand(case, name)
        if not errand.outcome:
            wait_s = await self._try(case.alert, name, errand)
            if not errand.outcome:
                return wait_s
        return await self._note(case, name, errand)

    async def _try(self, alert: Alert, name: str, errand: _Errand) -> float:
        """
        Try once, if the lane lets us; return the seconds until the next try.
        """
        lane, turn = self._lanes[name], errand.turn
        wait_s = lane.admit(turn, self._now_s())
        if wait_s > 0:
            self._give_up_if_exhausted(lane, errand)
            return wait_s
        async with lane.place(turn) as free:
            if not free:
                return _BUSY_S
            try:
                crash.here("sending")
                await self._channels[name].send(alert)
                crash.here("sent")
            except AlertFailed as exc:
                return self._failed(name, errand, exc)
            except Exception as exc:  # noqa: BLE001 a channel's fault must end as undeliverable, not go round for ever
                return self._failed(name, errand, AlertFailed(name, f"unexpected: {exc!r}", permanent=False))
            lane.answered(turn)
        self._report.attempted(name, "ok")
        errand.outcome = "delivered"
        return 0.0

    def _failed(self, name: str, errand: _Errand, failure: AlertFailed) -> float:
        lane = self._lanes[name]
        errand.error = scrub(failure.detail)[:_ERROR_LENGTH]
        self._report.attempted(name, "failed" if failure.retry_after_s is None else "throttled")
        if failure.permanent:
            lane.answered(errand.turn)
            errand.turn.tries += 1
            errand.give_up("refused")
            return 0.0
        wait_s = lane.failed(errand.turn, self._now_s(), failure.retry_after_s)
        self._give_up_if_exhausted(lane, errand)
        return wait_s

    def _give_up_if_exhausted(self, lane: Lane, errand: _Errand) -> None:
        reason = lane.exhausted(errand.turn, self._now_s())
        if reason is not None:
            errand.give_up(reason)

    async def _abandon(self, case: _Case, name: str, error: str) -> _End:
        errand = self._errand(case, name)
        if not errand.outcome:
            errand.error = errand.error or scrub(error)[:_ERROR_LENGTH]
            errand.give_up("given_up")
        return await self._note(case, name, errand)

    async def _note(self, case: _Case, name: str, errand: _Errand) -> _End:
        """
        Note how an errand ended; with the last one the entry is acknowledged.
        """
        over = await self._outbox.settle(
            case.delivery,
            case.transaction_id,
            name,
            errand.outcome,
            channels=len(self._channels),
            letter=_letter(case, errand) if errand.outcome == "undeliverable" else {},
        )
        crash.here("settled")
        self._errands.pop((case.delivery.entry_id, name), None)
        latency_s = max(0.0, self._now_s() - case.alert.decided_at.timestamp())
        self._report.ended(case.alert, name, errand.outcome, latency_s)
        return _Over.SETTLED if over else _Over.NOTED

    def _errand(self, case: _Case, name: str) -> _Errand:
        errand = self._errands.setdefault((case.delivery.entry_id, name), _Errand())
        if len(self._errands) > _MAX_ERRANDS:
            self._errands.popitem(last=False)
        return errand

    def _now_s(self) -> float:
        return self._clock.now_ms() / 1000


def _read(batch: Sequence[Delivery]) -> tuple[list[_Case], list[Letter]]:
    """
    Return the alerts of a batch, and a letter for each entry that holds no decision.
    """
    cases: list[_Case] = []
    letters: list[Letter] = []
    for delivery in batch:
        body = (delivery.fields or {}).get(b"decision")
        if body is None:
            letters.append(letter_for(delivery, "schema_invalid", "the entry has no field 'decision'"))
            continue
        try:
            decision = decode_decision(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            letters.append(letter_for(delivery, "decode_error", scrub(f"field 'decision' cannot be read: {exc}")))
        else:
            cases.append(_Case(delivery, decision.transaction.transaction_id, build_alert(decision)))
    return cases, letters


async def _all(ends: Iterable[Coroutine[Any, Any, _End]]) -> list[_End]:
    """
    Run side by side and let each come to its end, before the first error is raised: no sending is cut off by another's trouble.
    """
    results = await asyncio.gather(*ends, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _last(ends: Sequence[_End]) -> _End:
    """
    Return what follows for an entry from the ends of its errands: over, or due again when the first of them is.
    """
    if _Over.SETTLED in ends:
        return _Over.SETTLED
    return min((end for end in ends if not isinstance(end, _Over)), default=_Over.NOTED)


def _handled(cases: Sequence[_Case], ends: Sequence[_End], letters: Sequence[Letter]) -> Handled:
    pairs = [(case.delivery.entry_id, end) for case, end in zip(cases, ends, strict=True)]
    return Handled(
        settled=[entry_id for entry_id, end in pairs if end is _Over.SETTLED],
        done=[*(entry_id for entry_id, end in pairs if end is _Over.NOTED), *(letter.entry_id for letter in letters)],
        retry={entry_id: end for entry_id, end in pairs if not isinstance(end, _Over)},
        letters=letters,
    )


def _letter(case: _Case, errand: _Errand) -> dict[str, str]:
    """
    Say what was not told and why; ``alert`` is whole, so that it can be sent again.
    """
    return {
        "transaction_id": case.transaction_id,
        "alert_id": case.alert.alert_id,
        "severity": case.alert.severity.value,
        "reason": errand.reason,
        "tries": str(errand.turn.tries),
        "error": errand.error,
        "alert": msgspec.json.encode(case.alert).decode(),
    }
