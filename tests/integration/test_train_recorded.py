"""
``fraudstream train --from-database``: from decisions and labels on a real database to a model folder.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from fraudstream.adapters.postgres import PostgresDecisionStore
from fraudstream.app.recorded import read_recorded
from fraudstream.domain.decision import Decision, Label, LabelValue, Outcome
from fraudstream.domain.errors import InvalidSettings
from fraudstream.features.load import load_features
from fraudstream.scoring.load import load_model
from fraudstream.training.dataset import DAY_MS
from fraudstream.training.recorded import BLOCKED, TOO_YOUNG, UNSURE
from tests.support.builders import NOW_MS, a_decision, a_label, a_transaction
from tests.support.shell import answer, run, servers_of

DEFINITIONS = "feature amount_minor = amount feature night = hour(timestamp) <= 6"
FEATURES = load_features(DEFINITIONS)
#: An hour apart, the last one now; every fifth is a fraud, and frauds are large.
ROWS = 1200
UNTIL = datetime.fromtimestamp(NOW_MS / 1000, UTC)


def decided(number: int, *, feature_set: str = FEATURES.id) -> Decision:
    rng = np.random.default_rng(number)
    amount = 1000 + int(rng.integers(0, 900)) + (600 if number % 5 == 0 else 0)
    paid = a_transaction(
        transaction_id=f"t_{number}",
        card_id=f"card_{number % 50}",
        amount_minor=amount,
        occurred_at_ms=NOW_MS - (ROWS - number) * 3_600_000,
    )
    vector = np.array([amount, np.nan], dtype="<f4").tobytes()
    outcome = Outcome.BLOCK if number % 100 == 1 else Outcome.APPROVE
    at = UNTIL + timedelta(seconds=number)
    return a_decision(paid, vector=vector, feature_set=feature_set, outcome=outcome, received_at=at, decided_at=at)


def labels() -> list[Label]:
    told = [
        a_label(label_id=f"l_{number}", transaction_id=f"t_{number}", label=LabelValue.FRAUD, labelled_at=UNTIL)
        for number in range(0, ROWS, 5)
    ]
    # The second word counts: what was called a fraud was none, and of one nobody is sure.
    later = UNTIL + timedelta(days=1)
    told.append(a_label(label_id="l_back", transaction_id="t_10", label=LabelValue.LEGITIMATE, labelled_at=later))
    told.append(a_label(label_id="l_unsure", transaction_id="t_15", label=LabelValue.UNSURE, labelled_at=later))
    return told


@pytest.fixture
async def recorded(database: str) -> str:
    store = PostgresDecisionStore(database)
    await store.record([decided(number) for number in range(ROWS)])
    await store.record([decided(ROWS + 1, feature_set="0" * 16)])
    await store.record_labels(labels())
    await store.close()
    return database


async def test_decisions_are_read_with_what_is_known_of_them_since(recorded: str) -> None:
    found = await read_recorded(recorded, FEATURES, until=UNTIL, delay_days=7)

    blocked = len([number for number in range(ROWS - 7 * 24 + 1) if number % 100 == 1])
    assert found.left_out == {TOO_YOUNG: 7 * 24 - 1, UNSURE: 1, BLOCKED: blocked}
    assert len(found.kept) + sum(found.left_out.values()) == ROWS
    assert int(found.kept.fraud.sum()) == len(range(0, ROWS - 7 * 24 + 1, 5)) - 2
    assert found.kept.matrix[0].tobytes() == decided(0).vector


async def test_span_is_cut_by_the_payments_own_time(recorded: str) -> None:
    since = UNTIL - timedelta(days=20)

    found = await read_recorded(recorded, FEATURES, since=since, until=UNTIL, delay_days=0)

    assert found.kept.occurred_ms.min() == NOW_MS - 20 * DAY_MS
    assert found.kept.occurred_ms.max() == NOW_MS - 3_600_000


async def test_definitions_that_decided_nothing_are_told_which_did(recorded: str) -> None:
    other = load_features("feature amount_minor = amount")

    with pytest.raises(
        InvalidSettings, match=rf"by feature set {other.id}; on record are {FEATURES.id} \(1,200\), 0{{16}} \(1\)"
    ):
        await read_recorded(recorded, other)


async def test_command_writes_a_model_of_what_was_recorded(recorded: str, tmp_path: Path) -> None:
    definitions, output = tmp_path / "my.features", tmp_path / "model"
    definitions.write_text(DEFINITIONS)
    given = servers_of("redis://127.0.0.1:1", recorded)
    words = ["train", "--from-database", "--features", str(definitions), "--until", "2026-01-15", "--output", str(output)]

    shown = await answer(given, *words, "--quiet")

    model = load_model(output, FEATURES.names, feature_set=FEATURES.id)
    assert shown["sha256"] == model.id
    scores = model.score(np.array([[1100, np.nan], [2300, np.nan]], dtype=np.float32))
    assert scores[1] > 5 * scores[0]
    card = (output / "README.md").read_text()
    assert "Decisions on record: " in card
    assert "Features are those that the decisions were made from." in card
    assert "`fraudstream train --from-database --until 2026-01-15" in card


async def test_two_histories_at_once_are_refused(tmp_path: Path) -> None:
    refused = await run({**os.environ}, "train", "--from-database", "--transactions", str(tmp_path / "x.csv"))

    assert refused.returncode == 2
    assert b"not from both" in refused.stderr
