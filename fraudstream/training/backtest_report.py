"""
A backtest in figures that a person can read: what is caught, what is disturbed, what it is worth, and how sure that is.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream.decision.policy import SEVERITY
from fraudstream.domain.decision import Outcome
from fraudstream.rules.sweep import Fired
from fraudstream.training.backtest import DAY_MS, Backtest
from fraudstream.training.intervals import MONEY_METHOD, SHARE_METHOD, Share, sum_interval, wilson
from fraudstream.training.payments import FRAUD, LEGITIMATE

#: Payments shown as examples of each kind, the largest first.
EXAMPLES = 5
#: Rules of the baseline that a rule shares most payments with.
_OVERLAPS = 5

Mask = NDArray[np.bool_]


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """
    A sum in minor units of one currency, with its interval.
    """

    currency: str
    minor: int
    low: int
    high: int


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """
    Some payments: how many, and what they are worth.
    """

    payments: int
    money: tuple[Money, ...]


class Overlap(msgspec.Struct, frozen=True, kw_only=True):
    """
    How many payments a rule shares with a rule of the baseline; ``share`` is of its own hits.
    """

    rule_id: str
    shared: int
    share: float


class RuleFigures(msgspec.Struct, frozen=True, kw_only=True):
    """
    One rule of the candidate.

    ``new_catches`` and ``new_false_positives`` are its hits on mature payments that were not flagged before: what it adds were
    it alone to be added. ``rate`` is its share of all payments. ``shadow`` rules are counted and have no say.
    """

    rule_id: str
    action: str
    shadow: bool
    changed: bool
    hits: int
    rate: float
    per_day: float
    fraud: int
    honest: int
    immature: int
    unknown: int
    precision: Share
    fraud_money: tuple[Money, ...]
    honest_money: tuple[Money, ...]
    new_catches: int
    new_false_positives: int
    errors: int
    guard_max_rate: float | None
    overlaps: tuple[Overlap, ...]


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """
    One day of the payments' own time (UTC), mature payments only but for ``payments`` and ``immature``.
    """

    day: str
    payments: int
    immature: int
    already_caught: int
    new_catches: int
    new_false_positives: int


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """
    One payment that the candidate treats otherwise; ``explanation`` is masked.
    """

    kind: str
    transaction_id: str
    occurred_at: str
    amount_minor: int
    currency: str
    before: str
    after: str
    rule_id: str
    explanation: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """
    A backtest. Only mature payments are judged; younger ones are in ``immature`` and nowhere else.

    ``new_catches`` are frauds flagged by the candidate and not before, ``lost_catches`` the other way round; likewise
    ``new_false_positives`` and ``freed`` for honest payments. ``immature_flagged`` would newly be flagged and are too young to
    say; ``immature_frauds`` of them are known as fraud already. ``unknown`` is what nobody can say.
    """

    candidate: str
    baseline: str
    first: str
    last: str
    known_at: str
    maturity_days: float
    payments: int
    judged: int
    frauds: int
    immature: int
    unknown: int
    left_out: dict[str, int]
    new_catches: Part
    lost_catches: Part
    already_caught: Part
    missed: Part
    new_false_positives: Part
    freed: Part
    immature_flagged: int
    immature_frauds: int
    stricter: int
    milder: int
    precision_of_new: Share
    caught_before: Share
    caught_after: Share
    false_positive_rate_before: Share
    false_positive_rate_after: Share
    rules: tuple[RuleFigures, ...]
    removed: tuple[str, ...]
    days: tuple[Day, ...]
    examples: tuple[Example, ...]
    methods: tuple[str, ...] = (SHARE_METHOD, MONEY_METHOD)
    notes: tuple[str, ...] = ()


def report(found: Backtest, *, known_at_ms: float, maturity_days: float) -> Report:
    """
    Return the figures of a backtest.
    """
    sides, payments = found.sides, found.payments
    before, after = found.before > 0, found.candidate.flagged
    new, gone = after & ~before, before & ~after
    frauds, honest = sides.fraud, sides.honest
    money = _Money(found)
    fraud_count, honest_count = int(frauds.sum()), int(honest.sum())
    young = new & sides.immature
    fresh, disturbed = int((new & frauds).sum()), int((new & honest).sum())
    times = payments.occurred_ms
    return Report(
        candidate=found.candidate.rules.id,
        baseline="recorded decisions" if found.baseline is None else found.baseline.rules.id,
        first=_moment(int(times.min())) if len(times) else "",
        last=_moment(int(times.max())) if len(times) else "",
        known_at=_moment(int(known_at_ms)),
        maturity_days=maturity_days,
        payments=len(payments),
        judged=fraud_count + honest_count,
        frauds=fraud_count,
        immature=int(sides.immature.sum()),
        unknown=int(sides.unknown.sum()),
        left_out=dict(payments.left_out),
        new_catches=money.part(new & frauds),
        lost_catches=money.part(gone & frauds),
        already_caught=money.part(before & after & frauds),
        missed=money.part(frauds & ~before & ~after),
        new_false_positives=money.part(new & honest),
        freed=money.part(gone & honest),
        immature_flagged=int(young.sum()),
        immature_frauds=int((young & (payments.truth == FRAUD)).sum()),
        stricter=int((found.candidate.outcome > found.before).sum()),
        milder=int((found.candidate.outcome < found.before).sum()),
        precision_of_new=wilson(fresh, fresh + disturbed),
        caught_before=wilson(int((before & frauds).sum()), fraud_count),
        caught_after=wilson(int((after & frauds).sum()), fraud_count),
        false_positive_rate_before=wilson(int((before & honest).sum()), honest_count),
        false_positive_rate_after=wilson(int((after & honest).sum()), honest_count),
        rules=tuple(_RuleFigures(found, money).of(one) for one in found.candidate.fired),
        removed=found.removed,
        days=_days(found, new),
        examples=tuple(_examples(found, new)),
        notes=(*found.notes, *_notes(found)),
    )


class _Money:
    """
    Sums the amounts of some payments by currency.
    """

    def __init__(self, found: Backtest) -> None:
        table = found.payments.table
        self._amounts = table.numbers["amount"]
        self._currency = table.texts["currency"]

    def part(self, mask: Mask) -> Part:
        rows = mask.nonzero()[0]
        return Part(payments=len(rows), money=self.of(rows))

    def of(self, rows: NDArray[np.intp]) -> tuple[Money, ...]:
        codes, amounts = self._currency.codes[rows], self._amounts[rows]
        found = []
        for code in np.unique(codes):
            mine = amounts[codes == code]
            low, high = sum_interval(mine)
            (currency,) = self._currency.words.pick(np.array([code]))
            found.append(Money(currency=currency or "", minor=int(mine.sum()), low=round(low), high=round(high)))
        return tuple(sorted(found, key=lambda one: -one.minor))


class _RuleFigures:
    def __init__(self, found: Backtest, money: _Money) -> None:
        self._found = found
        self._money = money
        times = found.payments.occurred_ms
        self._days = max(1.0, (int(times.max()) - int(times.min())) / DAY_MS) if len(times) else 1.0

    def of(self, fired: Fired) -> RuleFigures:
        found, rule, rows = self._found, fired.rule, fired.rows
        sides, quiet = found.sides, found.before[rows] == 0
        fraud, honest = sides.fraud[rows], sides.honest[rows]
        changed = rule.rule_id in found.changed
        return RuleFigures(
            rule_id=rule.rule_id,
            action=rule.action.value,
            shadow=rule.shadow,
            changed=changed,
            hits=len(rows),
            rate=len(rows) / max(1, len(found.payments)),
            per_day=len(rows) / self._days,
            fraud=int(fraud.sum()),
            honest=int(honest.sum()),
            immature=int(sides.immature[rows].sum()),
            unknown=int(sides.unknown[rows].sum()),
            precision=wilson(int(fraud.sum()), int(fraud.sum() + honest.sum())),
            fraud_money=self._money.of(rows[fraud]) if changed else (),
            honest_money=self._money.of(rows[honest]) if changed else (),
            new_catches=int((fraud & quiet).sum()),
            new_false_positives=int((honest & quiet).sum()),
            errors=fired.errors,
            guard_max_rate=rule.guard_max_rate,
            overlaps=self._overlaps(fired) if changed else (),
        )

    def _overlaps(self, fired: Fired) -> tuple[Overlap, ...]:
        run = self._found.baseline or self._found.candidate
        mine = np.zeros(len(self._found.payments), np.bool_)
        mine[fired.rows] = True
        others = [one for one in run.fired if one.rule.rule_id != fired.rule.rule_id and not one.rule.shadow]
        shared = [(int(mine[one.rows].sum()), one.rule.rule_id) for one in others]
        top = sorted((one for one in shared if one[0]), key=lambda one: (-one[0], one[1]))[:_OVERLAPS]
        return tuple(Overlap(rule_id=name, shared=count, share=count / len(fired.rows)) for count, name in top)


def _days(found: Backtest, new: Mask) -> tuple[Day, ...]:
    days = found.payments.occurred_ms // DAY_MS
    if not len(days):
        return ()
    first = int(days.min())
    places = (days - first).astype(np.intp)
    count = int(places.max()) + 1

    def per_day(mask: Mask) -> list[int]:
        daily: list[int] = np.bincount(places[mask], minlength=count).tolist()
        return daily

    sides, before, after = found.sides, found.before > 0, found.candidate.flagged
    everything = np.ones(len(days), np.bool_)
    masks = (everything, sides.immature, before & after & sides.fraud, new & sides.fraud, new & sides.honest)
    rows = zip(*map(per_day, masks), strict=True)
    return tuple(
        Day(day=_moment((first + at) * DAY_MS)[:10], payments=row[0], immature=row[1], already_caught=row[2],
            new_catches=row[3], new_false_positives=row[4])
        for at, row in enumerate(rows)
    )  # fmt: skip


def _examples(found: Backtest, new: Mask) -> Sequence[Example]:
    amounts = found.payments.table.numbers["amount"]
    shown = []
    for kind, mask in (("new catch", new & found.sides.fraud), ("new false positive", new & found.sides.honest)):
        rows = mask.nonzero()[0]
        largest = rows[np.argsort(-amounts[rows], kind="stable")[:EXAMPLES]]
        shown += [_example(found, kind, int(row)) for row in largest]
    return shown


def _example(found: Backtest, kind: str, row: int) -> Example:
    paid = found.payments.table.transaction(row)
    vector = found.payments.table.features[row]
    (hits,) = found.candidate.rules.evaluate([paid], vector[np.newaxis])
    changed = [hit for hit in hits.hits if hit.rule_id in found.changed]
    deciding = next(iter(changed or hits.hits), None)
    before = int(found.before[row])
    return Example(
        kind=kind,
        transaction_id=paid.transaction_id,
        occurred_at=_moment(paid.occurred_at_ms),
        amount_minor=paid.amount_minor,
        currency=paid.currency,
        before=SEVERITY[before].value,
        after=SEVERITY[int(found.candidate.outcome[row])].value,
        rule_id="" if deciding is None else deciding.rule_id,
        explanation="" if deciding is None else deciding.explanation,
    )


def _notes(found: Backtest) -> list[str]:
    payments, sides = found.payments, found.sides
    notes = []
    if len(payments) and sides.immature.all():
        notes.append(
            "every payment is too young to be judged: wait, look further back with --since and --until, or say with --maturity"
            " how long labels take"
        )
    elif not sides.fraud.any():
        notes.append("no mature payment is labelled as fraud: nothing can be caught, and silence counts as honest")
    silent = int((sides.honest & (payments.truth != LEGITIMATE)).sum())
    if silent:
        notes.append(f"{silent:,} mature payments without a label count as honest, because nobody reported them")
    blocked = int((sides.unknown & (payments.decided == SEVERITY.index(Outcome.BLOCK))).sum())
    if blocked:
        notes.append(f"{blocked:,} payments were blocked and have no label: what did not happen is never reported")
    notes += [
        f"rule {one.rule.rule_id} failed on {one.errors:,} payments and said nothing of them"
        for one in found.candidate.fired
        if one.errors
    ]
    return notes


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
