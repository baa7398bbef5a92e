"""
What every feature means, one transaction at a time, in plain Python over plain lists: slow, and meant to be obviously right.

Nothing here knows records, hashes of fields, classes or batches of arrays. Only the definitions are shared with the kernel.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from fraudstream.domain.transaction import Transaction
from fraudstream.features.definitions import FeatureSet
from fraudstream.features.syntax import Aggregate, Binary, Call, Expression, FeatureRef, Field, Number, Text, Unary, references

OUTCOMES = ("approve", "challenge", "review", "block")


@dataclass
class Event:
    """A past transaction, and what became known of it."""

    transaction: Transaction
    outcome: str = "approve"
    label: str | None = None

    @property
    def time(self) -> int:
        return self.transaction.occurred_at_ms // 1000


@dataclass
class Counted:
    """An event as a ring has it: whether it was counted at all, by resolution."""

    transaction: Transaction
    frauds: int = 0
    counted: dict[int, bool] = field(default_factory=dict)


@dataclass
class Oracle:
    """Every entity's past, in the order of arrival."""

    features: FeatureSet
    horizon_ms: int = 0
    logs: dict = field(default_factory=dict)
    rings: dict = field(default_factory=dict)
    standings: dict = field(default_factory=dict)
    frauds: set = field(default_factory=set)

    def batch(self, transactions: Sequence[Transaction], now_ms: int = 0) -> np.ndarray:
        """Touch all transactions of a call, then compute each one's features."""
        ranks, touched = [], []
        for place, one in enumerate(transactions):
            if one.transaction_id not in self.standings:
                late = self.horizon_ms > 0 and now_ms - one.occurred_at_ms // 1000 * 1000 > self.horizon_ms
                self.standings[one.transaction_id] = "late" if late else "touched"
                if not late:
                    touched.append((place, one.transaction_id))
                    self._touch(one)
            ranks.append(next((rank for rank, name in touched if name == one.transaction_id), None))
        rows = []
        for place, one in enumerate(transactions):
            late = self.standings[one.transaction_id] == "late"
            rank = place if late else -1 if ranks[place] is None else ranks[place]
            later = {name for there, name in touched if there >= rank}
            rows.append(self._row(one, late, later))
        return np.array(rows, np.float32).reshape(len(transactions), len(self.features.names))

    def outcome(self, one: Transaction, outcome: int) -> None:
        for events in self._logs_of(one):
            for event in events:
                if event.transaction.transaction_id == one.transaction_id:
                    event.outcome = OUTCOMES[outcome]

    def label(self, one: Transaction, fraud: bool) -> None:
        for events in self._logs_of(one):
            for event in events:
                if event.transaction.transaction_id == one.transaction_id:
                    event.label = "fraud" if fraud else "legitimate"
        if fraud == (one.transaction_id in self.frauds):
            return
        self.frauds ^= {one.transaction_id}
        for entity in self.features.entities:
            if not entity.log:
                change = Counted(one, frauds=1 if fraud else -1)
                self.rings.setdefault((entity.kind, _id(entity, one)), []).append(change)

    def _logs_of(self, one: Transaction):
        for entity in self.features.entities:
            if entity.log:
                yield self.logs.get((entity.kind, _id(entity, one)), [])

    def _touch(self, one: Transaction) -> None:
        for entity in self.features.entities:
            name = _id(entity, one)
            if name is None:
                continue
            if entity.log:
                log = self.logs.setdefault((entity.kind, name), [])
                log.append(Event(one))
                if len(log) > self.features.log_cap_records:
                    del log[: self.features.log_cap_records // 4]
            else:
                self.rings.setdefault((entity.kind, name), []).append(Counted(one))

    def _row(self, one: Transaction, late: bool, later: set[str]) -> list[float]:
        values: dict[str, float] = {}
        waiting = list(self.features.features)
        while waiting:
            feature = waiting.pop(0)
            if not {node.name for node in references(feature.body)} <= set(values):
                waiting.append(feature)
                continue
            if isinstance(feature.body, Aggregate):
                value = self._aggregate(feature.body, one, late, later, values)
            else:
                value = _evaluate(feature.body, one, None, values)
                value = None if value is None else float(value)
            values[feature.name] = float(np.float32(feature.default if value is None else value))
        return [values[name] for name in self.features.names]

    def _aggregate(self, body: Aggregate, one: Transaction, late: bool, later: set[str], values) -> float | None:
        entity = next(entity for entity in self.features.entities if entity.kind == body.entity)
        name = _id(entity, one)
        if name is None:
            return None
        if not entity.log:
            return self._on_ring(body, one, self.rings.get((entity.kind, name), []), later, late)
        log = self.logs.get((entity.kind, name), [])
        if late:
            past = list(log)
        else:
            own = [place for place, event in enumerate(log) if event.transaction.transaction_id == one.transaction_id]
            past = log[: own[0]] if own else []
        if body.including_current:
            past = [*past, Event(one)]
        now = one.occurred_at_ms // 1000
        end = now - body.delayed_s
        start = -math.inf if body.over_s is None else end - body.over_s
        chosen = [event for event in past if start < event.time <= end]
        chosen = [
            event
            for event in chosen
            if body.where is None or _truth(_evaluate(body.where, event.transaction, (event, one), values)) is True
        ]
        for other in body.same:
            chosen = [event for event in chosen if getattr(event.transaction, other) == getattr(one, other) is not None]
        if body.newest is not None:
            chosen = _by_time(chosen)[-body.newest :]
        return _VALUES[body.function](chosen, one, body.argument) if chosen else None

    def _on_ring(self, body: Aggregate, one: Transaction, arrived: list, later: set[str], late: bool) -> float | None:
        width_ms, _, slots = self.features.ring_resolutions[body.resolution]
        bucket_of = lambda each: each.transaction.occurred_at_ms // 1000 * 1000 // width_ms  # noqa: E731
        own = one.occurred_at_ms // 1000 * 1000 // width_ms
        last = own - body.delayed_s * 1000 // width_ms
        newest: dict[int, int] = {}
        known_frauds: dict[int, int] = defaultdict(int)
        counted = []
        for each in arrived:
            bucket = bucket_of(each)
            if each.frauds:
                if newest.get(bucket % slots) == bucket and known_frauds[bucket] + each.frauds >= 0:
                    known_frauds[bucket] += each.frauds
            elif newest.get(bucket % slots, 0) <= bucket:
                newest[bucket % slots] = bucket
                counted.append(each)

        def inside(bucket: int) -> bool:
            return newest[bucket % slots] == bucket and last - body.over_s * 1000 // width_ms < bucket <= last

        seen = [each for each in counted if inside(bucket_of(each))]
        frauds = sum(found for bucket, found in known_frauds.items() if inside(bucket))
        gone = later if late else later | {one.transaction_id}
        events = [each for each in seen if each.transaction.transaction_id not in gone]
        amounts = [each.transaction.amount_minor for each in events]
        if body.including_current:
            amounts.append(one.amount_minor)
        if not amounts:
            return None
        answers = {
            "count": len(amounts),
            "sum": sum(amounts),
            "avg": sum(amounts) / len(amounts),
            "fraud_count": frauds,
            "fraud_rate": frauds / len(amounts),
        }
        return float(answers[body.function])


def _id(entity, one: Transaction):
    values = tuple(getattr(one, name) for name in entity.fields)
    return None if None in values else values


def _stddev(events, one, argument):
    whole = [event.transaction.amount_minor for event in events]
    if len(whole) * sum(whole) ** 2 < 2**62:
        return math.sqrt(len(whole) * sum(amount * amount for amount in whole) - sum(whole) ** 2) / len(whole)
    amounts = [float(amount) for amount in whole]
    mean = sum(amounts) / len(amounts)
    squares = 0.0
    for amount in amounts:
        squares += (amount - mean) * (amount - mean)
    return math.sqrt(squares / len(amounts))


def _median(events, one, argument):
    amounts = sorted(event.transaction.amount_minor for event in events)
    return (amounts[(len(amounts) - 1) // 2] + amounts[len(amounts) // 2]) / 2


def _ratio(events, one, argument):
    centre = _median(events, one, argument)
    return one.amount_minor / centre if centre > 0 else None


def _is_new(events, one, argument):
    own = getattr(one, argument)
    return None if own is None else float(all(getattr(event.transaction, argument) != own for event in events))


def _distinct(events, one, argument):
    return len({getattr(event.transaction, argument) for event in events} - {None})


def _by_time(events):
    return sorted(events, key=lambda event: event.time)


def _since_last(events, one, argument):
    return one.occurred_at_ms // 1000 - max(event.time for event in events)


def _first_seen(events, one, argument):
    return one.occurred_at_ms // 1000 - min(event.time for event in events)


def _rank(events, one, argument):
    return sum(event.transaction.amount_minor < one.amount_minor for event in events) / len(events)


def _place(one: Transaction):
    """The centre of a cell of 1/65535 of the way from pole to pole and 1/65536 of the way around, in radians."""
    if one.latitude is None or one.longitude is None:
        return None
    row = min(math.floor((one.latitude + 90) / 180 * 65535), 65534)
    column = math.floor((one.longitude + 180) / 360 * 65536) % 65536
    return math.radians((row + 0.5) / 65535 * 180 - 90), math.radians((column + 0.5) / 65536 * 360 - 180)


def _speed(events, one, argument):
    known = [event for event in _by_time(events) if _place(event.transaction) is not None]
    here = _place(one)
    if not known or here is None:
        return None
    (lat, lon), (own_lat, own_lon) = _place(known[-1].transaction), here
    half = math.sin((own_lat - lat) / 2) ** 2 + math.cos(lat) * math.cos(own_lat) * math.sin((own_lon - lon) / 2) ** 2
    elapsed = max(one.occurred_at_ms // 1000 - known[-1].time, 60)
    return 2 * 6371.0088 * math.asin(math.sqrt(min(half, 1.0))) / (elapsed / 3600)


def _is_fraud(event):
    return event.label == "fraud"


def _since_fraud(events, one, argument):
    frauds = [event.time for event in events if _is_fraud(event)]
    return one.occurred_at_ms // 1000 - max(frauds) if frauds else None


def _clean_since_fraud(events, one, argument):
    return next((clean for clean, event in enumerate(reversed(_by_time(events))) if _is_fraud(event)), None)


def _run_length(events, one, argument):
    ordered = _by_time(events)
    run = 0
    while run < len(ordered) and _is_fraud(ordered[-1 - run]) == _is_fraud(ordered[-1]):
        run += 1
    return run


_VALUES = {
    "count": lambda events, *_: len(events),
    "sum": lambda events, *_: sum(event.transaction.amount_minor for event in events),
    "avg": lambda events, *_: sum(event.transaction.amount_minor for event in events) / len(events),
    "min": lambda events, *_: min(event.transaction.amount_minor for event in events),
    "max": lambda events, *_: max(event.transaction.amount_minor for event in events),
    "stddev": _stddev,
    "median": _median,
    "distinct": _distinct,
    "is_new": _is_new,
    "first_seen": _first_seen,
    "last_seen": _since_last,
    "time_since_last": _since_last,
    "ratio_to_baseline": _ratio,
    "rank": _rank,
    "speed_kmh": _speed,
    "fraud_count": lambda events, *_: sum(map(_is_fraud, events)),
    "fraud_rate": lambda events, *_: sum(map(_is_fraud, events)) / len(events),
    "last_label": lambda events, *_: float(_is_fraud(_by_time(events)[-1])),
    "time_since_fraud": _since_fraud,
    "clean_since_fraud": _clean_since_fraud,
    "run_length": _run_length,
}


def _evaluate(node: Expression, one: Transaction, past, values):  # noqa: PLR0911 - one return per kind of node
    """Return a number, a text, True, False, or None for unknown; in a condition ``past`` is (event, current transaction)."""
    match node:
        case Number(value):
            return value
        case Text(value):
            return value
        case FeatureRef(name):
            value = values[name]
            return None if math.isnan(value) else value
        case Field(name, current):
            return _field(name, past[1] if current and past else one, past)
        case Unary("not", operand):
            inner = _truth(_evaluate(operand, one, past, values))
            return None if inner is None else not inner
        case Unary(_, operand):
            inner = _evaluate(operand, one, past, values)
            return None if inner is None else -inner
        case Binary(operator, left, right):
            return _binary(operator, _evaluate(left, one, past, values), _evaluate(right, one, past, values))
        case Call(name, arguments):
            return _call(name, [_evaluate(argument, one, past, values) for argument in arguments])


def _field(name, one: Transaction, past):
    if name == "outcome":
        return past[0].outcome
    if name == "label":
        return past[0].label
    if name == "timestamp":
        return datetime.fromtimestamp(one.occurred_at_ms // 1000, UTC)
    attribute = {"amount": "amount_minor"}.get(name, name)
    value = getattr(one, f"{name}_minor" if "balance" in name else attribute)
    return float(value) if isinstance(value, int) else value


def _truth(value):
    return value if value is None or isinstance(value, bool) else value != 0


def _binary(operator, left, right):
    if operator == "and":
        left, right = _truth(left), _truth(right)
        return False if left is False or right is False else None if left is None or right is None else True
    if operator == "or":
        left, right = _truth(left), _truth(right)
        return True if left is True or right is True else None if left is None or right is None else False
    if left is None or right is None:
        return None
    if operator in ("+", "-", "*", "/"):
        if operator == "/" and right == 0:
            return None
        value = {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "/": lambda: left / right}[
            operator
        ]()
        return value if math.isfinite(value) else None
    return {
        "=": left == right,
        "!=": left != right,
        "<": operator == "<" and left < right,
        "<=": operator == "<=" and left <= right,
        ">": operator == ">" and left > right,
        ">=": operator == ">=" and left >= right,
    }[operator]


def _call(name, arguments):
    if name == "is_missing":
        return arguments[0] is None
    if name == "coalesce":
        return arguments[1] if arguments[0] is None else arguments[0]
    if None in arguments:
        return None
    if name == "log10":
        return math.log10(arguments[0]) if arguments[0] > 0 else None
    answers = {
        "hour": lambda at: at.hour,
        "minute": lambda at: at.minute,
        "weekday": lambda at: at.weekday(),
        "abs": abs,
        "min": min,
        "max": max,
    }
    return float(answers[name](*arguments))
