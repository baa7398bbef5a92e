"""
The daily report: what a day amounted to, and how that compares with the seven days before it.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import date, timedelta
from typing import TypeVar

import msgspec

from fraudstream.adapters.postgres_digest import Days, MerchantTotal, RuleTotal
from fraudstream.telemetry.redact import scrub

#: Lines of one table.
_LINES = 10
_T = TypeVar("_T")
_FLAGGED = ("challenge", "review", "block")


class Figure(msgspec.Struct, frozen=True):
    """
    A figure of the day, and the mean of the seven days before (None where there was none of them).
    """

    value: float
    usual: float | None

    @property
    def change(self) -> float | None:
        """
        By what share it moved; None where there is nothing to compare with.
        """
        return None if not self.usual else self.value / self.usual - 1


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """
    One currency, in minor units.
    """

    currency: str
    paid: Figure
    flagged: Figure
    blocked: Figure


class RuleLine(msgspec.Struct, frozen=True, kw_only=True):
    """
    How often one rule fired.
    """

    rule_id: str
    action: str
    shadow: bool
    hits: Figure


class MerchantLine(msgspec.Struct, frozen=True, kw_only=True):
    """
    Flagged decisions of one merchant in one currency; the name is scrubbed.
    """

    merchant: str
    currency: str
    flagged: Figure
    blocked: int
    amount_minor: int


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """
    One day. Rates are shares of all decisions. ``days`` are decisions and flagged ones of each day, the day itself last.

    ``caught``, ``missed`` and ``false_alarms`` are labels told on the day: frauds that were flagged, frauds that were approved,
    legitimate payments that were flagged.
    """

    day: date
    time_zone: str
    compared_days: int
    decisions: Figure
    outcomes: dict[str, Figure]
    flagged_rate: Figure
    blocked_rate: Figure
    degraded_rate: Figure
    p50_s: Figure | None
    p99_s: Figure | None
    money: tuple[Money, ...]
    rules: tuple[RuleLine, ...]
    merchants: tuple[MerchantLine, ...]
    caught: Figure
    missed: Figure
    false_alarms: Figure
    alerts: dict[str, Figure]
    days: tuple[tuple[date, int, int], ...]


class _Week:
    """
    Figures of one day against the mean of those days before it on which anything was decided at all.
    """

    def __init__(self, day: date, found: Days) -> None:
        self.day = day
        self.before = sorted({one.day for one in found.totals if one.day != day and one.decisions})

    def figure(self, lines: Iterable[_T], amount: Callable[[_T], float], day_of: Callable[[_T], date]) -> Figure:
        sums: dict[date, float] = defaultdict(float)
        for line in lines:
            sums[day_of(line)] += amount(line)
        return Figure(sums[self.day], sum(sums[one] for one in self.before) / len(self.before) if self.before else None)


def make_digest(day: date, time_zone: str, found: Days) -> Digest:
    """
    Put a day together; a day without decisions is one full of zeros.
    """
    week = _Week(day, found)
    totals = found.totals

    def count(outcomes: Iterable[str], amount: str = "decisions", currency: str = "") -> Figure:
        wanted = set(outcomes)
        lines = [one for one in totals if one.outcome in wanted and currency in ("", one.currency)]
        return week.figure(lines, lambda one: getattr(one, amount), lambda one: one.day)

    every = ("approve", *_FLAGGED)
    decisions = count(every)
    return Digest(
        day=day,
        time_zone=time_zone,
        compared_days=len(week.before),
        decisions=decisions,
        outcomes={name: count([name]) for name in every},
        flagged_rate=_rate(count(_FLAGGED), decisions),
        blocked_rate=_rate(count(["block"]), decisions),
        degraded_rate=_rate(count(every, "degraded"), decisions),
        p50_s=_latency(week, found, "p50_s"),
        p99_s=_latency(week, found, "p99_s"),
        money=tuple(
            Money(
                currency=code,
                paid=count(every, "amount_minor", code),
                flagged=count(_FLAGGED, "amount_minor", code),
                blocked=count(["block"], "amount_minor", code),
            )
            for code in _most({one.currency for one in totals}, lambda code: count(every, "decisions", code).value)
        ),
        rules=_rules(week, found.rules),
        merchants=_merchants(week, found.merchants),
        caught=_labels(week, found, "fraud", flagged=True),
        missed=_labels(week, found, "fraud", flagged=False),
        false_alarms=_labels(week, found, "legitimate", flagged=True),
        alerts=_alerts(week, found),
        days=tuple(_day(found, day - timedelta(days=back)) for back in range(7, -1, -1)),
    )


def _rate(part: Figure, whole: Figure) -> Figure:
    usual = part.usual / whole.usual if part.usual is not None and whole.usual else None
    return Figure(part.value / whole.value if whole.value else 0.0, usual)


def _most(keys: Iterable[_T], weight: Callable[[_T], float]) -> list[_T]:
    """
    Return the heaviest keys that weigh anything, equals in the order of their names.
    """
    weights = {key: weight(key) for key in keys}
    return [key for key in sorted(weights, key=lambda key: (-weights[key], str(key))) if weights[key]][:_LINES]


def _grouped(lines: Iterable[_T], key: Callable[[_T], Hashable]) -> dict[Hashable, list[_T]]:
    groups: dict[Hashable, list[_T]] = {}
    for line in lines:
        groups.setdefault(key(line), []).append(line)
    return groups


def _rules(week: _Week, lines: Iterable[RuleTotal]) -> tuple[RuleLine, ...]:
    groups = _grouped(lines, lambda one: (one.rule_id, one.action, one.shadow))
    hits = {key: week.figure(group, lambda one: one.hits, lambda one: one.day) for key, group in groups.items()}
    return tuple(
        RuleLine(rule_id=first.rule_id, action=first.action, shadow=first.shadow, hits=hits[key])
        for key in _most(hits, lambda key: hits[key].value)
        for first in groups[key][:1]
    )


def _merchants(week: _Week, lines: Iterable[MerchantTotal]) -> tuple[MerchantLine, ...]:
    groups = _grouped(lines, lambda one: (one.merchant, one.currency))
    flagged = {key: week.figure(group, lambda one: one.flagged, lambda one: one.day) for key, group in groups.items()}
    made = []
    for key in _most(flagged, lambda key: flagged[key].value):
        today = [one for one in groups[key] if one.day == week.day]
        made.append(
            MerchantLine(
                merchant=scrub(today[0].merchant),
                currency=today[0].currency,
                flagged=flagged[key],
                blocked=sum(one.blocked for one in today),
                amount_minor=sum(one.amount_minor for one in today),
            )
        )
    return tuple(made)


def _latency(week: _Week, found: Days, name: str) -> Figure | None:
    by_day = {one.day: getattr(one, name) for one in found.latency}
    if by_day.get(week.day) is None:
        return None
    before = [by_day[one] for one in week.before if by_day.get(one) is not None]
    return Figure(by_day[week.day], sum(before) / len(before) if before else None)


def _labels(week: _Week, found: Days, label: str, *, flagged: bool) -> Figure:
    lines = [one for one in found.labels if one.label == label and (one.outcome in _FLAGGED) == flagged]
    return week.figure(lines, lambda one: one.transactions, lambda one: one.day)


def _alerts(week: _Week, found: Days) -> dict[str, Figure]:
    groups = _grouped(found.alerts, lambda one: f"{one.channel}: {one.outcome}")
    return {
        str(key): week.figure(group, lambda one: one.alerts, lambda one: one.day)
        for key, group in sorted(groups.items(), key=lambda pair: str(pair[0]))
    }


def _day(found: Days, day: date) -> tuple[date, int, int]:
    lines = [one for one in found.totals if one.day == day]
    return day, sum(one.decisions for one in lines), sum(one.decisions for one in lines if one.outcome in _FLAGGED)
