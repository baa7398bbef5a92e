"""
How fast the rules are on this machine, on one core: a batch of transactions in, hits with their explanations out.
"""

import time
from collections.abc import Sequence

import msgspec

from fraudstream.rules.workload import Workload, build_workload

#: Transactions that one pass goes through; the best of the passes counts.
_TRANSACTIONS = 16_384


class RulesCase(msgspec.Struct, frozen=True, kw_only=True):
    """
    One measurement: so many rules, so many entries in each of three lists, so many transactions in a batch.
    """

    rules: int
    list_entries: int
    batch: int
    transactions_per_second: float
    hit_ratio: float


#: Numbers of rules that are measured when nothing else is asked for.
DEFAULT_RULES: Sequence[int] = (50, 200)


def bench_rules(rules: Sequence[int], *, list_entries: int, batch: int, seconds: float) -> list[RulesCase]:
    """
    Measure each number of rules for about so long, columns built from the transactions every time.

    Args:
        rules: How many rules each case has.
        list_entries: Entries of each of three lists.
        batch: Transactions evaluated at once.
        seconds: How long each case is repeated; at least three passes.
    """
    return [_measure(many, list_entries, batch, seconds) for many in rules]


def _measure(rules: int, entries: int, batch: int, seconds: float) -> RulesCase:
    work = build_workload(rules=rules, list_entries=entries, transactions=_TRANSACTIONS)
    _, hits = _pass(work, batch)
    best, passes, until = float("inf"), 0, time.perf_counter() + seconds
    while passes < 3 or time.perf_counter() < until:
        best = min(best, _pass(work, batch)[0])
        passes += 1
    return RulesCase(
        rules=rules,
        list_entries=entries,
        batch=batch,
        transactions_per_second=round(_TRANSACTIONS / best, 1),
        hit_ratio=round(hits / _TRANSACTIONS, 4),
    )


def _pass(work: Workload, batch: int) -> tuple[float, int]:
    """
    Return the seconds of one pass, and how many transactions were hit.
    """
    hits = 0
    started = time.perf_counter()
    for at in range(0, _TRANSACTIONS, batch):
        rows = work.rules.evaluate(work.transactions[at : at + batch], work.matrix[at : at + batch])
        hits += sum(1 for row in rows if row.hits)
    return time.perf_counter() - started, hits
