"""
Precision and recall on record, as the monitor shows them when labels have come.
"""

from datetime import UTC, datetime, timedelta

import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.adapters.postgres_maturity import Matured, MaturedDecisions
from fraudstream.app.maturity import MaturityBoard
from fraudstream.domain.decision import Decision, Label, LabelValue, Outcome
from fraudstream.telemetry.metrics import Metrics
from tests.support.builders import a_decision, a_transaction

NOW = datetime.now(UTC).replace(microsecond=0)
FRAUD, LEGITIMATE, UNSURE = LabelValue.FRAUD, LabelValue.LEGITIMATE, LabelValue.UNSURE
DAY_S = 86_400.0


def decided(name: str, outcome: Outcome, probability: float, *, model: str = "m" * 64, days_ago: float = 1) -> Decision:
    return a_decision(
        a_transaction(transaction_id=name),
        outcome=outcome,
        probability=probability,
        model=model,
        decided_at=NOW - timedelta(days=days_ago),
    )


def told(name: str, value: LabelValue, *, hours_ago: float = 1) -> Label:
    return Label(
        label_id=f"{name}-{hours_ago}",
        transaction_id=name,
        label=value,
        source="chargeback",
        labelled_at=NOW - timedelta(hours=hours_ago),
    )


async def matured(url: str) -> list[Matured]:
    decisions = await MaturedDecisions.connect(url)
    try:
        return await decisions.matured(span_s=30 * DAY_S, flagged_from=0.5)
    finally:
        await decisions.close()


async def test_decisions_are_counted_by_their_youngest_label_and_by_model(database: str) -> None:
    store = PostgresDecisionStore(database)
    await store.open()
    await store.record(
        [
            decided("caught", Outcome.BLOCK, 0.9),
            decided("by_rule", Outcome.REVIEW, 0.2),
            decided("missed", Outcome.APPROVE, 0.1),
            decided("false_alarm", Outcome.REVIEW, 0.8),
            decided("quiet", Outcome.APPROVE, 0.1),
            decided("unsure", Outcome.BLOCK, 0.9),
            decided("unknown", Outcome.BLOCK, 0.9),
            decided("old", Outcome.BLOCK, 0.9, days_ago=40),
            decided("of_another", Outcome.BLOCK, 0.9, model="n" * 64),
            decided("without_model", Outcome.BLOCK, 0.9, model=""),
        ]
    )
    await store.record_labels(
        [
            *(told(name, FRAUD) for name in ("caught", "by_rule", "old", "of_another", "without_model")),
            told("missed", LEGITIMATE, hours_ago=9),
            told("missed", FRAUD, hours_ago=2),
            told("false_alarm", LEGITIMATE),
            told("quiet", LEGITIMATE),
            told("unsure", UNSURE),
        ]
    )
    await store.close()

    found = {one.model[:1]: one for one in await matured(database)}

    one = found["m"]
    assert set(found) == {"m", "n"}
    assert (one.frauds, one.legitimate) == (3, 2)
    assert (one.decision_right, one.decision_wrong, one.model_right, one.model_wrong) == (2, 1, 1, 1)


async def test_labels_are_found_for_named_transactions(database: str) -> None:
    store = PostgresDecisionStore(database)
    await store.open()
    await store.record_labels([told("a", FRAUD), told("b", LEGITIMATE), told("c", UNSURE)])
    await store.close()
    decisions = await MaturedDecisions.connect(database)

    found = await decisions.frauds(["a", "b", "c", "d"])
    await decisions.close()

    assert found == {"a": True, "b": False}


def test_what_is_no_longer_known_is_no_longer_shown() -> None:
    metrics = Metrics(groups=(), producer=False, monitor=True)
    board = MaturityBoard(metrics.monitor)
    counts = {"decision_right": 2, "decision_wrong": 2, "model_right": 0, "model_wrong": 0}

    board.show([Matured(model="m" * 64, frauds=8, legitimate=5, **counts)])
    first = shown(metrics)
    board.show([Matured(model="n" * 64, frauds=0, legitimate=5, **{**counts, "decision_right": 0})])

    assert first == {
        ("model_labelled_decisions", "mmmmmmmmmmmm"): 13,
        ("model_recall_ratio", "mmmmmmmmmmmm"): 0,
        ("decision_precision_ratio", "mmmmmmmmmmmm"): pytest.approx(0.5),
        ("decision_recall_ratio", "mmmmmmmmmmmm"): pytest.approx(0.25),
    }
    assert shown(metrics) == {("model_labelled_decisions", "nnnnnnnnnnnn"): 5, ("decision_precision_ratio", "nnnnnnnnnnnn"): 0}


def shown(metrics: Metrics) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if "model" in sample.labels:
                key = (sample.name.removeprefix("fraudstream_"), sample.labels["model"])
                found[key] = found.get(key, 0) + sample.value
    return found
