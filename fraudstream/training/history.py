"""
A model of one's own history: the plans behind ``fraudstream train --transactions FILE`` and ``--from-database``.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from fraudstream.features.definitions import FeatureSet
from fraudstream.features.load import load_features
from fraudstream.producers.files import read_file
from fraudstream.training.card import write_card
from fraudstream.training.dataset import Progress, Proportions, Split, silent
from fraudstream.training.ensemble import Ensemble
from fraudstream.training.recorded import RecordedHistory
from fraudstream.training.train import Source, TrainedModel, TrainingPlan, train

#: What a model of recorded decisions cannot know.
_RECORDED_LIMITS = (
    "Of what rules and earlier models blocked it knows what somebody labelled: fraud that is always blocked fades from it.",
    "Keep the rules that block such fraud, whatever this model says of it.",
    "Payments that nobody reported count as honest; fraud that is never reported teaches that it is none.",
)


def train_on_history(
    transactions: Sequence[Path],
    features: Path,
    output: Path,
    *,
    mapping: str | None = None,
    version: str = "own-1",
    split: Split | Proportions = Proportions(),  # noqa: B008 (frozen)
    ensemble: Ensemble | None = None,
    progress: Progress = silent,
) -> TrainedModel:
    """
    Train on labelled transaction files and write model, manifest and card into a folder.

    Args:
        transactions: Files of one history each, rows in the order of event time.
        features: The definitions file.
        output: The model folder; made if missing, files of an earlier model are replaced.
        mapping: How columns are read (``generic``, ``paysim``, ``handbook`` or a mapping file); None finds out.
        version: The name that people will use for the model.
        split: How the history is cut by time.
        ensemble: Size and pace of the trees; None chooses by how many frauds there are.
        progress: See ``train``.

    Raises:
        InvalidFeatures: The definitions cannot be used, or read labels before the split's delay.
        InvalidSource: A file cannot be read.
        IncompatibleModel: The history holds too few frauds, or the export failed its comparison.
    """
    plan = TrainingPlan(
        features=load_features(features.read_text(encoding="utf-8"), name=features.name),
        sources=[Source(path.name, partial(read_file, path, mapping)) for path in transactions],
        split=split,
        ensemble=ensemble,
        version=version,
        command=_command([f"--transactions {path.name}" for path in transactions] + [f"--features {features.name}"], split),
    )
    return _written(train(plan, progress), output)


def train_on_recorded(
    recorded: RecordedHistory,
    features: FeatureSet,
    output: Path,
    *,
    asked: str = "--from-database",
    version: str = "own-1",
    split: Split | Proportions = Proportions(warm_up_days=0.0),  # noqa: B008 (frozen)
    ensemble: Ensemble | None = None,
    progress: Progress = silent,
) -> TrainedModel:
    """
    Train on recorded decisions and write model, manifest and card into a folder.

    The vectors are those that the decisions were made from, so that nothing is replayed and nothing needs a warm-up.

    Args:
        recorded: Rows, and what was left out of them.
        features: The definitions that the decisions were made by.
        output: The model folder; made if missing, files of an earlier model are replaced.
        asked: The options that chose the rows, for the command in the card.
        version: The name that people will use for the model.
        split: How the history is cut by time.
        ensemble: Size and pace of the trees; None chooses by how many frauds there are.
        progress: See ``train``.

    Raises:
        InvalidFeatures: A feature reads labels before the split's delay.
        IncompatibleModel: The history holds too few frauds, or the export failed its comparison.
    """
    plan = TrainingPlan(
        features=features,
        sources=[recorded],
        history=_told(recorded),
        split=split,
        ensemble=ensemble,
        version=version,
        command=_command([asked], msgspec.structs.replace(split, warm_up_days=split.warm_up_days or None)),
        limits=_RECORDED_LIMITS,
    )
    return _written(train(plan, progress), output)


def _told(recorded: RecordedHistory) -> str:
    """
    Return what a recorded history is, and how much of it is no row.
    """
    left_out = ", ".join(f"{count:,} ({reason})" for reason, count in sorted(recorded.left_out.items()))
    return f"{recorded.name.capitalize()}: {len(recorded.kept):,} with a known truth" + (
        f"; left out: {left_out}" if left_out else ""
    )


def _command(chosen: Sequence[str], split: Split | Proportions) -> str:
    """
    Return what a person types to build the model again; what is the default is not said.
    """
    defaults, days = Proportions(), []
    if isinstance(split, Proportions):
        days = [
            f"--{name.replace('_', '-')} {value:g}"
            for name, value in msgspec.structs.asdict(split).items()
            if value != getattr(defaults, name)
        ]
    return " ".join(["fraudstream train", *chosen, *days])


def _written(trained: TrainedModel, output: Path) -> TrainedModel:
    trained.write(output)
    write_card(trained, output)
    return trained
