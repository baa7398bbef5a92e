"""
How fast a backtest is on this machine, on one core: recorded rows as Arrow columns in, figures by row out.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from fraudstream.adapters.decision_tables import read_decisions
from fraudstream.adapters.tables import write_table
from fraudstream.decision.policy import DecisionPolicy
from fraudstream.rules.workload import FEATURES, build_workload
from fraudstream.training.backtest import backtest
from fraudstream.training.backtest_workload import FEATURE_SET, recorded_workload
from fraudstream.training.payments import RecordedTable, payments_of

#: Passes; the best of them counts.
_PASSES = 5


class BacktestCase(msgspec.Struct, frozen=True, kw_only=True):
    """
    One measurement. ``rows_per_second`` is by the clock, ``rows_per_cpu_second`` by the processor time of this process, which
    other work on the machine does not lengthen; both count from Arrow columns in memory to the outcome of every row.
    ``rows_per_second_from_file`` counts reading the Parquet file as well.
    """

    rules: int
    rows: int
    list_entries: int
    hits: int
    rows_per_second: float
    rows_per_cpu_second: float
    rows_per_second_from_file: float


def bench_backtest(*, rules: int, rows: int, list_entries: int) -> BacktestCase:
    """
    Measure a backtest against the recorded decisions.

    Args:
        rules: Rules of the candidate, as ``build_workload`` makes them.
        rows: Recorded payments.
        list_entries: Entries of each of three lists.
    """
    candidate = build_workload(rules=rules, list_entries=list_entries, transactions=1).rules
    recorded = recorded_workload(rows, list_entries=list_entries)

    def judged(table: RecordedTable) -> int:
        payments = payments_of(table, FEATURE_SET, FEATURES)
        found = backtest(candidate, None, payments, DecisionPolicy(), known_at_ms=2e15)
        return sum(len(one.rows) for one in found.candidate.fired)

    hits = judged(recorded)
    clock = processor = whole = float("inf")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.parquet"
        write_table(path, recorded.rows)
        for _ in range(_PASSES):
            started, cpu = time.perf_counter(), time.process_time()
            judged(recorded)
            clock, processor = min(clock, time.perf_counter() - started), min(processor, time.process_time() - cpu)
        for _ in range(_PASSES):
            started = time.perf_counter()
            judged(read_decisions(path, since=None, until=None))
            whole = min(whole, time.perf_counter() - started)
    return BacktestCase(
        rules=rules,
        rows=rows,
        list_entries=list_entries,
        hits=hits,
        rows_per_second=round(rows / clock, 1),
        rows_per_cpu_second=round(rows / processor, 1),
        rows_per_second_from_file=round(rows / whole, 1),
    )
