"""
A small history through Redis and a fleet gives the scores of the replay, labels included; and a difference is noticed.
"""

import json
from pathlib import Path

import pytest

from fraudstream.app.demo import Progress
from fraudstream.app.model_parity import ParityPlan, run_model_parity
from fraudstream.features.load import load_features
from fraudstream.producers.plan import demo_plan
from fraudstream.producers.synthetic import generate
from tests.support.models import a_rival
from tests.support.system import QUICK

#: Labels are two days late; 512 transactions of this history last six days, and the replay must not tell their labels together.
DEFINITIONS = """
version 1
entity user     log
entity merchant log
feature amount_minor = amount
feature user_count_1d = count() by user_id over 1d
feature user_median = median(amount) by user_id
feature merchant_fraud_rate = fraud_rate() by merchant over 30d delayed 2d
"""


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """
    Write two weeks of the synthetic world with its truth.
    """
    world = generate(demo_plan(5, end_ms=1_740_960_000_000, transactions=1_200))
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps({**json.loads(one.body), "is_fraud": one.fraud}) + "\n" for one in world))
    return path


async def test_a_fleet_gives_the_scores_of_the_replay_bit_for_bit(history: Path, tmp_path: Path) -> None:
    (tmp_path / "some.features").write_text(DEFINITIONS)
    model = a_rival(tmp_path / "model", load_features(DEFINITIONS))
    plan = ParityPlan(transactions=history, features=tmp_path / "some.features", limit=1_000, model=model, inherited={**QUICK})

    found = await run_model_parity(plan, Progress(lambda _: None, lambda *_: None))

    assert (found.rows, found.labels, found.missing, found.other_model, found.degraded) == (1_000, 1_000, 0, 0, 0)
    assert (found.mismatches, found.vector_mismatches) == (0, 0)
    assert found.distinct_scores > 5
