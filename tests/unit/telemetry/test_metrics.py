import json
import math
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fraudstream.domain.decision import Decision, Outcome
from fraudstream.domain.errors import InvalidSettings
from fraudstream.domain.evidence import Fallback
from fraudstream.settings import GROUPS
from fraudstream.telemetry import exporter, health
from fraudstream.telemetry.labels import GROUP_STREAMS
from fraudstream.telemetry.metrics import Metrics
from tests.support.builders import a_decision, a_transaction
from tests.support.tools import needs

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


def decided(transaction_id: str = "txn_1", channel: str | None = None, **changes: Any) -> Decision:
    """
    Return a block, by default of a payment that names no channel.
    """
    return a_decision(a_transaction(transaction_id=transaction_id, channel=channel), outcome=Outcome.BLOCK, **changes)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"fraudstream_{name}", labels)


def families(metrics: Metrics) -> set[str]:
    return {family.name for family in metrics.registry.collect() if family.name.startswith("fraudstream")}


def test_every_metric_says_what_it_means_in_a_sentence():
    for described in Metrics().catalogue():
        assert described.help.endswith("."), described.name
        assert len(described.help) > 20, described.name


def test_names_follow_the_conventions():
    units = (
        "_total",
        "_seconds",
        "_entries",
        "_bytes",
        "_ratio",
        "_info",
        "_events",
        "_consumers",
        "_unknown",
        "_state",
        "_psi",
        "_decisions",
        "_clients",
        "_keys",
        "_ok",
        "_successful",
        "_storm",
    )

    for described in Metrics().catalogue():
        assert described.name.startswith("fraudstream_")
        assert described.name.endswith(units), described.name
        assert (described.type == "counter") == described.name.endswith("_total"), described.name


@pytest.mark.parametrize("name", sorted({label for row in Metrics().catalogue() for label in row.labels}))
def test_no_label_could_hold_an_id_of_a_person_or_payment(name: str):
    assert name in {
        "action", "channel", "feature", "group", "label", "level", "list", "model", "outcome", "provider", "python",
        "reason", "result",
        "revision", "role", "rule_id", "server", "severity", "sink", "stage", "state", "stream", "table", "version",
    }  # fmt: skip


@needs("promtool")
def test_prometheus_own_linter_accepts_the_page():
    metrics = Metrics()
    metrics.decided(decided(), 0.01)

    page = generate_latest(metrics.registry)
    linted = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)

    assert linted.stdout + linted.stderr == b""
    assert linted.returncode == 0


def test_counters_stand_at_zero_before_the_first_event():
    metrics = Metrics()

    assert value(metrics, "completions_total", group="ml-scoring", result="absent") == 0
    assert value(metrics, "decisions_total", outcome="block", channel="none") == 0
    assert value(metrics, "dlq_events_total", stream="transactions:raw", reason="card_number") == 0
    assert value(metrics, "notifications_total", channel="slack", outcome="undeliverable") == 0


def test_gauges_with_labels_claim_nothing_before_they_are_set():
    metrics = Metrics()

    assert value(metrics, "group_lag_entries", stream="transactions:raw", group="fraud-check") is None


def test_groups_read_the_streams_of_the_settings():
    assert tuple(GROUP_STREAMS) == GROUPS


def test_a_process_exposes_only_what_it_can_report():
    recorder = families(Metrics(groups=["recorder"], producer=False, monitor=False))
    producer = families(Metrics(groups=[], monitor=False))

    assert "fraudstream_sink_writes" in recorder
    assert not recorder & {"fraudstream_decisions", "fraudstream_notifications", "fraudstream_producer_events"}
    assert producer == {"fraudstream_build_info", "fraudstream_log_messages", "fraudstream_producer_events"}


def test_what_a_process_does_not_expose_can_still_be_counted():
    metrics = Metrics(groups=["recorder"])

    metrics.decided(decided(), 0.1)

    assert value(metrics, "decisions_total", outcome="block", channel="none") is None


def test_partitions_have_series_of_their_own():
    metrics = Metrics(groups=["fraud-check"], streams=["transactions:raw:{p00}", "transactions:raw:{p01}"])

    labels = {"stream": "transactions:raw:{p01}", "group": "fraud-check", "outcome": "scored"}
    assert value(metrics, "events_processed_total", **labels) == 0


def test_a_decision_is_counted_with_its_outcome_reasons_and_latency():
    metrics = Metrics()

    metrics.decided(decided(degraded=(Fallback.MODEL_DEADLINE,)), 0.25)

    assert value(metrics, "decisions_total", outcome="block", channel="none") == 1
    assert value(metrics, "decisions_degraded_total", reason="model_deadline") == 1
    assert value(metrics, "decision_latency_seconds_bucket", stream="transactions:raw", le="0.25") == 1
    assert value(metrics, "decision_latency_seconds_bucket", stream="transactions:raw", le="0.15") == 0


def test_the_models_scores_are_counted_by_model_and_absent_ones_are_not():
    metrics = Metrics()

    metrics.decided(decided(probability=0.42, model="0123456789ab" + "f" * 52), 0.1)
    metrics.decided(decided(probability=None, model=""), 0.1)

    assert value(metrics, "model_score_ratio_bucket", model="0123456789ab", le="0.5") == 1
    assert value(metrics, "model_score_ratio_bucket", model="0123456789ab", le="0.4") == 0
    assert value(metrics, "model_score_ratio_count", model="") is None


def test_a_channel_that_a_producer_made_up_opens_no_series():
    metrics = Metrics()

    metrics.decided(decided(channel="txn-4711"), 0.1)

    assert value(metrics, "decisions_total", outcome="block", channel="other") == 1
    assert value(metrics, "decisions_total", outcome="block", channel="txn-4711") is None


def test_only_slow_decisions_name_their_transaction():
    metrics = Metrics()

    metrics.decided(decided("quick"), 0.01)
    metrics.decided(decided("slow"), 0.06)

    page = generate_openmetrics(metrics.registry).decode()
    assert '{transaction_id="slow"}' in page
    assert "quick" not in page


@pytest.mark.parametrize(("length", "kept"), [(114, True), (115, False), (128, False)])
def test_an_id_too_long_for_an_exemplar_is_left_out_and_still_counted(length: int, kept: bool):
    metrics = Metrics()

    metrics.decided(decided("x" * length), 0.1)

    page = generate_openmetrics(metrics.registry).decode()
    assert (f'# {{transaction_id="{"x" * length}"}}' in page) == kept
    assert value(metrics, "decision_latency_seconds_count", stream="transactions:raw") == 1


def test_answers_of_a_batch_are_counted_by_kind():
    metrics = Metrics()

    metrics.decisions.touched("fraud-check", {"first": 2, "done": 1})
    metrics.decisions.completed("ml-scoring", {"emitted": 1, "gone": 1})

    assert value(metrics, "touches_total", group="fraud-check", result="first") == 2
    assert value(metrics, "touches_total", group="fraud-check", result="done") == 1
    assert value(metrics, "completions_total", group="ml-scoring", result="gone") == 1


def test_a_worker_is_in_one_state_at_a_time():
    metrics = Metrics()

    metrics.worker.changed("draining")

    states = {state: value(metrics, "worker_state", state=state) for state in ("starting", "running", "draining", "stopped")}
    assert states == {"starting": 0, "running": 0, "draining": 1, "stopped": 0}


def test_a_new_rule_set_replaces_the_version_and_opens_its_rules_at_zero():
    metrics = Metrics()
    metrics.rules.know_rules("a" * 64, [("R1", "block")])

    metrics.rules.know_rules("b" * 64, [("R1", "block"), ("R2", "review")])

    assert value(metrics, "ruleset_info", version="b" * 12) == 1
    assert value(metrics, "ruleset_info", version="a" * 12) is None
    assert value(metrics, "rule_hits_total", rule_id="R2", action="review") == 0


def test_a_loaded_model_and_a_sink_open_their_series():
    metrics = Metrics()

    metrics.models.know_models([("fraud", "1", "champion")], "CPUExecutionProvider")
    metrics.sinks.know_sink("postgres", ["approved_transactions"])

    assert value(metrics, "model_info", model="fraud", version="1", provider="CPUExecutionProvider", role="champion") == 1
    assert value(metrics, "model_score_ratio_count", model="fraud") == 0
    assert value(metrics, "sink_writes_total", sink="postgres", outcome="failed") == 0
    assert value(metrics, "sink_rows_total", sink="postgres", table="approved_transactions") == 0


def test_a_worker_stays_under_a_thousand_series():
    metrics = Metrics(groups=["fraud-check", "ml-scoring"], monitor=False)
    metrics.rules.know_rules("a" * 64, [(f"R{number:03}", "block") for number in range(100)])
    metrics.models.know_models([("fraud", "1", "champion")], "CPUExecutionProvider")

    samples = sum(len(family.samples) for family in metrics.registry.collect())

    assert samples < 1000


def get(port: int, headers: dict[str, str] | None = None) -> tuple[str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers or {})
    with urllib.request.urlopen(request, timeout=5) as reply:
        return reply.headers["Content-Type"], reply.read().decode()


def test_the_page_is_served_as_text_and_as_openmetrics_with_exemplars():
    metrics = Metrics()
    metrics.decided(decided("txn_77"), 0.2)
    page = exporter.serve(metrics, 0)

    plain_type, plain = get(page.port)
    open_type, opened = get(page.port, OPENMETRICS)
    page.close()

    assert plain_type.startswith("text/plain")
    assert "fraudstream_decisions_total" in plain
    assert open_type.startswith("application/openmetrics-text")
    latency = next(f for f in text_string_to_metric_families(opened) if f.name == "fraudstream_decision_latency_seconds")
    exemplars = [sample.exemplar.labels for sample in latency.samples if sample.exemplar]
    assert exemplars == [{"transaction_id": "txn_77"}]


def test_a_free_port_is_announced_in_a_file_until_the_page_is_closed(tmp_path: Path):
    page = exporter.serve(Metrics(), 0, tmp_path / "sd", name="worker-a")

    announced = json.loads((tmp_path / "sd" / "worker-a.json").read_text())
    page.close()

    assert announced == [{"targets": [f"127.0.0.1:{page.port}"], "labels": {"job": "fraudstream", "worker": "worker-a"}}]
    assert list((tmp_path / "sd").iterdir()) == []


def test_a_taken_port_is_a_settings_problem_that_says_what_to_do():
    page = exporter.serve(Metrics(), 0)

    with pytest.raises(InvalidSettings, match="choose another, 0 for a free one, or none"):
        exporter.serve(Metrics(), page.port)

    page.close()


def test_the_port_is_free_again_after_closing():
    page = exporter.serve(Metrics(), 0)
    page.close()

    again = exporter.serve(Metrics(), page.port)
    again.close()

    assert again.port == page.port


def test_health_sees_a_live_loop_a_stuck_one_and_nobody_there():
    metrics = Metrics(groups=["fraud-check"])
    page = exporter.serve(metrics, 0)
    url = f"http://127.0.0.1:{page.port}/metrics"

    alive = health.problem(url, time.time())
    stuck = health.problem(url, time.time() + 60)
    page.close()
    gone = health.problem(url, time.time())

    assert alive is None
    assert "the loop last came round 60 s ago" in str(stuck)
    assert "does not answer" in str(gone)


def test_health_of_a_process_without_a_loop_is_that_it_answers():
    page = exporter.serve(Metrics(groups=[]), 0)

    found = health.problem(f"http://127.0.0.1:{page.port}/metrics", math.inf)
    page.close()

    assert found is None


def test_many_observed_at_once_are_what_they_are_one_by_one():
    one_by_one, at_once = Metrics(), Metrics()
    decisions = [
        decided(f"t{at}", channel=channel, probability=probability, model="m" * 64)
        for at, (channel, probability) in enumerate([("web", 0.0), ("pos", 0.5), ("web", 1.0), (None, None), ("else", 0.0625)])
    ]
    latencies_s = [0.0, 0.0009765625, 0.25, 99.0, 0.0625]  # sums of these are exact in any order

    for decision, latency_s in zip(decisions, latencies_s, strict=True):
        one_by_one.decided(decision, latency_s)
    at_once.decided_all(decisions, latencies_s)
    at_once.decided_all([], [])

    pages = [
        [
            line
            for line in generate_latest(metrics.registry).decode().splitlines()
            if line.startswith(("fraudstream_decision", "fraudstream_model_score_ratio")) and "_created" not in line
        ]
        for metrics in (one_by_one, at_once)
    ]
    assert pages[0] == pages[1]
    assert len(pages[0]) > 20


def test_of_a_batch_the_slowest_decision_is_named():
    metrics = Metrics()

    metrics.decided_all([decided("slow"), decided("slowest"), decided("quick")], [0.06, 0.07, 0.01])

    page = generate_openmetrics(metrics.registry).decode()
    assert '{transaction_id="slowest"}' in page
    assert '"slow"' not in page
