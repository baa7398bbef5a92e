"""
What telemetry costs: ``python benchmarks/telemetry.py``.

A line of the log; a scrape of a busy worker with a hundred rules, and its series; and the share of a decision's CPU that the
counting is. CPU time of this process, the best of several rounds, so that neighbours do not matter.
"""

import io
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import structlog
from redis import Redis

from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.evidence import Action, RuleHit
from fraudstream.local.worker import LocalWorker
from fraudstream.telemetry import exporter
from fraudstream.telemetry.logging import configure_logging
from fraudstream.telemetry.metrics import Metrics
from fraudstream.telemetry.redact import redact
from fraudstream.telemetry.report import GroupReport
from tests.support.builders import a_decision, a_transaction
from tests.support.system import a_system, append, payments, wait_until_done

BATCH = 128
ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 15


class _Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


def best(work: Callable[[], object], times: int) -> float:
    """
    Return the CPU seconds of one call.
    """
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(times):
            work()
        found.append((time.process_time() - started) / times)
    return min(found)


def log_line() -> tuple[float, float]:
    """
    Return the seconds of a canonical line, and of the redactor in it.
    """
    configure_logging(_Nowhere(), as_json=True)
    log = structlog.get_logger().bind(worker="host:31245:8ab5dc0aa2d1", group="fraud-check", stepping_in=False)
    fields = {
        "outcome": "block",
        "score": 0.9731,
        "rules": ["card_velocity", "device_burst"],
        "degraded": [],
        "latency_s": 0.0123,
    }
    event = {"worker": "host:31245:8ab5dc0aa2d1", "group": "fraud-check", "stepping_in": False, "level": "info", **fields}
    event |= {"event": "decision_flagged", "transaction_id": "txn_000123456", "timestamp": "2026-11-21T15:08:27.588514Z"}
    line = best(lambda: log.info("decision_flagged", transaction_id="txn_000123456", **fields), 3000)
    return line, best(lambda: redact(None, "info", event), 3000)


def busy() -> tuple[Metrics, GroupReport]:
    """
    Return a deciding worker's metrics with a hundred rules.
    """
    metrics = Metrics(groups=("fraud-check", "ml-scoring"), producer=False, monitor=False)
    metrics.rules.know_rules("a" * 64, [(f"rule_{number:03}", "block") for number in range(100)])
    return metrics, GroupReport(metrics, stream="transactions:raw", group="fraud-check", worker="host:1:aa")


def scrape(metrics: Metrics) -> tuple[float, int]:
    """
    Return the seconds of a scrape, and the series.
    """
    page = exporter.serve(metrics, 0)
    url = f"http://127.0.0.1:{page.port}/metrics"

    def get() -> bytes:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bytes(reply.read())

    seconds = best(get, 5)
    lines = [line for line in get().splitlines() if line and not line.startswith(b"#")]
    page.close()
    return seconds, len(lines)


def counting(report: GroupReport) -> float:
    """
    Return the seconds that a batch's reports take for one transaction: one in thirty is flagged, one in two has a rule hit.
    """
    configure_logging(_Nowhere(), as_json=True, level="warning")
    plain, flagged = _decision(Outcome.APPROVE), _decision(Outcome.BLOCK)
    decisions = [flagged if number % 30 == 0 else plain for number in range(BATCH)]
    answers, latencies = ["emitted"] * BATCH, [0.02] * BATCH

    def batch() -> None:
        report.read(BATCH)
        for step in ("decode", "touch", "features", "rules", "complete"):
            report.timed(step, 0.004)
        report.touched(["first"] * BATCH)
        report.completed(answers)
        report.decided(decisions, latencies)

    return best(batch, 20) / BATCH


def deciding(transactions: int = 8000) -> tuple[float, float]:
    """
    Return the CPU seconds that a worker of both deciding groups spends on a transaction, with telemetry and without.

    Without: a worker whose reports count and log nothing. Two turns each, the better one counts.
    """
    found = {"on": 9.0, "off": 9.0}
    for _ in range(2):
        found = {kind: min(seconds, _worker_cpu(kind, transactions)) for kind, seconds in found.items()}
    return found["on"], found["off"]


def _worker_cpu(kind: str, transactions: int) -> float:
    groups = ("fraud-check", "ml-scoring")
    with a_system([]) as system, Redis.from_url(system.valkey.url) as client:
        system.set(PYTHONPATH=str(ROOT))
        worker = _Worker(",".join(groups), environment=system.environment())
        worker.kind = kind
        try:
            worker.start()
            append(client, payments(500, seed=1))
            wait_until_done(client, groups)
            before = worker.cpu_s()
            append(client, payments(transactions, seed=2))
            wait_until_done(client, groups)
            return (worker.cpu_s() - before) / transactions
        finally:
            worker.close()


class _Worker(LocalWorker):
    """
    A worker that reports, or one that does not.
    """

    kind = "on"

    def _command(self) -> list[str]:
        command = super()._command()
        return command if self.kind == "on" else [command[0], str(ROOT / "benchmarks" / "silent_worker.py"), *command[3:]]

    def cpu_s(self) -> float:
        """
        Return the processor time that it used so far.
        """
        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)


def _decision(outcome: Outcome) -> Decision:
    hits = (RuleHit(rule_id="rule_001", action=Action.BLOCK),) if outcome is Outcome.BLOCK else ()
    return a_decision(a_transaction(transaction_id="txn_1"), outcome=outcome, rule_hits=hits)


def main() -> None:
    """
    Print the figures.
    """
    line, redactor = log_line()
    metrics, report = busy()
    counted = counting(report)
    seconds, series = scrape(metrics)
    print(f"log line             {line * 1e6:8.1f} us, of which the redactor {redactor * 1e6:.1f}")
    print(f"scrape, CPU          {seconds * 1e3:8.1f} ms both ends, {series} series")
    print(f"counting, alone      {counted * 1e6:8.1f} us per transaction")
    on, off = deciding()
    print(f"deciding             {on * 1e6:8.1f} us with telemetry, {off * 1e6:.1f} without: {on / off - 1:.1%}")
    print(f"counting's share     {counted / on:8.1%} of the CPU of a decision")


if __name__ == "__main__":
    main()
