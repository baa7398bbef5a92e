import pytest

from fraudstream.adapters.measured_store import MeasuredDecisionStore
from fraudstream.domain.decision import LabelValue, Outcome
from fraudstream.domain.errors import DecisionStoreUnavailable
from fraudstream.telemetry.metrics import Metrics
from tests.support.builders import a_decision, a_label, a_transaction
from tests.support.stores import MemoryDecisionStore


class Measured:
    def __init__(self) -> None:
        self.memory = MemoryDecisionStore()
        self.metrics = Metrics()
        self.store = MeasuredDecisionStore(self.memory, self.metrics)

    def value(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"fraudstream_{name}", {"sink": "postgres", **labels})
        assert value is not None
        return value


@pytest.fixture
def measured() -> Measured:
    return Measured()


async def test_new_rows_are_counted_by_table_and_known_ones_are_not(measured: Measured) -> None:
    old = a_decision()
    await measured.store.record([old])
    twin = a_transaction()

    await measured.store.record(
        [old, a_decision(outcome=Outcome.BLOCK), a_decision(twin), a_decision(twin, outcome=Outcome.REVIEW)]
    )

    assert measured.value("sink_rows_total", table="approved_transactions") == 2
    assert measured.value("sink_rows_total", table="fraud_transactions") == 1
    assert measured.value("sink_writes_total", outcome="committed") == 2
    assert measured.value("sink_write_duration_seconds_count") == 2
    assert measured.value("sink_last_commit_timestamp_seconds") > 0


async def test_a_batch_that_met_no_server_counts_as_retried(measured: Measured) -> None:
    measured.memory.away = True

    with pytest.raises(DecisionStoreUnavailable):
        await measured.store.record([a_decision()])

    assert measured.value("sink_writes_total", outcome="retried") == 1
    assert measured.value("sink_rows_total", table="approved_transactions") == 0
    assert measured.value("sink_write_duration_seconds_count") == 0


async def test_a_batch_with_a_refused_row_counts_as_failed(measured: Measured) -> None:
    measured.memory.poison["bad"] = "no"

    recorded = await measured.store.record([a_decision(), a_decision(a_transaction(transaction_id="bad"))])

    assert measured.value("sink_writes_total", outcome="failed") == 1
    assert measured.value("sink_rows_total", table="approved_transactions") == 1
    assert recorded.refused == {"bad": "no"}


async def test_labels_are_counted_by_what_they_say(measured: Measured) -> None:
    await measured.store.record_labels([a_label(), a_label(), a_label(label=LabelValue.UNSURE)])

    assert measured.value("sink_rows_total", table="labels") == 3
    assert measured.metrics.registry.get_sample_value("fraudstream_feedback_labels_total", {"label": "fraud"}) == 2
    assert measured.metrics.registry.get_sample_value("fraudstream_feedback_labels_total", {"label": "unsure"}) == 1
