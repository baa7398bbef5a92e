"""
The model that comes with the project: the one plan behind ``fraudstream train`` without arguments.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from fraudstream.features.load import load_features
from fraudstream.producers.labelled import Labelled
from fraudstream.producers.synthetic import SyntheticPlan, demo_plan, generate, training_plan
from fraudstream.training.card import write_card
from fraudstream.training.dataset import Progress, Split, silent
from fraudstream.training.ensemble import Ensemble
from fraudstream.training.train import Source, TrainedModel, TrainingPlan, train

#: Worlds that the shipped model learns from.
SEEDS = tuple(range(1, 10))
#: A world that it is measured on only: another seed, and attackers who behave otherwise.
UNSEEN_SEED = 31
#: 2025-03-03 00:00:00 UTC: the unseen world ends at a fixed time, so that the card comes out the same.
_UNSEEN_END_MS = 1_740_960_000_000
#: Six weeks of each world, cut so that eleven days are left to measure on. No warm-up: a fleet starts without history too, and
#: a model that never saw such days takes its first customers for strangers (average precision 0.28 for 0.35 in two weeks).
_TRANSACTIONS, _DAYS = 90_000, 42
_SPLIT = Split(warm_up_days=0, train_days=24, calibrate_share=0.2, delay_days=7)
_LIMITS = (
    "Trained on an invented world: a start while own labels do not exist yet. Its figures say nothing about real fraud.",
    "It has blocked nobody before: train it on your own history, or run it beside your rules, before you let it.",
)


def train_shipped(
    features: Path,
    output: Path,
    *,
    seeds: Sequence[int] = SEEDS,
    ensemble: Ensemble = Ensemble(),  # noqa: B008 (frozen)
    progress: Progress = silent,
) -> TrainedModel:
    """
    Train on the synthetic worlds of the seeds and write model, manifest and card into a folder.

    Args:
        features: The definitions file.
        output: The model folder; made if missing, files of an earlier model are replaced.
        seeds: Of the worlds to learn from.
        ensemble: Size and pace of the trees.
        progress: See ``train``.

    Raises:
        InvalidFeatures: The definitions cannot be used.
        IncompatibleModel: The worlds hold too few frauds, or the export failed its comparison.
    """
    plan = shipped_plan(features.read_text(encoding="utf-8"), features.name, seeds=seeds, ensemble=ensemble)
    trained = train(plan, progress)
    trained.write(output)
    write_card(trained, output)
    return trained


def shipped_plan(definitions: str, name: str, *, seeds: Sequence[int], ensemble: Ensemble) -> TrainingPlan:
    """
    Return the plan; the seeds stand in its command where they are not the default.
    """
    chosen = "" if tuple(seeds) == SEEDS else f" --seeds {','.join(map(str, seeds))}"
    unseen = demo_plan(UNSEEN_SEED, end_ms=_UNSEEN_END_MS)
    return TrainingPlan(
        features=load_features(definitions, name=name),
        sources=[_world(training_plan(seed, transactions=_TRANSACTIONS, days=_DAYS)) for seed in seeds],
        unseen=[_world(unseen, f"the demo's world of seed {UNSEEN_SEED}")],
        history=f"Synthetic worlds of seeds {', '.join(map(str, seeds))}: {_TRANSACTIONS:,} payments over {_DAYS} days each",
        split=_SPLIT,
        ensemble=ensemble,
        command=f"fraudstream train{chosen}",
        limits=_LIMITS,
    )


def _world(plan: SyntheticPlan, name: str = "") -> Source:
    read: Callable[[], Iterable[Labelled]] = partial(generate, plan)
    return Source(name or f"synthetic world {plan.seed}", read, plan.transactions)
