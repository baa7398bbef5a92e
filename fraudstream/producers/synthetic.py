"""
A synthetic payment world with labelled attacks: seeded, in event-time order, the truth beside the bodies and never in them.
"""

from collections.abc import Iterator

import numpy as np

from fraudstream.producers.attacks import attack_rows
from fraudstream.producers.bodies import write_bodies
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.lookalikes import lookalike_rows
from fraudstream.producers.ordinary import ordinary_rows
from fraudstream.producers.plan import ATTACKS, SyntheticPlan, demo_plan, training_plan
from fraudstream.producers.population import populate
from fraudstream.producers.rows import Rows
from fraudstream.producers.scene import Scene

__all__ = ["SyntheticPlan", "demo_plan", "generate", "training_plan"]

#: Ordinary rows that even the smallest world has: attacks take their victims from them.
_FEWEST_ORDINARY = 20


def generate(plan: SyntheticPlan) -> Iterator[Labelled]:
    """
    Yield the transactions of a plan in event-time order; the same plan gives the same bytes.

    The world is drawn at the first step (about a second for 50,000 transactions, some 300 bytes of memory each); bodies are
    written as they are asked for.
    """
    rng = np.random.Generator(np.random.PCG64(plan.seed))
    people = populate(plan, rng)
    rows = _rows(plan, Scene(plan, rng, people, ordinary_rows(plan, people, _ordinary_count(plan), rng)))
    reported = _reported(plan, rows, rng)
    yield from write_bodies(plan, people, rows, reported)


def _ordinary_count(plan: SyntheticPlan) -> int:
    return max(
        min(_FEWEST_ORDINARY, plan.transactions), round(plan.transactions * (1 - plan.fraud_rate - plan.lookalike_share))
    )


def _rows(plan: SyntheticPlan, scene: Scene) -> Rows:
    """
    Return exactly as many rows as planned, in event-time order; equal times keep the order they were drawn in.
    """
    part = plan.transactions * plan.fraud_rate / sum(plan.mix.values())
    wanted = {scenario: round(part * plan.mix.get(scenario, 0.0)) for scenario in ATTACKS}
    parts = [scene.ordinary, *(attack_rows(scene, scenario, count) for scenario, count in wanted.items() if count)]
    missing = plan.transactions - sum(map(len, parts))
    if missing > 0:
        parts.append(lookalike_rows(scene, missing))
    rows = np.concatenate(parts)[: plan.transactions]
    ordered: Rows = rows[np.argsort(rows["at_ms"], kind="stable")]
    return ordered


def _reported(plan: SyntheticPlan, rows: Rows, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """
    Return the labels that the world would report: the truth, less what nobody noticed, plus what was claimed wrongly.
    """
    chance = rng.random(len(rows))
    noise = np.where(rows["fraud"], chance < plan.missed_share, chance < plan.false_report_rate)
    return np.asarray(rows["fraud"] ^ noise, dtype=np.bool_)
