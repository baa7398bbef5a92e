"""
The outcomes of many rows at once are those of ``decide``, one by one.
"""

import numpy as np
import pytest

from fraudstream.decision.columns import outcomes
from fraudstream.decision.policy import SEVERITY, DecisionPolicy, decide
from fraudstream.domain.evidence import Action, ModelVerdict, RuleHit, RulesVerdict

ROWS = 400


@pytest.mark.parametrize("seed", range(4))
def test_many_rows_get_the_outcome_that_decide_gives_each(seed):
    random = np.random.default_rng(seed)
    policy = DecisionPolicy(challenge_from=0.3, review_from=0.5, block_from=0.8)
    probability = np.where(random.random(ROWS) < 0.2, np.nan, random.uniform(-0.1, 1.1, ROWS))
    rules = [(action, float(random.integers(-60, 60))) for action in Action for _ in range(3)]
    fires = random.random((len(rules), ROWS)) < 0.08

    found = outcomes(policy, [(*rule, mask.nonzero()[0]) for rule, mask in zip(rules, fires, strict=True)], probability)

    expected = []
    for row in range(ROWS):
        hits = tuple(
            RuleHit(rule_id=f"r{at}", action=action, points=points)
            for at, (action, points) in enumerate(rules)
            if fires[at, row]
        )
        score = None if np.isnan(probability[row]) else float(probability[row])
        expected.append(decide(policy, RulesVerdict(rule_set="r", hits=hits), ModelVerdict(model="m", score=score)).outcome)
    assert [SEVERITY[code] for code in found] == expected
    assert len(set(expected)) == 4
